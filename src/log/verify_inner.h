/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_VERIFY_INNER_H
#define WEIR_LOG_VERIFY_INNER_H

#include "base/buf.h"
#include "base/hash.h"
#include "log/checkpoint.h"
#include "log/format.h"
#include "log/segment.h"
#include "log/verify.h"
#include "proto/batch/batch.h"

/* What the files of the verifier share; nobody else includes this. */

#define VERIFY_PATH_BYTES 1024u

/* A partition while it is looked at. */
struct verify_known {
	struct verify_partition public;
	bool internal;
	/* The segment that is appended to: what stands behind the length that the checkpoint says. */
	size_t next_behind, active_behind; /* places of their fields in the checkpoint; 0: no segment */
	uint64_t beyond_bytes;             /* length with all whole batches behind it */
	int64_t beyond;                    /* offset behind the last of them */
	int64_t beyond_timestamp;
	int64_t active_base;
	uint32_t active_revision;
};

/* A window over a file that moves forward. */
struct verify_window {
	int fd;
	uint64_t at;
	size_t len;
	uint64_t end; /* of what counts */
};

struct verify {
	const struct verify_options *options;
	const struct sys *sys;
	struct verify_result *out;
	struct fault *fault;
	char topics_dir[VERIFY_PATH_BYTES - 300];
	uint8_t *bytes;      /* of the window */
	struct codec *codec; /* made with the first compressed batch */
	struct buf plain;    /* that batch, inflated */
	size_t cap;
	uint64_t done, total, told_at; /* bytes read, for progress */

	struct buf checkpoint;
	struct checkpoint_found copies;
	bool has_checkpoint, checkpoint_changed;
	bool checkpoint_unknown; /* both copies are broken */
	bool checkpoint_merged;  /* they are, but together they made one */
	uint64_t sequence;
	struct format format;

	struct verify_known *known;
	uint32_t known_count, known_cap;
	uint32_t *slots; /* 1 + index into known, by hash; slot_count is a power of two */
	uint32_t slot_count;
	uint32_t now;          /* index of the partition whose segments are being read */
	int64_t expected;      /* next base offset of it; -1: its first segment is still to come */
	bool state_hurt;       /* rows of state are lost */
	bool keys_hurt;        /* groups of the journal, with their keys, are lost */
	bool journal_has_more; /* groups behind the checkpoint */

	struct verify_journal *journal; /* what was found, for its repair */
	char quarantine[VERIFY_QUARANTINE_BYTES];
	struct buf manifest;
};

/* Tells a fault, or a note. from == to: no offsets. mend: what repair does; NULL: nothing. */
void verify_tell(struct verify *v, const char *file, uint64_t position, bool harmless, int64_t from,
		 int64_t to, const char *mend, const char *format, ...) __attribute__((format(printf, 8, 9)));

/* Notes a file and opens it for reading: its handle or -errno. */
int verify_begin_file(struct verify *v, const char *path, uint64_t *bytes);

/* So many bytes more were read. */
void verify_progress(struct verify *v, uint64_t bytes);

/* Sees up to n bytes at `at` in the window: 0 and *out (fewer at the end), or -errno. */
int verify_see(struct verify *v, struct verify_window *w, uint64_t at, size_t n, struct slice *out);

/* The partition; NULL where it is not known (or, with make, without memory). Valid until the next make. */
struct verify_known *verify_find(struct verify *v, const struct topic_id *topic, uint32_t number, bool make);

void verify_segment_path(const struct verify *v, const struct topic_id *topic, uint32_t number, int64_t base,
			 uint32_t revision, char *path);

/* The batch without compression, borrowed until the next call: 0, or why it cannot be inflated. */
int verify_plain(struct verify *v, struct slice batch, struct slice *plain);

/* A name list of a folder, sorted; free with verify_names_free. 0, -errno or -ENOMEM. */
struct verify_names {
	char **list;
	uint32_t count, cap;
};
int verify_list(struct verify *v, const char *dir, struct verify_names *out);
void verify_names_free(struct verify_names *n);

/* Gives the rows of a batch of the internal partition to state. */
void verify_rows(struct verify *v, const char *path, uint64_t at, struct slice batch, int64_t from);

/* Writes the copies of the checkpoint again where one is broken or lengths were corrected. */
int verify_mend_checkpoint(struct verify *v);

/* verify_segment.c */
int verify_segment(struct verify *v, const struct checkpoint_segment *s);
/* The batch at `at`: 0 whole and sound, 1 no whole batch, 2 whole but its records cannot be read; -errno. */
int verify_batch(struct verify *v, struct verify_window *w, uint64_t at, struct batch_head *head,
		 struct slice *batch);

/* verify_journal.c */
struct verify_journal;
int verify_journal(struct verify *v);
/* After verify_journal: what it found is mended; last of all, since without the gaps nobody sees what was lost with them. */
int verify_journal_mend(struct verify *v);
void verify_journal_end(struct verify *v);

/* verify_seen.c */
int verify_seen(struct verify *v);

/* verify_producers.c */
int verify_producers(struct verify *v);

/* A key that stands in a record that is kept. */
struct verify_key {
	struct hash128 fingerprint;
	int64_t expires_ms, offset;
	uint32_t partition;
};

/* verify_keys.c */
/*
 * Writes a run of bucket `end_ms` (0: the one that fits) under `number` with the keys
 * that stand in records, are not over, and are in none of `runs`. 0, also where there are none, or ERR_*.
 */
struct seen_run;
struct verify_runs {
	struct seen_run **list;
	uint32_t count, cap;
	struct hash_key secret;
	uint64_t number_max; /* of all runs, broken ones too */
};
int verify_write_keys(struct verify *v, const struct verify_runs *runs, int64_t end_ms, uint64_t number);

/* verify_mend.c */
/*
 * Keeps a file of the data directory whole in the quarantine, once, with a line
 * in its manifest, all synced. may_link: weir never writes to this file again. 0
 * or ERR_* with v->fault.
 */
int verify_set_aside(struct verify *v, const char *path, bool may_link, uint64_t position, uint64_t bytes,
		     int64_t from, int64_t to, const char *reason);

/* A new file in place of `path`: write to *fd what it is to hold, then finish. The old one must have been set aside. */
struct verify_new {
	char path[VERIFY_PATH_BYTES], temporary[VERIFY_PATH_BYTES + 8];
	int fd;
	uint64_t bytes;
};
int verify_new_open(struct verify *v, struct verify_new *n, const char *path);
int verify_new_put(struct verify *v, struct verify_new *n, struct slice bytes);
int verify_new_copy(struct verify *v, struct verify_new *n, int from, uint64_t at, uint64_t bytes);
/* Synced, renamed, directory synced. Ends n in any case. */
int verify_new_finish(struct verify *v, struct verify_new *n);
/* All of it at once: put and finish. */
int verify_new_write(struct verify *v, struct verify_new *n, struct slice bytes);
void verify_new_drop(struct verify *v, struct verify_new *n);

/* A failure of the disk (or memory) in a repair, as a fault. */
int verify_failed(struct verify *v, const char *what, const char *path, int rc);

#endif
