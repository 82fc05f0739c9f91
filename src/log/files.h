/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_FILES_H
#define WEIR_LOG_FILES_H

#include "base/err.h"
#include "sys/sys.h"

/*
 * Open files of segments, at most so many at once, however many segments there
 * are. A slot is embedded in its owner; pinning opens the file where it is
 * closed, and closes the one that was used longest ago where there are too
 * many. Any thread; one lock, held across open(2) only on a miss.
 */
struct files;

struct file_slot {
	struct file_slot *next, *prev; /* among open, unpinned slots; oldest first */
	int fd;                        /* -1: closed */
	uint32_t pins;
};

int files_new(const struct sys *sys, uint32_t open_max, struct files **out);
void files_free(struct files *f); /* every slot was forgotten before */

void file_slot_init(struct file_slot *slot);

/* Gives an fd that stays open until files_unpin, or -errno. */
int files_pin(struct files *f, struct file_slot *slot, const char *path, int flags);

/* The same, but only where it is open already: -EAGAIN otherwise. */
int files_pin_open(struct files *f, struct file_slot *slot);
void files_unpin(struct files *f, struct file_slot *slot);

/* Closes the slot's file; it is not pinned. */
void files_forget(struct files *f, struct file_slot *slot);

uint32_t files_open_count(struct files *f);

/* Borrowed: what it opens with. */
const struct sys *files_sys(const struct files *f);

/*
 * A small file, whole or not at all: written and synced under another name
 * (NAME.tmp), renamed, the directory synced. Who is killed meanwhile leaves the one before. 0 or -errno.
 */
int files_put(const struct sys *sys, const char *dir, const char *name, struct slice bytes);

#endif
