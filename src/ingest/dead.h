/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_DEAD_H
#define WEIR_INGEST_DEAD_H

#include "base/arena.h"
#include "proto/batch/batch.h"
#include "state/topics.h"

/*
 * Dead letters: what could not be taken is set aside whole, whoever sets it aside. A dead letter is a
 * record of the topic <topic>.dead, partition 0: key and value are the bytes as they came, the headers
 * those that came, and behind them a block of dead-* headers that says the rest. So every reader of every protocol
 * can read it, and the bytes are exact. It is one more record of a commit: it is there when what
 * was good beside it is, and not otherwise.
 *
 *	under log_enter:  dead_partition(topics, topic, &partition, &fault)
 *	                  record.partition = partition, into the commit
 *	before or there:  dead_letter_record(&letter, arena, &record)
 *
 * Which letters are open is not in them: state/dead_marks.h. docs/internals/dead-letters.md.
 */
#define DEAD_SUFFIX ".dead"
#define DEAD_TEXT_MAX 1024u  /* of path, text and undo; longer ones are cut */
#define DEAD_PLACE_MAX 2048u /* of name and place */

/* Who has set it aside. */
enum dead_from {
	DEAD_FROM_UNKNOWN, /* a record of the topic that is no dead letter: produced by hand */
	DEAD_FROM_DOOR,    /* a request; name: http, websocket, … */
	DEAD_FROM_SOURCE,  /* name: the source's */
	DEAD_FROM_DELIVERY,
};

/* ptr NULL: absent, everywhere. All is borrowed. */
struct dead_letter {
	/* The record as it came. */
	struct slice key, value;
	struct slice headers; /* encoded, without ours */
	uint32_t header_count;
	struct slice form;            /* media type by which value is to be read; absent: bytes as they are */
	struct slice idempotency_key; /* its own, to be asked for when it is redriven */
	int64_t partition;            /* that it was meant for; -1: none */
	int64_t timestamp_ms;         /* that it was to bear; -1: none */
	/* Where it came from. */
	enum dead_from from;
	struct slice name;  /* of the door, source or subscription */
	struct slice topic; /* that it was meant for */
	struct slice place; /* "line 3", "orders.csv:17", "partition 2 offset 99", a URL */
	/* When, how often, why, and what would undo it. */
	int64_t at_ms;     /* set aside */
	uint32_t tries;    /* 1 for the first */
	struct slice code; /* of err.def, or a word of the type's own of [a-z0-9_] */
	struct slice path; /* JSON pointer, column */
	struct slice text; /* a sentence */
	struct slice undo; /* absent: what goes with the code */
	int64_t edited;    /* the letter that this one is an edit of: its offset; -1: none */
};

/* Nothing but defaults. */
void dead_letter_init(struct dead_letter *d);

/*
 * The record that keeps it, but for its partition; headers are in the arena, key and value borrowed from
 * the letter. 0, ERR_NOMEM.
 */
int dead_letter_record(const struct dead_letter *d, struct arena *arena, struct log_record *out);

/*
 * The letter that a record is. Borrows from it. Any record is one: what has no dead-letter block, or a broken one, is
 * DEAD_FROM_UNKNOWN with all of its headers as they are.
 */
void dead_letter_read(const struct batch_record *r, struct dead_letter *out);

/* What would undo a refusal with this code (err.def): a sentence, never NULL. */
const char *dead_undo(struct slice code);

/* ---- topics ---- */

/* Is this the name of a topic of dead letters? And the topic that they were meant for: its name without the suffix. */
bool dead_topic_is(struct slice name);
struct slice dead_topic_parent(struct slice name);

/*
 * Between log_enter_begin and log_enter_end: where the dead letters of this topic go. Makes the topic on
 * first use, whatever auto_create says, with the topic's dead_letters.retention. ERR_BAD_TOPIC (the name would be too long),
 * ERR_PARTITIONS_FULL and what log_enter gives, with *fault: then nothing may be set aside.
 */
int dead_partition(struct topics *topics, struct slice topic, struct partition **out, struct fault *fault);

/*
 * The settings of a topic have become others: that of its dead letters, where there is one and the configuration file does not
 * name it, keeps them for as long as they say now. Between log_enter_begin and log_enter_end; it enters with what
 * changed the topic. What keeps it from being changed is only told by its retention staying what it was.
 */
void dead_follow(struct topics *topics, struct slice parent);

#endif
