/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STATE_TOPICS_H
#define WEIR_STATE_TOPICS_H

#include "base/err.h"
#include "base/topic_name.h"
#include "state/state.h"

/*
 * The topics: a typed table in memory, each change a record of the internal
 * partition in the same commit as whatever needs it. Names map to objects;
 * objects hold the UUID and the partitions. An object stays valid until
 * topics_close; a deleted one says so (`deleted`), and a successor of the same
 * name is another object with another UUID.
 */
#define TOPIC_NAME_MAX 249u
#define TOPIC_PARTITIONS_MAX 10000u
#define TOPICS_PARTITIONS_MAX 200000u /* of all topics: each takes half a KiB as long as weir runs */
#define TOPIC_MESSAGE_BYTES 1048588u  /* Kafka's: 1 MiB and the 12 bytes before a batch */
#define TOPIC_DEAD_RETENTION_MS 2592000000
#define TOPIC_DEAD_MAX_BYTES 1073741824

enum topic_durability { TOPIC_FSYNC, TOPIC_OS };
enum topic_timestamps { TOPIC_CREATE_TIME, TOPIC_APPEND_TIME };
enum topic_cleanup { TOPIC_DELETE, TOPIC_COMPACT, TOPIC_COMPACT_DELETE };

struct topic_config {
	uint32_t partitions;     /* default 1 */
	int64_t retention_ms;    /* default 7 d; -1 for ever */
	int64_t retention_bytes; /* default -1: no bound */
	enum topic_durability durability;
	enum topic_cleanup cleanup;
	int64_t idempotency_ttl_ms;        /* default 7 d */
	uint32_t compaction_dirty_percent; /* default 50 */
	int64_t compaction_max_lag_ms;     /* default 24 h; -1: no bound */
	int64_t compaction_tombstone_ms;   /* default 24 h */
	int64_t recompress_after_ms;       /* default 0: never */
	int64_t compaction_min_lag_ms;     /* default 0 */
	enum topic_timestamps timestamps;
	uint32_t max_message_bytes; /* of a batch of a Kafka producer; default TOPIC_MESSAGE_BYTES */
	uint64_t segment_bytes;     /* default 0: the log's */
	int64_t dead_retention_ms; /* of the topic of its dead letters, when that is made; default 30 d; -1 for ever */
	int64_t dead_max_bytes; /* of its dead letters, past which weir alerts; default 1 GiB; -1: never */
};

/* Whether each record must have a key. */
static inline bool topic_is_compacted(const struct topic_config *c)
{
	return c->cleanup != TOPIC_DELETE;
}

struct topic {
	char name[TOPIC_NAME_MAX + 1];
	struct topic_id id;
	int64_t created_ms;
	bool internal;  /* weir's own: topic_name_is_reserved */
	bool from_file; /* the configuration file names it: read-only over the API */
	_Atomic bool deleted;
	_Atomic uint32_t partition_count;
	struct partition **_Atomic partitions; /* replaced whole when partitions are added */
	struct topic_config config; /* changes under the entry lock; read whole with topic_config() */
	_Atomic uint32_t spread;    /* keyless records go round from here */
};

struct topics;

/*
 * Registers the tables with `state`; topics_ready, after state_load, opens every
 * topic's partitions. Errors: ERR_NOMEM, with *fault.
 */
int topics_new(struct log *l, struct state *state, const struct topic_config *defaults, bool auto_create,
	       struct topics **out);
int topics_ready(struct topics *t, struct fault *fault);
void topics_free(struct topics *t);
void topics_set_defaults(struct topics *t, const struct topic_config *defaults, bool auto_create);
void topics_defaults(struct topics *t, struct topic_config *defaults, bool *auto_create);

/* 0, or ERR_BAD_TOPIC with what a name may hold. */
int topic_name_check(struct slice name, struct fault *fault);

/* NULL where there is none. Any thread; no entry lock needed. */
struct topic *topics_find(struct topics *t, struct slice name);
struct topic *topics_find_id(struct topics *t, const struct topic_id *id);

/*
 * Grows by one with each topic created, changed or deleted, at entry: who waits
 * for a topic compares. The watcher, where set, is called from any thread after
 * each such change has entered; it must be quick (wake loops).
 */
uint64_t topics_generation(const struct topics *t);
void topics_set_watcher(struct topics *t, void (*fn)(void *ctx), void *ctx);

/* Live topics. */
uint32_t topics_count(struct topics *t);

/* Calls fn for each live topic in order of name, from `after` (exclusive, may be empty) on, until it gives false. */
void topics_each(struct topics *t, struct slice after, bool (*fn)(void *ctx, struct topic *topic), void *ctx);

void topic_config(struct topics *t, struct topic *topic, struct topic_config *out);
struct partition *topic_partition(struct topic *topic, uint32_t number); /* NULL out of range */

/*
 * Changes. Call between log_enter_begin and log_enter_end. Each enters a commit
 * of its own and is in force at once for all that enters later; `done` (may be
 * NULL) tells on the port when it is durable. Without a port it is told on the committer's thread.
 * Create: ERR_TOPIC_EXISTS (then *out is the one there), ERR_BAD_TOPIC, ERR_BAD_TOPIC_CONFIG, and what log_enter gives.
 */
int topics_create(struct topics *t, struct slice name, const struct topic_config *config, bool from_file,
		  const struct state_done *done, struct topic **out, struct fault *fault);
/* Partitions may only grow. */
int topics_change(struct topics *t, struct topic *topic, const struct topic_config *config, bool from_file,
		  const struct state_done *done, struct fault *fault);
int topics_delete(struct topics *t, struct topic *topic, const struct state_done *done);
/* before[i] for partition i; -1 leaves it. */
int topics_trim(struct topics *t, struct topic *topic, const int64_t *before, uint32_t count,
		const struct state_done *done);

/*
 * For verification: what a stored row says. 0; ERR_CORRUPT where it cannot be read.
 * name->ptr NULL: the topic is gone. Borrows.
 */
int topic_row_read(struct slice key, struct slice value, struct topic_id *id, struct slice *name,
		   struct topic_config *config);
/* Likewise of the table of trims: trims[0 .. *count), at most TOPIC_PARTITIONS_MAX. */
int topic_trims_read(struct slice key, struct slice value, struct topic_id *id, int64_t *trims,
		     uint32_t *count);

#endif
