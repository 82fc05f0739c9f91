/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SYS_SIM_SIM_H
#define WEIR_SYS_SIM_SIM_H

#include "sys/sys.h"

/*
 * The table of sys.h in memory: a disk that forgets what was not synced, that
 * fails and fills up, and clocks that jump. Everything that happens by chance
 * comes from one seed, so the same calls give the same answers, byte for byte.
 *
 * It knows nothing of what is stored on it, and it crashes nobody: whoever
 * drives it decides when the power goes (sim_cut) and forgets the program's
 * memory himself. One thread. docs/internals/sim.md says what is lost when.
 */
struct sim;

/* What was called; also the bits of sim_faults.calls. */
enum sim_call {
	SIM_OPEN,
	SIM_READ,
	SIM_WRITE,
	SIM_SYNC, /* fdatasync and fsync */
	SIM_SYNC_DIR,
	SIM_SYNC_FS,
	SIM_TRUNCATE,
	SIM_ALLOCATE,
	SIM_STAT,
	SIM_RENAME,
	SIM_UNLINK,
	SIM_MKDIR,
	SIM_RMDIR,
	SIM_LIST,
	SIM_LOCK,
	SIM_OTHER, /* closing, write-back, direct: these never fail */
	SIM_CALLS
};

struct sim_options {
	uint64_t seed;
	uint32_t pages_max;      /* memory for contents, 4 KiB each; 0: 8192 */
	uint32_t files_max;      /* files and directories at once; 0: 512 */
	uint32_t file_pages_max; /* the longest file, past it -EFBIG; 0: 512 */
	/* Before each call takes effect; may switch to another stack, and may never return. */
	void (*on_call)(void *ctx, enum sim_call call);
	/* A line for each call, without a newline. */
	void (*trace)(void *ctx, const char *line);
	void *ctx;
};

/* Takes all the memory it will ever use. Returns owned; ERR_NOMEM as -ENOMEM. */
int sim_new(const struct sim_options *options, struct sim **out);
void sim_free(struct sim *sim);

/* As if new, with another seed: an empty disk, clocks at their start, no faults. */
void sim_reset(struct sim *sim, uint64_t seed);

/* Borrowed for the simulator's life. */
const struct sys *sim_sys(struct sim *sim);

/* ---- power ---- */

enum sim_cut {
	SIM_CUT_CHANCE, /* each page and each name that was not synced is there, partly, or not */
	SIM_CUT_LOSE,   /* nothing that was not synced is there */
	SIM_CUT_KEEP,   /* the process alone was killed: all of it is there, and no safer than it was */
};

/* The power goes and comes back: handles and locks are gone, and what was not synced is decided. */
void sim_cut(struct sim *sim, enum sim_cut how);

/* ---- faults ---- */

struct sim_faults {
	uint32_t calls; /* bits of enum sim_call that may fail */
	uint32_t fail_one_in; /* 0: never. -EIO, or -ENOSPC where something would grow; a write may have been done in part */
	uint32_t cold_one_in;  /* pread_nowait gives -EAGAIN */
	uint32_t slow_one_in;  /* a call takes up to ten seconds */
	uint32_t drift_one_in; /* with each call: a dirty page or name reaches the disk by itself; 0: 32 */
};
void sim_set_faults(struct sim *sim, const struct sim_faults *faults);

/* The n-th call from now of this kind fails with -err, once. 0 takes it back. */
void sim_fail_at(struct sim *sim, enum sim_call call, uint64_t nth, int err);

/* Inverts a bit, on the disk and in the cache. -ENOENT, -EINVAL past the end. */
int sim_flip(struct sim *sim, const char *path, uint64_t bit);

/* How large the disk says it is, and is: past it -ENOSPC. At first 1 GiB. */
void sim_set_space(struct sim *sim, uint64_t bytes);

/* ---- clocks ---- */

/* Both go on; the wall clock alone jumps, either way. */
void sim_pass(struct sim *sim, int64_t ns);
void sim_jump(struct sim *sim, int64_t ns);

/* ---- watching it ---- */

struct sim_stats {
	uint64_t calls, writes, bytes_written, syncs, failures, cuts;
	uint64_t pages_lost, pages_torn, pages_kept, names_lost, names_kept;
	uint64_t bytes_used;
};
void sim_stats(const struct sim *sim, struct sim_stats *out);

/* A hash of every call so far with what it was given and what it gave. */
uint64_t sim_hash(const struct sim *sim);

#endif
