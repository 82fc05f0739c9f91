/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SYS_SIM_DISK_H
#define WEIR_SYS_SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rand.h"
#include "sys/sim/sim.h"

/*
 * The simulated disk: files as lists of pages, names as rows of a table, both
 * twice, as a program sees them and as they would be found after a power cut.
 * Only sim.c includes this. All functions give 0 or more, or -errno.
 */
#define DISK_PAGE 4096u
#define DISK_SECTOR 512u
#define DISK_NAME_MAX 63u
#define DISK_ROOT 1u

/* A page of a file: seen, on the disk (0: a hole), and whether a sync would write it. */
struct disk_slot {
	uint32_t live, durable;
	bool dirty;
};

struct disk_file {
	bool used, is_dir;
	bool size_dirty;
	uint32_t refs; /* names, durable names, changes that wait, handles */
	uint64_t live_bytes, durable_bytes;
	uint32_t slots; /* so many were ever used */
	struct disk_slot *slot;
};

struct disk_name {
	uint32_t dir, file, hash;
	char text[DISK_NAME_MAX + 1];
};

struct disk_names {
	struct disk_name *row;
	uint32_t count, cap;
};

enum disk_change_kind { DISK_LINK, DISK_UNLINK, DISK_RENAME };

/* A change of names that is not durable yet, in order. */
struct disk_change {
	enum disk_change_kind kind;
	uint32_t dir, file;
	uint32_t to_dir;
	char text[DISK_NAME_MAX + 1];
	char to[DISK_NAME_MAX + 1];
};

struct disk {
	struct rand *rand;
	uint8_t *pages;
	uint8_t *page_refs;
	uint32_t *page_free;
	uint32_t pages_max, free_count;
	uint64_t bytes_max;
	struct disk_file *files; /* [0] is none, [1] the root */
	struct disk_slot *slots;
	uint32_t files_max, file_pages_max;
	struct disk_names live, durable;
	struct disk_change *changes;
	uint32_t change_count, change_cap;
	struct sim_stats *stats;
};

int disk_init(struct disk *d, const struct sim_options *options, struct rand *rand, struct sim_stats *stats);
void disk_fini(struct disk *d);
void disk_reset(struct disk *d);

/* A path from the root on; "/a" and "a" are the same. The file, or -ENOENT, -ENOTDIR. */
int disk_find(const struct disk *d, const char *path);
/* The directory a path stands in, and its last part. */
int disk_parent(const struct disk *d, const char *path, const char **name);

int disk_create(struct disk *d, uint32_t dir, const char *name, bool is_dir);
int disk_unlink(struct disk *d, uint32_t dir, const char *name);
int disk_rename(struct disk *d, uint32_t dir, const char *name, uint32_t to_dir, const char *to);
bool disk_is_empty(const struct disk *d, uint32_t dir);
void disk_ref(struct disk *d, uint32_t file);
void disk_unref(struct disk *d, uint32_t file);

size_t disk_read(const struct disk *d, uint32_t file, void *bytes, size_t n, uint64_t at);
/* *done: so many bytes were written before it failed. */
int disk_write(struct disk *d, uint32_t file, const void *bytes, size_t n, uint64_t at, size_t *done);
int disk_resize(struct disk *d, uint32_t file, uint64_t bytes);
int disk_flip(struct disk *d, uint32_t file, uint64_t bit);
uint64_t disk_used(const struct disk *d);

/* What was written is on the disk. */
void disk_sync(struct disk *d, uint32_t file);
/* The sync failed: some of it is, the rest counts as written and is not. */
void disk_sync_in_part(struct disk *d, uint32_t file);
void disk_sync_dir(struct disk *d, uint32_t dir);
void disk_sync_all(struct disk *d);
/* Something that was not synced gets to the disk by itself. */
void disk_drift(struct disk *d);
void disk_cut(struct disk *d, enum sim_cut how);

#endif
