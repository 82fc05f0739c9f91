/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_SETTING_H
#define WEIR_CONF_SETTING_H

#include "base/arena.h"
#include "base/buf.h"
#include "conf/conf.h"

/*
 * The settings: one row each, in one table. Parsing, checks, defaults, the
 * reference page, the man page, the JSON schema and what a reload tells are
 * made from the rows; a new setting is a row here and a member in conf.h.
 */

enum setting_type {
	SETTING_STRING, /* const char * */
	SETTING_BOOL,   /* bool */
	SETTING_INT,    /* int64_t, as all below */
	SETTING_SIZE,
	SETTING_DURATION,
	SETTING_ENUM,
	SETTING_LIST, /* struct conf_list of strings */
	SETTING_MAP,  /* struct conf_map: names that the user chooses, values of text */
};

/* Which structure a row is a member of, and where its path begins. */
enum setting_scope {
	SETTING_FILE,    /* struct conf, from the top of the file */
	SETTING_TOPIC,   /* struct conf_topic: topic_defaults, an item of topics, the HTTP API */
	SETTING_WEBHOOK, /* struct conf_webhook: an item of sources */
	SETTING_SOURCE,  /* struct conf_source: what sources of every kind have */
	SETTING_KIND,    /* a kind of source's own structure; its rows are in a table of its own */
};

enum setting_flags {
	SETTING_RESTART = 1, /* a reload tells of it, the next start applies it */
	SETTING_SECRET = 2,  /* its value is never printed */
	SETTING_REQUIRED = 4,
	SETTING_DEFAULTS_ONLY = 8, /* of topic_defaults, not of a topic */
	SETTING_ITEM_ONLY = 16,    /* of a topic in the file, not of topic_defaults nor of the API */
	SETTING_LATER = 32,        /* checked, without effect in this version */
};

struct setting_alias {
	const char *text, *name;
};

struct setting {
	const char *path;     /* within the scope: "http.listen", "idempotency.ttl" */
	const char *fallback; /* default, as the file would say it; NULL: none */
	const char *doc;      /* one sentence */
	const char *unit;     /* of a number, where the type does not say it: "bytes a second" */
	const char *word;     /* a word that stands for word_value, or for NULL of a string */
	int64_t word_value;
	int64_t min, max;
	const char *const *names;            /* of an enum; ends with NULL; the value is the index */
	const struct setting_alias *aliases; /* other spellings of names; ends with NULL. May be NULL */
	bool (*shape)(struct slice text);
	const char *shape_text; /* what the shape is: "HOST:PORT, such as 127.0.0.1:8080" */
	size_t offset;
	enum setting_type type;
	enum setting_scope scope;
	uint32_t flags;
};

/* What a row of a kind of source begins its last line with: .flags = …, SETTING_MEMBER(struct poll, url) */
#define SETTING_MEMBER(type, member) .scope = SETTING_KIND, .offset = offsetof(type, member)

/* All rows; those of a scope stand together, those of a section too. */
extern const struct setting setting_table[];
extern const uint32_t setting_count;

/* The row of a path within a scope, or NULL. */
const struct setting *setting_find(enum setting_scope scope, struct slice path);

/* Sets every member of a scope's structure to its default. The arena may be NULL where the scope has no strings. */
int setting_defaults(enum setting_scope scope, void *object, struct arena *arena);

/*
 * Parses, checks and stores one value; for a list: one more item. ERR_BAD_CONFIG
 * where it does not fit (setting_expected says what would), ERR_NOMEM. Strings
 * are copied to the arena.
 */
int setting_store(const struct setting *s, void *object, struct slice text, struct arena *arena);

/* The same for one more NAME: VALUE of a map. ERR_BAD_CONFIG also where the name is there already. */
int setting_store_pair(const struct setting *s, void *object, struct slice name, struct slice text,
		       struct arena *arena);

/* Sets every member of a table's structure to its default. */
int setting_table_defaults(const struct setting *table, uint32_t count, void *object, struct arena *arena);

/* Appends what a value may be: "a size from 4KiB to 1GiB, such as 64MiB". */
int setting_expected(const struct setting *s, struct buf *out);

/* The names of an enum nearest to the text, or NULL. */
const char *setting_nearest(const struct setting *s, struct slice text);

/* Appends the present value as the file would say it; a secret as ***. */
int setting_text(const struct setting *s, const void *object, struct buf *out);

/* True where both objects hold the same value. */
bool setting_same(const struct setting *s, const void *a, const void *b);

/* Appends one bound of a number in its own unit. */
int setting_number_text(const struct setting *s, int64_t value, struct buf *out);

#endif
