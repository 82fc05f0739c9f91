/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_CONF_H
#define WEIR_CONF_CONF_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "conf/problem.h"
#include "conf/world.h"

/*
 * The configuration: what the settings table (conf/setting.h) makes of a YAML
 * file, of the command line and of the defaults. A struct conf is read-only
 * once loaded, owns all its memory, and may be read by any thread; a reload
 * makes a new one.
 *
 * Conf knows no topic object, no log and no socket: a topic is a name with
 * numbers here, an address is text.
 *
 * Units: durations are milliseconds (`_ms`), sizes bytes (`_bytes`). Words such
 * as `forever` and `unlimited` are -1, `auto` is 0, `off` is the null address.
 */

enum conf_durability { CONF_DURABILITY_FSYNC, CONF_DURABILITY_OS };
enum conf_cleanup { CONF_CLEANUP_DELETE, CONF_CLEANUP_COMPACT, CONF_CLEANUP_COMPACT_DELETE };
enum conf_timestamps { CONF_TIMESTAMPS_CREATE, CONF_TIMESTAMPS_APPEND };
enum conf_log_level { CONF_LOG_ERROR, CONF_LOG_WARNING, CONF_LOG_INFO, CONF_LOG_DEBUG };
enum conf_log_format { CONF_LOG_TEXT, CONF_LOG_JSON };

/* Strings are NUL terminated, owned by the conf. */
struct conf_list {
	const char **items;
	uint32_t count;
};

/* NAME: VALUE, in the order of the file; names are unique. */
struct conf_map {
	const char **names;
	const char **values;
	uint32_t count;
};

/* The keys of a topic, as in the file and in the HTTP API. */
struct conf_topic {
	const char *name;                 /* NULL in topic_defaults */
	int64_t partitions;               /* 1 */
	int64_t retention_ms;             /* 7 d; -1 for ever */
	int64_t retention_bytes;          /* -1: no bound */
	int64_t durability;               /* enum conf_durability */
	int64_t cleanup;                  /* enum conf_cleanup */
	int64_t compaction_dirty_percent; /* 50 */
	int64_t compaction_max_lag_ms;    /* 24 h; -1: no bound */
	int64_t compaction_tombstone_ms;  /* 24 h */
	int64_t recompress_after_ms;      /* 0: never */
	int64_t idempotency_ttl_ms;       /* 7 d */
	int64_t compaction_min_lag_ms;    /* 0 */
	int64_t timestamps;               /* enum conf_timestamps */
	int64_t max_message_bytes;        /* 1 048 588 */
	int64_t segment_bytes;            /* 0: as log.segment_bytes */
	int64_t dead_retention_ms;        /* 30 d; -1 for ever */
	int64_t dead_max_bytes;           /* 1 GiB; -1: no alert */
	bool auto_create;                 /* of topic_defaults alone */
};

/* A webhook source. Its keys have rows; none is read yet. */
struct conf_webhook {
	const char *name;
	int64_t type;
	const char *topic;
	int64_t verify_scheme;
	struct conf_list verify_secrets;
	const char *verify_header;
	const char *idempotency_header;
	int64_t idempotency_ttl_ms;
	int64_t rate_per_second; /* -1: no limit */
	int64_t rate_burst;
};

/*
 * A kind of source, as the room that serves it declares it: conf reads its settings and
 * knows nothing else of it. Its keys stand beside those that all sources have, and no key is in both.
 */
struct setting;
struct conf_check;

struct conf_kind {
	const char *name;    /* `type: NAME` */
	const char *summary; /* one line */
	const struct setting
		*settings; /* rows of the scope SETTING_KIND: members of the kind's own structure */
	uint32_t setting_count;
	size_t settings_bytes; /* of that structure */
	/* Checks between settings; tells with conf_check_fail. No network, no files. NULL: none. */
	void (*check)(const void *settings, struct conf_check *check);
};

enum conf_overlap { CONF_OVERLAP_SKIP, CONF_OVERLAP_QUEUE };

/*
 * What weir fetches: the keys that sources of every kind have, and those of its kind. Read-only, shared, and
 * lives as long as somebody holds it: a source at work outlives the conf that named it.
 */
struct conf_source {
	const char *name;
	const char *type;
	const char *topic;
	int64_t every_ms;                   /* 0: as the kind has it */
	int64_t every_min_ms, every_max_ms; /* 0: not adaptive; else both */
	const char *cron;                   /* NULL: none */
	const char *timezone;
	int64_t jitter_ms;
	int64_t overlap; /* enum conf_overlap */
	struct conf_list blackouts;
	bool at_start;
	int64_t parallel; /* parts that are pulled at once */
	int64_t retry_min_ms, retry_max_ms;
	int64_t rate_per_second; /* records; -1: no limit */
	int64_t batch_records, batch_bytes;
	bool guarded; /* made over the API: it may not look at this machine and its network */
	const struct conf_kind *kind;
	void *settings; /* of the kind */
	struct arena arena;
	_Atomic uint32_t refs;
};

/* Another holder. Any thread. */
struct conf_source *conf_source_ref(struct conf_source *source);
void conf_source_unref(struct conf_source *source); /* NULL is allowed */

/* True where both say the same, of all their keys. */
bool conf_source_same(const struct conf_source *a, const struct conf_source *b);

/*
 * One source from a mapping of its keys, JSON or YAML, as an item of the list `sources` has them; name may be missing
 * in it, and must be `name` otherwise. Returns owned. 0; ERR_BAD_CONFIG with *problems; ERR_NOMEM. Any thread.
 */
int conf_source_load(struct slice text, const char *name, const struct conf_world *world,
		     struct conf_source **out, struct conf_problems *problems);

/*
 * Gives every key that is not as by default to fn: "url", "batch.records", and its value as the file would say it, secrets
 * as ***. ERR_NOMEM: not all were given.
 */
int conf_source_each(const struct conf_source *source,
		     void (*fn)(void *ctx, const char *path, struct slice text), void *ctx);

/* The kinds that a weir has, and what checks the keys that all share. */
struct conf_kinds {
	const struct conf_kind *const *list;
	uint32_t count;
	void (*check)(const struct conf_source *source, struct conf_check *check);
};

/* The kind of a name, or NULL. */
const struct conf_kind *conf_kinds_find(const struct conf_kinds *kinds, const char *name);

/* A problem of the source being checked, told at the line where the key stands, or at that of the source. */
void conf_check_fail(struct conf_check *check, const char *path, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same, and the file is taken all the same. */
void conf_check_warn(struct conf_check *check, const char *path, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Was the key given, or is it the default? */
bool conf_check_given(const struct conf_check *check, const char *path);

/*
 * Reads one mapping of a kind's settings and nothing else: what the tests of a kind are configured with.
 * The structure and its strings come from the arena. 0; ERR_BAD_CONFIG with *problems; ERR_NOMEM.
 */
int conf_kind_load(const struct conf_kind *kind, struct slice text, const struct conf_world *world,
		   struct arena *arena, void **settings, struct conf_problems *problems);

struct conf {
	const char *path; /* of the file; NULL where there is none */
	const char *data; /* directory */
	int64_t threads;  /* network workers, 0: one a core */
	int64_t memory_bytes;
	int64_t drain_timeout_ms;
	int64_t log_level;  /* enum conf_log_level */
	int64_t log_format; /* enum conf_log_format */

	struct {
		const char *listen; /* HOST:PORT, [v6]:PORT, :PORT */
		int64_t max_connections;
		int64_t max_connections_per_address; /* 0: any */
		int64_t header_bytes_max;
		int64_t body_bytes_max;
		int64_t record_bytes_max;
		int64_t records_max;
		int64_t header_timeout_ms;
		int64_t body_min_rate; /* bytes a second, 0: none */
		int64_t idle_timeout_ms;
		int64_t peer_timeout_ms;
		struct conf_list allowed_origins; /* "https://a.example", or one "*" */
		struct conf_list allowed_hosts;   /* "a.example" or "a.example:8080" */
		bool cors;
	} http;

	struct {
		const char *listen;     /* NULL: off */
		const char *advertised; /* HOST:PORT; NULL: what the client reached */
		int64_t max_connections;
		int64_t max_connections_per_address; /* 0: any */
		int64_t request_bytes_max;
		int64_t idle_timeout_ms;
		int64_t peer_timeout_ms;
		struct conf_list users; /* "name:password" */
		int64_t session_timeout_min_ms, session_timeout_max_ms;
		int64_t group_initial_delay_ms;
		int64_t group_members_max;
		int64_t offsets_retention_ms;
	} kafka;

	struct {
		int64_t journal_file_bytes; /* 0: the log chooses */
		int64_t journal_bytes;
		int64_t segment_bytes;
		int64_t tail_bytes;
		int64_t group_bytes;
		int64_t entered_bytes;
		int64_t pinned_bytes;
		int64_t index_interval_bytes;
		int64_t files_max; /* 0: the log chooses */
		int64_t clock_hold_ms;
		int64_t readers;
		int64_t rewrite_rate; /* bytes a second; 0: no bound */
		int64_t compaction_memory;
	} log;

	struct {
		int64_t buffer_bytes;
		int64_t sse_comment_interval_ms;
		int64_t ws_ping_interval_ms;
		int64_t ws_message_bytes;
	} stream;

	struct conf_topic topic_defaults;
	struct conf_topic *topics; /* with the defaults filled in */
	uint32_t topic_count;
	struct conf_source **sources; /* held */
	uint32_t source_count;

	struct arena arena; /* of everything above */
};

/*
 * Reads, parses and checks a file. Everything wrong with it goes to *problems
 * (conf_problems_init'ed by the caller), all of it in one run. 0 with an owned
 * *out; ERR_BAD_CONFIG where a problem is an error, ERR_NOT_FOUND or ERR_IO
 * where the file cannot be read, ERR_NOMEM; *out is NULL then.
 * A path of NULL gives the defaults. Secrets and variables come from the process. kinds: of sources; NULL: none is served.
 */
int conf_load(const char *path, const struct conf_kinds *kinds, struct conf **out,
	      struct conf_problems *problems);

/* The same from bytes, with the surroundings given: for tests, the fuzzer and `weir check -`. */
int conf_load_text(struct slice text, const char *name, const struct conf_world *world, struct conf **out,
		   struct conf_problems *problems);

/* Takes; NULL is allowed. */
void conf_free(struct conf *c);

/*
 * Sets one setting from text as if the file had it (the command line's options:
 * "http.listen", "data"). Before the conf is shared. 0, ERR_BAD_CONFIG or
 * ERR_NOMEM, with *fault saying what was expected.
 */
int conf_set(struct conf *c, const char *path, struct slice value, struct fault *fault);

/*
 * Sets one key of a topic ("partitions", "idempotency.ttl") from text, as the
 * HTTP API gets it: the file's keys, values and checks. Numbers and booleans
 * are given as their JSON text. `name` and `auto_create` are not keys here.
 * 0, or ERR_BAD_TOPIC_CONFIG with *fault naming key, value and what would be
 * right, or the nearest valid key. Any thread.
 */
int conf_topic_set(struct conf_topic *topic, struct slice key, struct slice value, struct fault *fault);

/* The built-in defaults of a topic. */
void conf_topic_init(struct conf_topic *topic);

/*
 * Appends the keys of a topic as the members of a JSON object, without braces:
 * "partitions":4,"retention":"7d",...; what conf_topic_set takes back.
 */
int conf_topic_json(const struct conf_topic *topic, struct buf *out);

/* ---- reload ---- */

struct conf_change {
	const char *path;   /* "http.header_timeout", "topics[orders].retention" */
	const char *before; /* as the file would say it; NULL: was not there. Secrets are "***" */
	const char *after;  /* NULL: no longer there */
	bool restart;       /* takes effect at the next start only */
};

struct conf_changes {
	struct conf_change *list;
	uint32_t count;
	uint32_t restart_count;
	struct arena arena;
};

/* What differs, in the order of the table. Fills *out; 0 or ERR_NOMEM. Topics left out of the file are told but keep living. */
int conf_diff(const struct conf *before, const struct conf *after, struct conf_changes *out);
void conf_changes_fini(struct conf_changes *c);

/* ---- generated from the table ---- */

int conf_page_settings(struct buf *out);                                /* docs/reference/settings.md */
int conf_page_sources(const struct conf_kinds *kinds, struct buf *out); /* docs/reference/sources.md */
int conf_page_man(struct buf *out, const char *version);                /* weir.yaml.5 */
int conf_page_kafka_topics(struct buf *out);                            /* docs/reference/kafka-topics.md */
int conf_page_schema(const struct conf_kinds *kinds, struct buf *out);  /* JSON Schema 2020-12 of the file */

#endif
