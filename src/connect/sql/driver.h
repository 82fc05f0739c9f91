/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SQL_DRIVER_H
#define WEIR_CONNECT_SQL_DRIVER_H

#include "base/buf.h"
#include "base/err.h"
#include "connect/source.h"

/*
 * What the modes need of a database, and nothing of what one database has alone: connect, ask,
 * take rows one by one as text, with the kind of each column. One table of functions a
 * client library; sql_driver_find tells which stands for a URL.
 *
 * A session is one connection and has one thread at a time; only sql_driver.interrupt may be called
 * beside it. Rows are streamed: what the library and the server hold of a result is bounded,
 * however large the table.
 */
enum sql_kind {
	SQL_TEXT,
	SQL_INTEGER, /* decimal digits, perhaps a sign, of any size */
	SQL_DECIMAL, /* exact; "NaN" and infinities too where the database has them */
	SQL_DOUBLE,
	SQL_FLOAT, /* single precision */
	SQL_BOOL,  /* 't' or 'f', '1' or '0' */
	SQL_BYTES,
	SQL_JSON,       /* JSON as the database checked it */
	SQL_MAYBE_JSON, /* JSON where it is well formed, else a string */
	SQL_TIMESTAMP,  /* a point in time: as RFC 3339, in UTC */
	SQL_DATETIME,   /* date and time of no zone */
	SQL_DATE,
	SQL_TIME,
	SQL_ARRAY, /* PostgreSQL's text of an array of `element` */
};

struct sql_column {
	char name[256]; /* UTF-8, as the result has it */
	enum sql_kind kind;
	enum sql_kind element;
	char separator; /* between elements: ',' but for box */
	uint32_t type;  /* the database's own number of the type */
};

#define SQL_COLUMNS_MAX 1600u

/* A value of a row: borrowed until the next row is asked for. ptr NULL: NULL. Bytes are bytes, not hexadecimal. */
struct sql_row {
	struct slice *values;
	const enum sql_kind
		*kinds; /* of these values, where the database types values and not columns; else NULL */
	uint32_t count;
};

struct sql_session;

/* Why something failed, and whether it may go by itself. Filled by whoever gives a negative result. */
struct sql_failure {
	enum source_failure kind;
	bool lost;     /* the connection is of no more use */
	bool changed;  /* not a failure: the table has other columns than were learned, and is learned anew */
	char state[8]; /* SQLSTATE, or the library's number */
	char text[400]; /* the server's own words, on one line */
};

struct sql_target {
	const char *url;
	const char *password; /* beside the URL; NULL: the URL's, or none */
	const char *ca;       /* file with certificates of authorities; NULL: the system's */
	bool guarded;         /* only addresses that whoever made the source over the API may reach */
	int64_t timeout_ms;   /* to connect, and of silence while it runs */
	const _Atomic bool *cancelled; /* looked at while waiting; NULL: never */
};

enum sql_dialect { SQL_POSTGRESQL, SQL_MARIADB, SQL_SQLITE };

struct sql_driver {
	const char *name;
	enum sql_dialect dialect;

	/* 0 and *out, or ERR_* with *why. The session speaks UTF-8, UTC, ISO dates, and refuses to write but for the log of changes. */
	int (*connect)(const struct sql_target *target, bool writes, struct sql_session **out,
		       struct sql_failure *why);
	void (*close)(struct sql_session *s);
	/* Any thread, as long as the session lives: what waits comes back soon with ERR_CANCELLED. */
	void (*interrupt)(struct sql_session *s);

	/* A statement without rows. 0, ERR_*. `affected` may be NULL. */
	int (*run)(struct sql_session *s, const char *text, uint64_t *affected, struct sql_failure *why);

	/*
	 * A statement with rows, streamed until `next` gives 0 or `stop` is called; nothing else may be
	 * asked of the session meanwhile. `large`: many rows come, of at least thousands; in a transaction. What `columns`
	 * says afterwards holds of every row, whatever becomes of the table meanwhile.
	 */
	int (*ask)(struct sql_session *s, const char *text, bool large, struct sql_failure *why);
	const struct sql_column *(*columns)(struct sql_session *s, uint32_t *count);
	/* 1 and *row, 0 at the end, ERR_*. */
	int (*next)(struct sql_session *s, struct sql_row *row, struct sql_failure *why);
	/* The rest of the rows is not wanted. ERR_* where the session is of no more use. Also right after the end, or where nothing was asked. */
	int (*stop)(struct sql_session *s);

	/* Appends a name or a text as the dialect's SQL quotes it. */
	void (*quote_name)(struct buf *out, struct slice name);
	void (*quote_text)(struct buf *out, struct slice text);
	void (*quote_bytes)(struct buf *out, struct slice bytes);
};

extern const struct sql_driver sql_postgresql, sql_mariadb, sql_sqlite;

/* Those that users may write. */
#define SQL_SCHEMES "postgresql, mariadb, mysql, sqlite"

/* The driver of a URL's scheme, or NULL where there is none, or it was not built in. */
const struct sql_driver *sql_driver_find(const char *url);

/* Which library this weir was built without, where the scheme is known all the same, as source_type.absent has it; else NULL. */
const char *sql_driver_absent(const char *url);

/* For drivers: the text between two marks, each mark in it twice; the bytes as hexadecimal digits. */
void sql_put_doubled(struct buf *out, struct slice text, uint8_t mark);
void sql_put_hex(struct buf *out, struct slice bytes);

/* For drivers: fills *why in; the text is copied onto one line. Gives err. */
int sql_failed(struct sql_failure *why, int err, enum source_failure kind, bool lost, const char *state,
	       const char *text);

int sql_no_memory(struct sql_failure *why);

/* Did a statement name a column that is not there? */
bool sql_is_no_column(const struct sql_failure *why);

/* The first row of a question, copied into the arena; 1, 0 where there is none, or ERR_*. */
int sql_ask_one(const struct sql_driver *d, struct sql_session *s, const char *text, struct arena *arena,
		struct sql_row *row, struct sql_failure *why);

#endif
