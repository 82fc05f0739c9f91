/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_SEEN_H
#define WEIR_LOG_SEEN_H

#include "base/err.h"
#include "base/hash.h"
#include "sys/sys.h"

/*
 * The memory of idempotency keys: asked once and added to once a request.
 *
 * The newest keys stand in an open-addressing table of 128-bit fingerprints
 * (SipHash of topic UUID and key under a secret kept on disk). A storage
 * checkpoint writes what is settled into immutable sorted runs, one folder a
 * bucket of expiry; runs merge within their bucket; a bucket that has expired
 * is dropped whole. Memory holds a filter per run, not its keys.
 *
 * A key is claimed in the step that looks it up. While its record is on the way
 * to the disk it is in flight: whoever asks for it waits. It is then settled
 * with the answer, or released where the request was refused after all.
 *
 * Seen does not know topics, records or the journal: the log writes keys into
 * its groups and gives them back at recovery through seen_restore().
 * All functions may be called from any thread; none but the *_step and _open
 * ones waits for a disk.
 */
struct seen;

struct seen_options {
	const struct sys *sys;
	const char *dir; /* data/seen; made where missing */
	int64_t bucket_ms; /* width of an expiry bucket; 0: 24 h, one hour for keys with less than a day left; wider for those far off */
	uint32_t files_max;       /* 0: 64 */
	uint64_t table_bytes_max; /* bound of the table in memory, 0: 96 MiB; past it claims give ERR_OVERLOADED */
};

/* Where the records of a key went: count offsets from first on. */
struct seen_range {
	int64_t first;
	uint32_t partition;
	uint32_t count;
};

#define SEEN_RANGES_MAX 16384u

struct seen_key {
	struct hash128 fingerprint;
	uint64_t payload;   /* hash of key, partition, headers and decoded body; 0: any payload is the same */
	int64_t expires_ms; /* wall clock */
};

enum seen_verdict {
	SEEN_NEW,       /* claimed: the caller must settle or release *claim */
	SEEN_DUPLICATE, /* the answer of the first time was filled in */
	SEEN_REUSED,    /* the same key with another payload */
	SEEN_IN_FLIGHT, /* the waiter was linked and will be given back */
	SEEN_READ,      /* a run must be read: do it on a thread that may wait, with seen_read() */
};

/* Who asked for a key in flight, or for one that needs a read. Owned by the caller until it is given back. */
struct seen_waiter {
	struct seen_waiter *next;
	void *owner; /* the caller's */
};

/* An answer: caller's memory for at most ranges_max ranges. */
struct seen_answer {
	struct seen_range *ranges;
	uint32_t ranges_max;
	uint32_t range_count; /* out; where it is above ranges_max only that many were copied */
};

/* The claim of one key, embedded in the caller's request; valid from SEEN_NEW to settle or release. */
struct seen_claim {
	struct seen_key key;
	uint32_t slot; /* seen's */
	uint32_t version;
};

/* Opens the folder, reads run footers and filters (not keys). Errors: ERR_IO, ERR_NOMEM, ERR_CORRUPT with *fault. */
int seen_open(const struct seen_options *options, struct seen **out, struct fault *fault);
void seen_close(struct seen *s);

/* The fingerprint of a key within a scope (the topic's UUID). */
struct hash128 seen_fingerprint(const struct seen *s, struct slice scope, struct slice key);

/* A keyed 64-bit hash for payloads, never 0. Start with state 0 and chain. */
uint64_t seen_payload(const struct seen *s, uint64_t state, struct slice part);

/*
 * Looks a key up and claims it where it is new. `now_ms` decides expiry.
 * Gives a verdict, or ERR_OVERLOADED, ERR_NOMEM (a run that cannot be read is
 * SEEN_READ too: seen_read() then tells the error). `waiter` may be NULL: then
 * SEEN_IN_FLIGHT links nothing. Lookup of a key in memory: well below a microsecond.
 */
int seen_claim(struct seen *s, const struct seen_key *key, int64_t now_ms, struct seen_claim *claim,
	       struct seen_answer *answer, struct seen_waiter *waiter);

/*
 * The same, but reads runs from disk where a filter says so; for a thread that
 * may wait. Never gives SEEN_READ. Errors as above and ERR_IO, ERR_CORRUPT.
 */
int seen_read(struct seen *s, const struct seen_key *key, int64_t now_ms, struct seen_claim *claim,
	      struct seen_answer *answer, struct seen_waiter *waiter);

/* The request was refused: the key is as if never asked for. Gives the waiters back, oldest first. */
struct seen_waiter *seen_release(struct seen *s, struct seen_claim *claim);

/* The commit is durable as part of group `sequence`: the key has its answer. Gives the waiters back. Never fails (room was made by the claim; ranges beyond one are allocated: without memory the process ends). */
struct seen_waiter *seen_settle(struct seen *s, struct seen_claim *claim, uint64_t sequence,
				const struct seen_range *ranges, uint32_t count);

/*
 * Recovery: a settled key as the journal holds it. Restoring the same key twice
 * changes nothing; the later expiry wins. The bound of the table does not hold
 * here. Errors: ERR_NOMEM, ERR_LIMIT (over SEEN_RANGES_MAX), ERR_CONFLICT (the key is in flight).
 */
int seen_restore(struct seen *s, const struct seen_key *key, uint64_t sequence,
		 const struct seen_range *ranges, uint32_t count);

/*
 * Storage checkpoint: writes every key settled with a sequence <= `sequence`
 * that is not in a run yet into new runs, synced with their directories, and
 * takes them out of the table afterwards. Called by one maintenance thread at a
 * time. A crash in between leaves whole runs or none: temporary names are
 * removed at open. Writing a key that a run already holds is harmless.
 */
int seen_checkpoint(struct seen *s, uint64_t sequence, struct fault *fault);

/* One bounded piece of maintenance: drops an expired bucket or merges runs. 1 where there may be more, 0 idle. */
int seen_step(struct seen *s, int64_t now_ms, struct fault *fault);

/* The table is more than half full: a storage checkpoint should come soon. Cheap. */
bool seen_wants_checkpoint(const struct seen *s);

/* The newest damage that a lookup met: ERR_NONE, or what and where. Copies. */
void seen_fault(struct seen *s, struct fault *out);

struct seen_stats {
	uint64_t keys_table, keys_runs, runs, buckets, bytes_memory, bytes_disk, filter_hits_false;
};
void seen_stats(struct seen *s, struct seen_stats *out);

#endif
