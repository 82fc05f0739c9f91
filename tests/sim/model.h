/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_SIM_MODEL_H
#define WEIR_TESTS_SIM_MODEL_H

#include "base/rand.h"
#include "ingest/ingest.h"
#include "proto/batch/batch.h"
#include "state/topics.h"

/*
 * What the world outside knows: what was sent, what was answered, what was ever
 * read. It outlives the machine. Each function that is told something compares
 * it with what is known, and ends the run (model_fail) where both cannot be true.
 */
#define MODEL_TOPICS_MAX 96u
#define MODEL_PARTS_MAX 6u
#define MODEL_RECORDS_MAX 12u
#define MODEL_ROWS 3u
#define MODEL_VALUE_MAX 9000u

struct model_place {      /* what stands at an offset */
	uint32_t request; /* 0: not known */
	uint16_t index;   /* UINT16_MAX: not known */
	bool rotten;      /* its batch was damaged: it may be missing */
	uint32_t scan;    /* when it was read last as a whole */
	uint32_t hidden;  /* by damage on both sides, in that scan */
	int64_t time_ms;  /* INT64_MIN: never read */
};

struct model_part {
	struct model_place *at;
	int64_t cap;
	int64_t end; /* one past the highest offset known */
	int64_t trim_sure, trim_asked;
	bool rotten;   /* some of it is */
	int64_t start; /* when last looked at */
};

struct model_topic {
	char name[16];
	struct topic_id id;
	bool created; /* answered, or something in it was */
	bool on_use;  /* made by the first request that names it; until then it has no id */
	bool deleting, deleted;
	bool frees; /* retention or trims may take records */
	bool compacted;
	bool pure;                   /* neither trimmed nor deleted, ever: everything is checked */
	uint32_t parts, parts_asked; /* sure, and at most */
	int64_t ttl_ms;
	struct model_part part[MODEL_PARTS_MAX];
};

enum model_fate { FATE_UNKNOWN, FATE_PRESENT, FATE_ABSENT };

struct model_request {
	uint32_t id;
	uint8_t topic, other; /* record i is in topic, or other where i is odd */
	uint8_t count;
	bool keyed;      /* may be sent again */
	bool with_key;   /* each record has the partition key */
	bool own_keys;   /* each record one of its own */
	bool tombstones; /* each third record has no value, and says in a header what it is */
	bool own_time;   /* timestamps are the client's */
	bool loose;      /* entered out of turn: no order is known */
	bool rotten;     /* a record of it may be missing */
	bool unlearnt;   /* it was sure, then the last group of the journal had it and was damaged */
	bool in_part;    /* since then: what a segment had already is there, without the rest and its key */
	int8_t row;      /* the row of state that it sets, -1: none */
	enum model_fate fate;
	bool acked, taken, was_present; /* answered; not as a duplicate; was there before it was sent */
	uint32_t in_flight;
	uint32_t entered;      /* direct ones: the how manieth of those that entered */
	uint32_t tries;        /* sent since it was known not to be there */
	uint32_t found, stamp; /* records seen by the scan `stamp` */
	int64_t sure_until_ms; /* so long its key is known */
};

struct model {
	struct model_topic topics[MODEL_TOPICS_MAX];
	uint32_t topic_count;
	struct model_request *requests; /* [0] is none */
	uint32_t request_count, request_cap;
	uint32_t scan, entered;
	int64_t wall_max_ms;
	uint64_t acked, records_read, duplicates;
	uint32_t unlearnt_lost; /* of the last scan */
	bool hiding;            /* something was hidden once */
	const char *doing;
};

/* Says what cannot be, and ends the process with the command that repeats it. */
_Noreturn void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

void model_reset(struct model *m);

/* Returns the number of a new topic of that name; its id is set when it was created. */
uint32_t model_topic_new(struct model *m, const char *name, uint32_t parts);
/* The live topic of an id; -1: none is known. */
int model_topic_of(const struct model *m, const struct topic_id *id);

struct model_request *model_request_new(struct model *m, uint32_t topic, uint32_t other, uint32_t count);
/* The value of a record: the same whenever asked. */
struct slice model_value(const struct model_request *r, uint32_t index, char *bytes);
/* Of the request, and of a record, which may have one of its own. */
#define MODEL_KEYS 9u
size_t model_key(const struct model_request *r, char *bytes);
size_t model_key_at(const struct model_request *r, uint32_t index, char *bytes);
static inline bool model_is_tombstone(const struct model_request *r, uint32_t index)
{
	return r->tombstones && (r->id + index) % 3 == 0;
}
static inline uint32_t model_topic_at(const struct model_request *r, uint32_t index)
{
	return index % 2 ? r->other : r->topic;
}

/* ---- told ---- */

/* The topic was deleted and made anew under its name before the request entered. */
void model_moved(struct model *m, struct model_request *r, uint32_t topic);

/* `first`: this was the first answer for it, not a duplicate. */
void model_answered(struct model *m, struct model_request *r, bool first, bool durable);
void model_range(struct model *m, struct model_request *r, uint32_t topic, uint32_t part, int64_t first,
		 int64_t last);
void model_refused(struct model *m, struct model_request *r);
/* A record was read, by whomever. */
void model_read(struct model *m, uint32_t topic, uint32_t part, const struct batch_record *record);

/* The batch that holds this record is damaged: the record may be missing from now on, and is never altered. */
void model_rotten(struct model *m, uint32_t topic, uint32_t part, const struct batch_record *record);
/* Offsets of that batch, with a record or (compacted away) without. */
void model_rotten_range(struct model *m, uint32_t topic, uint32_t part, int64_t from, int64_t to);
/*
 * All of [from, to) may be missing: each is rotten, or what is not stands between two that are. Batches
 * between two damaged ones are believed only where they lead, one to the next, to a place that the index names.
 */
bool model_is_rotten(const struct model *m, uint32_t topic, uint32_t part, int64_t from, int64_t to);
/* This gap was told in the present scan. */
void model_hide(struct model *m, uint32_t topic, uint32_t part, int64_t from, int64_t to);
/* The group that holds this record may be lost: as if its request had not been answered yet, and not whole. */
void model_unlearn(struct model *m, uint32_t topic, uint32_t part, const struct batch_record *record);

/* Everything in flight is lost with the machine. */
void model_power_cut(struct model *m);

/*
 * Walks the records of a batch, compressed or not; what it is inflated to lives until the end,
 * with no call of the disk between. Non-zero: it cannot be read.
 */
struct model_walk {
	struct batch_walk walk;
	struct codec *codec;
	struct buf plain;
};
int model_walk_start(struct model_walk *w, struct slice batch);
void model_walk_end(struct model_walk *w);

/* ---- the whole log read anew ---- */

void model_scan_start(struct model *m);
void model_scan_part(struct model *m, uint32_t topic, uint32_t part, int64_t start, int64_t end);
/* The same where records may have been taken out (compacted.c). */
void model_scan_compacted(struct model *m, uint32_t topic, uint32_t part, int64_t start, int64_t end);
/* Decides what is still unknown; rows: what the table of state holds. */
void model_scan_end(struct model *m, const uint32_t rows[MODEL_ROWS]);

#endif
