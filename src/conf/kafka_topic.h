/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_KAFKA_TOPIC_H
#define WEIR_CONF_KAFKA_TOPIC_H

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

/*
 * A topic's settings by the names that Kafka has for them (TopicConfig.java), one row
 * each: what its value does to a struct conf_topic, and what is told of it. Names that weir has no
 * use for have a row too, where clients set them and expect to be told of them: those
 * take the values that mean what weir does anyway, and always tell the value in force.
 *
 * It knows no message of Kafka's and no topic object.
 */

/* As DescribeConfigs numbers them (ConfigEntry.ConfigType). */
enum kafka_topic_type {
	KAFKA_TOPIC_BOOLEAN = 1,
	KAFKA_TOPIC_STRING = 2,
	KAFKA_TOPIC_INT = 3,
	KAFKA_TOPIC_LONG = 5,
	KAFKA_TOPIC_DOUBLE = 6,
	KAFKA_TOPIC_LIST = 7,
};

struct kafka_topic_rule;

struct kafka_topic_row {
	const char *name;   /* "retention.ms" */
	const char *server; /* the broker's setting that is the default of it; NULL: none */
	const char *key;    /* weir's own, "retention"; NULL: weir has no such setting */
	const char *doc;    /* one sentence */
	const struct kafka_topic_rule *rule;
	const char *fixed;        /* without a key: the value in force, always */
	const char *const *words; /* what is allowed, where that is words; ends with NULL */
	int64_t min, max;         /* of numbers, as Kafka has them */
	int64_t unbounded;        /* the number that stands for weir's -1; 0: none does */
	size_t offset;            /* in struct conf_topic */
	enum kafka_topic_type type;
};

extern const struct kafka_topic_row kafka_topic_table[]; /* in order of name */
extern const uint32_t kafka_topic_count;

/* NULL where Kafka has no such name, or weir no row for it. */
const struct kafka_topic_row *kafka_topic_find(struct slice name);

/* Says that there is no such name, and which is the nearest. ERR_BAD_TOPIC_CONFIG. */
int kafka_topic_unknown(struct slice name, struct fault *fault);

/*
 * Sets one from text; blanks around it are nothing, as in Kafka. 0, or ERR_BAD_TOPIC_CONFIG with
 * name, value and what is allowed. A number beyond what weir can do is brought to its bound where
 * no reader can tell the difference, else refused.
 */
int kafka_topic_set(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value,
		    struct fault *fault);

/* Adds to a list, or takes away from it. ERR_BAD_TOPIC_CONFIG also where it is none. */
int kafka_topic_append(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value,
		       struct fault *fault);
int kafka_topic_subtract(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value,
			 struct fault *fault);

/* Sets it to what `defaults` has. */
void kafka_topic_reset(const struct kafka_topic_row *row, struct conf_topic *topic,
		       const struct conf_topic *defaults);

/*
 * Appends the value in force, as Kafka writes it; kafka_topic_set takes it and nothing changes.
 * A segment_bytes of `auto` is to be filled in before.
 */
int kafka_topic_text(const struct kafka_topic_row *row, const struct conf_topic *topic, struct buf *out);

/* Appends what is allowed: "-1 for ever, or a number from 0". */
int kafka_topic_expected(const struct kafka_topic_row *row, struct buf *out);

/* True where both have the same. */
bool kafka_topic_same(const struct kafka_topic_row *row, const struct conf_topic *a,
		      const struct conf_topic *b);

#endif
