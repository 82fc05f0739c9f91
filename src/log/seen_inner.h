/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_SEEN_INNER_H
#define WEIR_LOG_SEEN_INNER_H

#include "log/seen.h"
#include "log/seen_merge.h"
#include "log/seen_set.h"
#include "log/seen_table.h"

/*
 * What the files of seen share; nobody else includes this.
 *
 * Locks, in this order: maintenance, a shard, yard or fault_lock. `set` is read
 * under any shard's lock and changed by seen_publish() alone.
 */
struct seen {
	const struct sys *sys;
	char *dir;
	int64_t bucket_ms;
	uint32_t files_max;
	struct hash_key fingerprint_key;
	struct hash_key payload_key;
	struct seen_table table;
	_Atomic(struct seen_set *) set;
	struct seen_yard yard;
	_Atomic uint64_t false_hits;
	pthread_mutex_t fault_lock;
	struct fault fault;
	/* Under `maintenance`: */
	pthread_mutex_t maintenance;
	uint64_t next_number;
	uint32_t checkpoint;      /* number of the newest one, from 1 on */
	struct seen_merge *merge; /* under way, or NULL */
};

#define SEEN_PATH_MAX 4096u

/* The folder of a bucket: false where the path is too long. */
bool seen_bucket_path(const struct seen *s, int64_t end_ms, char *path);
bool seen_run_path(const struct seen *s, int64_t end_ms, uint64_t number, char *path);

/* Makes the folder of a bucket and syncs it into the one above. */
int seen_bucket_make(struct seen *s, int64_t end_ms, struct fault *fault);

/* Where a run is written. */
struct seen_place {
	char folder[SEEN_PATH_MAX], path[SEEN_PATH_MAX];
};

/* A new run of the bucket, whose folder is made: its number, and its place, which *o borrows. keys_max is the caller's. Maintenance. */
int seen_new_run(struct seen *s, int64_t end_ms, struct seen_place *place, struct seen_writer_options *o,
		 struct fault *fault);

/* Takes `set`: it becomes the one that lookups ask. Maintenance. */
void seen_publish(struct seen *s, struct seen_set *set);

#endif
