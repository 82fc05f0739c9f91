/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SQL_SQL_H
#define WEIR_CONNECT_SQL_SQL_H

#include <pthread.h>

#include "base/arena.h"
#include "connect/sql/driver.h"

/*
 * The type `sql`: rows of a table or of a query as records. What the modes share: settings,
 * connections, what is known of the table, rows as records. A mode is a file: full.c, incremental.c, change_log.c, query.c.
 * docs/guide/sql.md is for its users, docs/internals/sql.md says why no row is lost or repeated.
 */
enum sql_mode { SQL_FULL, SQL_INCREMENTAL, SQL_CHANGE_LOG, SQL_QUERY };

enum sql_after { SQL_DELETE, SQL_MARK };

struct sql_settings {
	const char *url, *password, *ca;
	int64_t mode;
	const char *table, *query, *where;
	struct conf_list columns, cursor, key;
	const char *start;
	int64_t late_commits_ms; /* -1: as the database needs */
	int64_t chunk_rows;
	int64_t after;
	const char *mark;
	int64_t decimals; /* 0 strings, 1 numbers */
	bool repeat;
	int64_t timeout_ms;
};

/* Columns of a table that a mode works with, by their place in `columns`. */
#define SQL_KEY_MAX 16u

struct sql_table {
	bool known;
	struct sql_column *columns; /* first those that are shown, then those that only weir needs */
	uint32_t shown, count;
	uint32_t key[SQL_KEY_MAX], key_count;
	uint32_t cursor[SQL_KEY_MAX], cursor_count;
	bool has_xid;       /* rows tell the transaction that wrote them */
	bool tells_durable; /* the server tells which numbers of transactions are on its disk */
	bool lockable; /* the user may say that it is in use before a snapshot of it is taken (PostgreSQL) */
	const char *from; /* the table, quoted */
	const char *list; /* the columns, quoted, in their order */
	/*
	 * What statements ask for: the list where the user names columns, else `*` and what is not among it, so that each answer tells
	 * what columns there are.
	 */
	const char *asked;
	uint32_t *exact; /* columns that `asked` has once more behind the others, with all their digits */
	uint32_t exact_count;
	bool unsure; /* the kinds that answers tell are not those that were learned, and that is no change */
};

struct sql_source {
	struct source_setup setup;
	const struct sql_settings *settings;
	const struct sql_driver *driver;
	struct arena arena; /* of what is known of the table */
	struct sql_table table;
	pthread_mutex_t
		learning; /* of `table` and `arena`, until the table is known: then nobody changes them */
	/* Its columns changed: the next plan, which runs alone, has the table learned anew, as another generation of it. */
	_Atomic bool stale;
	_Atomic bool differed; /* an answer had other columns than were learned */
	_Atomic bool doubted;  /* it was learned anew, and no pull has ended well since */
	uint32_t generation;
	pthread_mutex_t lock;         /* of what follows */
	struct sql_held *idle, *busy; /* connections */
	uint32_t idle_count;
	uint64_t serial;
	bool blind; /* of incremental on MariaDB: the user may not see open transactions */
	/* Of full: the session that keeps the snapshot which all ranges are read in, its name, ranges that are not done. */
	struct sql_held *snapshot;
	char snapshot_name[64];
	char snapshot_nodes
		[40]; /* which files the table had then: others mean that it was written anew, and is empty for this snapshot */
	_Atomic uint32_t left;
	/* Of full: the last range is done, and the plan that takes the ranges away is to come; it was made, in the same run of the schedule. */
	_Atomic bool ended, rests;
};

/* A connection that is lent to a call or to a part. */
struct sql_held {
	struct sql_session *session;
	struct sql_held *next, **prev;
	struct source_part *part; /* that it is lent to; NULL: plan */
	uint64_t serial;          /* of the connection, from 1 */
	_Atomic bool cancelled;
};

/* ---- connections (sessions.c) ---- */

/* One that lay idle, or a new one; gives it back with sql_give. NULL with *why. */
struct sql_held *sql_take(struct sql_source *s, struct source_part *part, struct sql_failure *why);
/* Keeps it for the next, or ends it. NULL is allowed. */
void sql_give(struct sql_source *s, struct sql_held *held, bool usable);
/* Ends what waits on this part's connection. Any thread. */
void sql_interrupt(struct sql_source *s, struct source_part *part);
/* Ends all that lie idle. */
void sql_end_idle(struct sql_source *s);

/* The sentence of a failure, with what was being done: "table public.orders: …". */
enum source_end sql_fail(struct source_call *call, struct sql_source *s, const char *doing,
			 const struct sql_failure *why);

/* ---- the table (table.c) ---- */

/* Learns the table's columns, its key and the cursor's columns, once. 0, or ERR_* with *why. */
int sql_learn_table(struct sql_source *s, struct sql_session *session, struct sql_failure *why);
/* The same of a query in parentheses with a name; without a catalogue the key is what the settings say. */
int sql_learn_query(struct sql_source *s, struct sql_session *session, const char *from,
		    struct sql_failure *why);
/* With no call beside it: forgets the table where its columns changed, or in any case. */
void sql_forget_table(struct sql_source *s, bool always);
/* A statement failed: where that is for a column that is not there any more, the table is looked at again, once. */
void sql_doubt_table(struct sql_source *s, const struct sql_failure *why);
/* Columns by which rows are ordered: cursor, then key. Gives the count; `out` has room for 2 * SQL_KEY_MAX. */
uint32_t sql_order(const struct sql_table *t, uint32_t *out);
/* " ORDER BY " those; nothing where there are none. */
void sql_put_order(struct buf *out, const struct sql_source *s);

/* ---- columns of an answer (columns.c) ---- */

/*
 * Has what the session was asked (for `asked`, and `extras` values behind it) the columns that were learned? 0; else what was asked is
 * ended, the table will be learned anew, and *why says `changed`.
 */
int sql_check_columns(struct sql_source *s, struct sql_session *session, uint32_t extras,
		      struct sql_failure *why);
bool sql_same_type(const struct sql_column *a, const struct sql_column *b);
/* Values that came once more, exact, take their places. To be said of each row of `asked`. */
void sql_complete_row(const struct sql_table *t, struct sql_row *row);
/* Where the first value behind those of `asked` is. */
uint32_t sql_extra(const struct sql_table *t);

/* The names of all columns as numbers of 4 bytes, as checkpoints keep them. */
void sql_put_columns(struct buf *out, const struct sql_table *t);
/* Their places in the table as it is now, in the order of the list, renamed ones too, without those that are gone. Gives the count; `out` has room for the table's. */
uint32_t sql_find_columns(const struct sql_table *t, struct slice list, uint32_t *out);

/* ---- rows as records (rows.c) ---- */

struct sql_writer {
	struct sql_source *source;
	struct source_batch *batch;
	const struct sql_column *columns;
	uint32_t shown;
	struct slice *prefixes; /* `{"a":`, `,"b":` */
	size_t fixed_bytes;     /* of an object at most, beside its values' */
	struct arena arena;     /* of the prefixes */
	uint8_t *block;         /* of the batch */
	size_t used, room;
};

/* Writes rows of these columns into a batch. ERR_NOMEM. */
int sql_writer_init(struct sql_writer *w, struct sql_source *s, const struct sql_column *columns,
		    uint32_t shown);
void sql_writer_fini(struct sql_writer *w);
/* The batch of the next pull: to be said at the start of each. */
void sql_writer_begin(struct sql_writer *w, struct source_batch *batch);
/* A row as a record, or as a dead letter where it cannot be one. 0; ERR_LIMIT, ERR_NOMEM: the batch takes no more. */
int sql_write_row(struct sql_writer *w, const struct sql_row *row, const uint32_t *key, uint32_t key_count,
		  struct slice idempotency_key);

/* 32 hexadecimal digits that stand for a version of a row: source, key and what `version` is. */
struct sql_row_id {
	char text[40];
};
struct slice sql_row_id(const struct sql_source *s, const struct sql_row *row, const uint32_t *key,
			uint32_t key_count, struct slice version, struct sql_row_id *out);
/* A fingerprint of these values of a row, 16 bytes; `columns` NULL: of the first `count`. */
void sql_row_print(const struct sql_row *row, const uint32_t *columns, uint32_t count, uint8_t out[16]);

/* ---- values that were remembered (point.c) ---- */

/* Values of some columns, with their kinds, in an encoded form that goes into checkpoints. */
struct sql_point {
	uint32_t count;
	struct slice values[2 * SQL_KEY_MAX];
	enum sql_kind kinds[2 * SQL_KEY_MAX];
};

void sql_point_add(struct sql_point *p, const struct sql_row *row, const struct sql_column *columns,
		   uint32_t at);
void sql_point_put(struct buf *out, const struct sql_point *p);
struct wire_reader;
bool sql_point_read(struct wire_reader *r, struct sql_point *p); /* borrows what is read from */
bool sql_point_eq(const struct sql_point *a, const struct sql_point *b);
/* Copies the values into the buffer, which must be empty and not grow any more while they are used. ERR_NOMEM. */
int sql_point_keep(struct sql_point *p, struct buf *memory);

/* ---- statements (statement.c) ---- */

#define SQL_STATEMENT_MAX (1u << 20)

/* A value as a literal of the dialect. */
void sql_put_literal(struct buf *out, const struct sql_driver *d, enum sql_kind kind, struct slice value);
/* `(a > x OR (a = x AND b > y))`, with `a >= x AND` in front, which indexes can use. `equal`: >= at the end. */
void sql_put_after(struct buf *out, const struct sql_source *s, const uint32_t *columns,
		   const struct sql_point *point, uint32_t count, bool equal);
/* The same downward. */
void sql_put_before(struct buf *out, const struct sql_source *s, const uint32_t *columns,
		    const struct sql_point *point, uint32_t count, bool equal);
void sql_put_names(struct buf *out, const struct sql_source *s, const uint32_t *columns, uint32_t count,
		   const char *suffix);
/* The user's `where` in parentheses with `glue` in front; nothing where there is none. */
void sql_put_where(struct buf *out, const struct sql_source *s, const char *glue);
/* `"a"."b"` of a name as the user wrote it; quotes of the user's are understood. False where it is none. */
bool sql_put_table(struct buf *out, const struct sql_driver *d, const char *name, struct slice parts[3],
		   uint32_t *count, struct arena *arena);
/* NUL terminated, or NULL where the buffer has failed. */
const char *sql_text(struct buf *out);
/* As sql_ask_one, of what is in the buffer, which may have failed. */
int sql_ask_text(const struct sql_source *s, struct sql_session *session, struct buf *text,
		 struct arena *arena, struct sql_row *row, struct sql_failure *why);

/* Is it one statement that only reads, as far as its words tell? The database is told to refuse others all the same. */
bool sql_is_query(const char *text);
/* Does nothing but blanks and comments stand behind a semicolon of it? */
bool sql_is_one(const char *text, enum sql_dialect dialect);
/* Does it have the parameter :name? */
bool sql_query_has(const char *text, enum sql_dialect dialect, const char *name);
/* Replaces :name by literals; unknown names are an error with *why. */
struct sql_param {
	const char *name;
	enum sql_kind kind;
	struct slice value; /* ptr NULL: NULL */
};
int sql_put_query(struct buf *out, const struct sql_driver *d, const char *text,
		  const struct sql_param *params, uint32_t count, struct sql_failure *why);

/* ---- reading (reader.c) ---- */

/*
 * A statement whose rows become records, over as many pulls as it takes: the connection, the transaction around it, the writer, and the
 * place, which is what the last row had in the columns that rows are ordered by.
 */
struct sql_reader {
	struct sql_held *held;
	struct sql_writer writer;
	bool writer_ready, open;
	uint32_t generation; /* of the table that the writer was made for */
	bool has_place;
	struct sql_point place;
	struct buf place_memory;
	uint32_t order[2 * SQL_KEY_MAX], order_count; /* of what is open: sql_order */
};

void sql_reader_init(struct sql_reader *r);
/* Ends what is open; where the connection is of no more use it goes. */
void sql_reader_close(struct sql_source *s, struct sql_reader *r, bool usable);
void sql_reader_fini(struct sql_source *s, struct sql_reader *r);
/* Begins a transaction that sees one moment of the database. Needs r->held. */
int sql_reader_begin(struct sql_source *s, struct sql_reader *r, struct sql_failure *why);
/* Asks for the rows; the text is the buffer's, which may have failed, and asks for `extras` values behind the table's. */
int sql_reader_open(struct sql_source *s, struct sql_reader *r, struct buf *text, uint32_t extras,
		    struct sql_failure *why);
/*
 * Rows into the batch, up to its credit: 1 where there may be more, 0 at the end, ERR_*. `id` gives the
 * idempotency key of a row (NULL: none have one).
 */
typedef struct slice sql_id_fn(struct sql_source *s, void *ctx, const struct sql_row *row,
			       struct sql_row_id *id);
int sql_reader_take(struct sql_source *s, struct sql_reader *r, struct source_batch *batch, sql_id_fn *id,
		    void *ctx, struct sql_failure *why);

/* ---- how far a part is (progress.c) ---- */

/* What full and query keep of a part between its pulls: the first member of theirs. */
struct sql_progress {
	struct sql_reader reader;
	struct buf memory;  /* of values that are remembered; SOURCE_CHECKPOINT_MAX */
	struct buf written; /* the checkpoint as it was marked last */
};

/* Takes a checkpoint into a fresh one. False where it is none that is understood. */
typedef bool sql_progress_fn(struct sql_progress *p, struct source_checkpoint checkpoint);

/*
 * The part's, of `bytes` in all, where it stands where the machinery does: a batch that was not entered took it too far. Else a fresh one,
 * which `read` brings to the checkpoint, if there is one. NULL: it could not, or there is no memory.
 */
struct sql_progress *sql_progress_of(struct sql_source *s, struct source_part *part, size_t bytes,
				     sql_progress_fn *read);
void sql_progress_drop(struct sql_source *s, struct source_part *part);
const struct sql_reader *sql_progress_reader(const struct source_part *part);

/* ---- the snapshot that ranges share (snapshot.c) ---- */

/* Takes one of the table, which is learned, in place of the one before. 0, also where the database shares none; ERR_* with *why. */
int sql_snapshot_keep(struct sql_source *s, struct arena *arena, struct sql_failure *why);
/*
 * The session, in a transaction that has asked nothing yet, sees it. 0, also where there is none; 1 where it is of no use any more, and the
 * transaction neither; ERR_* with *why.
 */
int sql_snapshot_enter(struct sql_source *s, struct sql_session *session, struct sql_failure *why);
void sql_snapshot_end(struct sql_source *s);

/* ---- modes ---- */

struct sql_mode_ops {
	enum source_end (*plan)(struct sql_source *s, struct source_plan *plan); /* NULL: one part */
	enum source_end (*pull)(struct sql_source *s, struct source_part *part, struct source_batch *batch);
	enum source_end (*settle)(struct sql_source *s, struct source_part *part,
				  struct source_settle *settle);
	void (*drop)(struct sql_source *s, struct source_part *part);
	/* Of a part that has a state; NULL: the mode keeps none. */
	const struct sql_reader *(*reader)(const struct source_part *part);
	void (*close)(struct sql_source *s); /* NULL: nothing */
	void (*show)(uint8_t version, struct slice checkpoint, struct buf *json);
};

extern const struct sql_mode_ops sql_full, sql_incremental, sql_change_log, sql_query_mode;

extern const struct source_type source_sql;

#endif
