/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SOURCE_H
#define WEIR_CONNECT_SOURCE_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include "conf/setting.h"
#include "net/net.h"
#include "sys/sys.h"

/*
 * What a type of source is to the machinery: a constant table of functions
 * (struct source_type), one a folder of src/connect. The type knows how to talk to
 * one kind of system; when it is asked, what becomes of what it found, retries,
 * checkpoints, limits, figures and the command line are the machinery's.
 * docs/internals/connect.md has the whole of it and a type in a page.
 *
 *	open    a source of the configuration, or a run of it with --from and --to
 *	plan    which parts are there: what can be pulled by itself (a file, a key range, a partition, a URL)
 *	pull    the next records of one part, from its checkpoint on, within a credit
 *	settle  what was pulled is durable: delete, mark, acknowledge at the source
 *	drop    a part is let go of;  close  the source is;  rest  it is paused
 *
 * The machinery enters one commit a pull: records, rows that were no records, idempotency
 * keys and the new checkpoint, all of it or nothing. The next pull of the
 * part is given the checkpoint as it was entered. Where the log has no room the batch is
 * kept and entered later, and nothing is pulled meanwhile.
 *
 * Threads. A source belongs to one loop. For a type with SOURCE_BLOCKS plan, pull, settle, drop, rest and
 * close run on threads that may wait, and give their end as the result; for the others they run on the
 * loop, must not wait, and may give SOURCE_LATER and call source_done() when they are through,
 * on the loop. open runs on a thread that may not wait. Of one part one call runs at a time;
 * of one source several parts may be pulled at once, while plan runs alone with no call beside it.
 * So `self` needs no lock for what only plan changes.
 *
 * Order. A part has one pull at a time, so records of one part keep their order. A
 * type never has one key in two parts at a time, and so keeps the order of each key.
 */
struct source;
struct source_part;
struct source_call;
struct source_plan;
struct source_batch;
struct log;
struct topics;

/* ---- how a call ends ---- */

enum source_end {
	SOURCE_IDLE, /* nothing more for now: asked again when the schedule says. For plan and settle: done */
	SOURCE_MORE, /* there is more: asked again at once. Also right where it is not known */
	SOURCE_WAIT, /* nothing more for now, and source_wake() will be called when there is; asked then, whatever the schedule says */
	SOURCE_DONE, /* this part is finished for good: never asked again, its row stays until a plan does not name it */
	SOURCE_FAILED, /* source_fail() said why */
	SOURCE_LATER,  /* of a type that does not block: source_done() will come. Never with SOURCE_BLOCKS */
};

enum source_failure {
	SOURCE_TRANSIENT, /* may go by itself: the network, a lock, "too many requests". Tried again with backoff */
	SOURCE_FINAL, /* goes only when somebody changes something: credentials, an unknown column. Tried seldom */
};

/*
 * Sets why a call fails: a sentence with the place, what was found and what would be right.
 * Secrets of the source's settings in it are replaced. Gives SOURCE_FAILED, so that
 * `return source_fail(call, ...)` reads well. What a pull had marked (source_mark) is entered all the same.
 */
enum source_end source_fail(struct source_call *call, enum source_failure failure, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* SOURCE_LATER has come to its end: exactly once, on the source's loop, also after cancel. The batch is the machinery's again. */
void source_done(struct source_call *call, enum source_end end);

/* What plan, pull and settle have in common. The machinery's, but for what is marked. */
struct source_call {
	struct source *source;
	struct fault fault;          /* see source_fail */
	enum source_failure failure; /* likewise */
	/*
	 * The type's: the source itself said how long not to ask (Retry-After, a rate limit's reset); 0: it said
	 * nothing. Counts with every end, also SOURCE_IDLE.
	 */
	int64_t not_before_ms;
	/* Likewise: so many calls are left (or -1) until, in so many ms (or -1), there are more. They are spread over that time. */
	int64_t quota_left, quota_reset_ms;
	/* The type's, added up and shown: what the call cost the source. */
	uint32_t requests;
	uint64_t bytes_read;
	_Atomic bool cancelled;
	void (*on_done)(struct source_call *call, enum source_end end);
};

/*
 * Whoever called wants it back: paused, removed, stopped. A call that waits looks at it at least
 * once a second, or its type has `cancel`. What was marked is entered, so a cancelled pull ends with SOURCE_MORE
 * or SOURCE_FAILED, as it likes.
 */
static inline bool source_cancelled(const struct source_call *call)
{
	return atomic_load_explicit(&call->cancelled, memory_order_relaxed);
}

/*
 * Something that the user should know and that stops nothing: "the column has no index". Shown by `test`
 * and `show` until the source is opened again; the same text once. On any thread that a call of this source runs on.
 */
void source_warn(struct source *source, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * So many connections to the source were closed because they are not to be kept: the source is paused. Told in the log. Any thread that a
 * call of this source runs on.
 */
void source_cut(struct source *source, uint32_t connections);

/* ---- parts ---- */

#define SOURCE_PART_NAME_MAX 512u
#define SOURCE_CHECKPOINT_MAX 65536u

/*
 * How far a part has been read: bytes whose meaning is the type's, with a version
 * that it chooses, so that a later form of the type can read what an earlier one wrote.
 */
struct source_checkpoint {
	struct slice bytes; /* ptr NULL: there is none, begin at the beginning */
	uint8_t version;
};

struct source_part {
	struct slice
		name; /* unique within the source, the row's key: what it is, not where it stands. "" where there is but one */
	struct slice title;                  /* for people; the name where the plan gave none */
	struct source_checkpoint checkpoint; /* as entered last; stays during a call */
	void *state; /* the type's (a file, a connection): NULL at first, freed by drop */
	struct source *source;
};

/*
 * A part that gave SOURCE_WAIT has something, or may have. Any thread; many calls, one pull. Also while
 * a pull of it runs: then it is asked once more. Not after drop has returned.
 */
void source_wake(struct source_part *part);

/* ---- plan ---- */

/*
 * Asked for at the start, on each run of the schedule, when every part is done, and after
 * source_plan_again(). A type without plan has one part, named "". Parts that a plan does not name are
 * dropped, and their rows go, unless it sets keep_others. A part that is done stays done while plans name it.
 * The plan is entered as one commit: parts, their first checkpoints, its own checkpoint.
 */
struct source_plan {
	struct source_call call;
	struct source_checkpoint checkpoint; /* of the plan itself, as entered last: for what all parts share */
	bool keep_others;                    /* the type's: parts that are not named stay */
};

struct source_plan_part {
	struct slice name, title;            /* title ptr NULL: the name */
	struct source_checkpoint checkpoint; /* for a part that is new: where it begins. ptr NULL: none */
	uint64_t total; /* of its progress, in the unit of the type (rows, bytes); 0: not known */
};

/* Names a part; copied. A name that came in this plan already is ignored. 0; ERR_LIMIT (name too long, or too many parts), ERR_NOMEM. */
int source_plan_add(struct source_plan *plan, const struct source_plan_part *part);

/* What is known of a part from before: false where there is none of this name. Borrowed until the plan ends. */
bool source_plan_find(const struct source_plan *plan, struct slice name, struct source_checkpoint *checkpoint,
		      bool *done);

/* Sets the plan's own checkpoint; copied. ERR_LIMIT, ERR_NOMEM. */
int source_plan_mark(struct source_plan *plan, uint8_t version, struct slice bytes);

/* Parts may have come or gone: plan is asked for soon. Any thread, from open's return to close. */
void source_plan_again(struct source *source);

/* ---- pull ---- */

struct source_header {
	struct slice name;
	struct slice value; /* ptr NULL: null */
};

/* A record to be. ptr NULL: none (key), null (value), the source's (topic). */
struct source_record {
	struct slice topic;
	struct slice key;
	struct slice value;
	const struct source_header *headers;
	uint32_t header_count;
	int32_t partition;    /* -1: by the key */
	int64_t timestamp_ms; /* -1: when it is stored */
	/*
	 * Stored once within the time that the topic remembers keys, whoever brings it, by push or
	 * by pull. For what a checkpoint cannot make exact: overlap windows, feeds that repeat.
	 */
	struct slice idempotency_key;
	/* The slices lie in memory of source_alloc: nothing is copied. */
	bool stays;
	/* With batch->test: the row as the source has it, shown beside the record. ptr NULL: nothing to show */
	struct slice row;
};

/* Everything absent: topic, key, value, headers, partition, timestamp, idempotency key. */
#define SOURCE_RECORD_INIT ((struct source_record){.partition = -1, .timestamp_ms = -1})

/* Something that could not be made a record: kept as a dead letter, and the rest goes on. Copied. */
struct source_dead {
	struct slice topic; /* that it was for; ptr NULL: the source's */
	struct slice bytes; /* the original, as the source had it */
	struct slice key;   /* where it is known; ptr NULL: not */
	const struct source_header *headers;
	uint32_t header_count;
	int err; /* ERR_*: which rule, ERR_BAD_JSON */
	struct slice
		path; /* where: "prices.csv:17", a JSON pointer, "public.orders id=4711". ptr NULL: unknown */
	const char *text; /* what was wrong and what would be right */
	bool json; /* records of the source are JSON: a redrive takes it only when it is (ERR_BAD_JSON says so by itself) */
};

struct source_batch {
	struct source_call call;
	/* The credit. See source_full. */
	uint32_t records_max;
	size_t bytes_max;
	size_t value_bytes_max; /* a larger value is refused by the door, and becomes a dead letter */
	bool test; /* shown and thrown away: change nothing at the source, ask it for no more than records_max */
	/* So far. */
	uint32_t record_count, dead_count;
	size_t bytes;
	/* The type's, each time. */
	bool settle;    /* settle() is wanted when this batch is durable, before the part is pulled again */
	bool unchanged; /* a cheap question told that there is nothing new */
	int64_t lag_records, lag_ms; /* how far behind the source; -1: not known */
	uint64_t done,
		total; /* progress of the part, in the unit of its plan; total 0: not known, or as planned */

	struct source_batch_inner *inner; /* batch.c's */
};

/*
 * No more should be added: end with SOURCE_MORE. One record always fits, whatever its size.
 * Adding goes on to work past the credit, so that who reads a page or a row group may finish it, within 16 MiB.
 */
static inline bool source_full(const struct source_batch *b)
{
	return b->record_count + b->dead_count >= b->records_max || b->bytes >= b->bytes_max;
}

/*
 * 0, ERR_LIMIT (past 16 MiB or a million records) or ERR_NOMEM: end the pull then with what is marked.
 * A type may as well ignore it: the batch remembers, and the pull counts as failed.
 */
int source_add(struct source_batch *b, const struct source_record *record);
int source_add_dead(struct source_batch *b, const struct source_dead *dead);

/*
 * Memory that lives as long as the batch: for reading into and pointing records
 * at it (source_record.stays). NULL as above. Counts as bytes only with the records that point there.
 */
void *source_alloc(struct source_batch *b, size_t bytes);

/*
 * All that was added so far belongs to this checkpoint; copied. As often as it likes in one pull; the last
 * one counts. Where the pull fails or is cancelled, what stands behind the last mark is thrown away, so
 * it should come wherever the part could be read again from. A pull that ends well is entered whole.
 */
int source_mark(struct source_batch *b, uint8_t version, struct slice checkpoint);

/* ---- settle ---- */

struct source_settle {
	struct source_call call;
	struct source_checkpoint checkpoint; /* what is durable */
	bool again; /* at the start, with the checkpoint found: it may have been done before the crash, or not */
};

/* ---- a type ---- */

/*
 * A part of what there is, asked for by `weir source run NAME --from … --to …`: a run has
 * a source of its own, with parts and checkpoints of its own, beside the schedule.
 */
struct source_window {
	struct slice from, to;  /* as given; ptr NULL: open on that side. to is not in it */
	int64_t from_ms, to_ms; /* where they are times (RFC 3339, @ms); INT64_MIN, INT64_MAX: they are not */
};

struct source_setup {
	struct source *source;
	const char *name;     /* of the source */
	const char *topic;    /* where records go that name none */
	const void *settings; /* the type's structure, filled by its table; lives until close has returned */
	const struct sys *sys;
	struct log *log; /* of this weir, and its topics: for types that read them; NULL: not shown */
	struct topics *topics;
	struct loop *loop;                  /* the source's; a type that blocks only posts to it */
	const struct source_window *window; /* NULL: all of it. Lives until close */
	bool test;                          /* opened for `weir source test` */
	/* Made over the API by somebody who may not see this machine: no private addresses, no local files. */
	bool guarded;
};

/*
 * For open, where settings name files: of a source that was made over the API they may not. what: as "ca names a file". 0, or
 * ERR_BAD_PARAMETER with *fault.
 */
int source_refuse_files(const struct source_setup *setup, bool named, const char *what, struct fault *fault);

enum source_flags {
	SOURCE_BLOCKS = 1, /* plan, pull, settle, drop and close may wait */
	SOURCE_STREAMS =
		2, /* brings things as they come: it needs no schedule, and is asked from the start on */
	SOURCE_WINDOWS = 4, /* can do source_window */
	SOURCE_HOLDS =
		8, /* a part holds something dear of the source (a connection) from SOURCE_MORE to its next end: those go on before others begin */
};

struct source_type {
	struct conf_kind kind; /* name, one-line summary, settings and their check: conf.h */
	uint32_t flags;        /* enum source_flags */
	/*
	 * Of a type whose library this weir was built without: which, and what to do about it. Its settings are known
	 * and checked all the same, so that one file is right or wrong everywhere; a source of it is not opened and
	 * says this, so that no function below is called. NULL: the type is whole.
	 */
	const char *absent;
	int64_t every_ms; /* its schedule where the user gives none; with SOURCE_STREAMS how often plan is asked, 0: at the start */
	/*
	 * A source from its settings: memory, no network, no waiting. 0 and *self; ERR_* with *fault: the
	 * source is shown as failed and is not tried again until its settings change. Returns owned, for close.
	 */
	int (*open)(const struct source_setup *setup, void **self, struct fault *fault);
	/* All parts are dropped, no call runs. Takes. */
	void (*close)(void *self);
	/* NULL: one part, "". */
	enum source_end (*plan)(void *self, struct source_plan *plan);
	enum source_end (*pull)(void *self, struct source_part *part, struct source_batch *batch);
	/* NULL: batch->settle is never set. Must bear being done twice. A failure is tried again. */
	enum source_end (*settle)(void *self, struct source_part *part, struct source_settle *settle);
	/* Frees part->state; no call of the part runs. NULL: there is none. Also when a source pauses: then it is pulled again later. */
	void (*drop)(void *self, struct source_part *part);
	/*
	 * The source is paused, and all parts are dropped: what is kept open at it besides them is closed (and told: source_cut), until
	 * the next call. NULL: there is nothing. As drop where it may wait.
	 */
	void (*rest)(void *self);
	/*
	 * The call that runs on this part (NULL: plan) is to end soon. On the loop; of a type that blocks beside the
	 * call, which may just have ended: then nothing is to be done. NULL: its calls look at source_cancelled often enough.
	 */
	void (*cancel)(void *self, struct source_part *part);
	/* Appends a checkpoint as a JSON value, for `weir source show`. NULL: shown as base64. */
	void (*show)(uint8_t version, struct slice checkpoint, struct buf *json);
};

/* The type whose kind this is. */
static inline const struct source_type *source_type_of(const struct conf_kind *kind)
{
	return (const struct source_type *)(const void *)((const uint8_t *)kind -
							  offsetof(struct source_type, kind));
}

#endif
