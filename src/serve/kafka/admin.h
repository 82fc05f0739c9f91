/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_ADMIN_H
#define WEIR_SERVE_KAFKA_ADMIN_H

#include "conf/kafka_topic.h"
#include "serve/kafka/call.h"
#include "serve/topic_conf.h"

/*
 * What the requests that manage topics share: changes that wait for the disk, sentences,
 * and settings as Kafka is told of them.
 */

/* ---- changes on their way to the disk ---- */

/*
 * The changes of one request: entered together, so that one sync takes them all, and answered together when
 * that is done. Its memory is its own, as the client's timeout may end the call before.
 */
struct admin_job;

/* Answers the call: `late` where the changes that entered are not durable yet. */
typedef void admin_answer_fn(struct kafka_call *call, bool late);

/* NULL without memory: the call has failed then. */
struct admin_job *admin_job_new(struct kafka_call *call, admin_answer_fn *answer);

/*
 * Between log_enter_begin and log_enter_end: who is to be told of the next change. It counts as
 * entered; admin_job_refused takes that back.
 */
const struct state_done *admin_job_enter(struct admin_job *job);
void admin_job_refused(struct admin_job *job);

/* For requests that say no timeout of their own. */
#define ADMIN_TIMEOUT_MS 30000

/* All have entered, after log_enter_end: answers now, where there are none, or when they are durable, or after the client's timeout. */
void admin_job_wait(struct admin_job *job, int32_t timeout_ms);

/* A long request lets others have the entry lock now and then: for the i-th topic of it. */
void admin_breathe(struct kafka_call *call, size_t i);

/* ---- answers ---- */

/* A sentence in the memory of the call; null without any. */
struct slice admin_say(struct kafka_call *call, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Kafka's code for what a change of a topic was refused with; a kept name is one that is not valid. */
int16_t admin_code(int err);

/* No memory is left for an answer: the call ends. */
void admin_no_memory(struct kafka_call *call);

/* The live topic of that name, or NULL with Kafka's code and sentence: unknown, also where no topic could have the name. */
struct topic *admin_find(struct kafka_call *call, struct slice name, int16_t *code, struct slice *message);

/* Requests for settings tell a name that no topic can have apart: 0, or Kafka's code with a sentence. */
int16_t admin_check_name(struct kafka_call *call, struct slice name, struct slice *message);

/*
 * Which of many structs, `stride` bytes apart, bear the same name: a struct slice at name_at of each.
 * One byte for each, in the memory of the call; NULL without any. A null name is never twice.
 */
enum admin_mark { ADMIN_ONCE, ADMIN_FIRST /* of several */, ADMIN_AGAIN };
uint8_t *admin_marks(struct kafka_call *call, const void *items, size_t count, size_t stride, size_t name_at);

/* ---- settings ---- */

/* Sources, as DescribeConfigs numbers them. */
enum admin_source { ADMIN_SOURCE_TOPIC = 1, ADMIN_SOURCE_FILE = 4, ADMIN_SOURCE_DEFAULT = 5 };

enum admin_resource { ADMIN_RESOURCE_TOPIC = 2, ADMIN_RESOURCE_BROKER = 4 };

/* What a value is compared with to tell where it comes from; all with segment_bytes filled in. */
struct admin_settings {
	struct conf_topic built_in, defaults;
	int64_t segment_bytes; /* of the log */
};

void admin_settings(struct kafka_call *call, struct admin_settings *out);

/* The topic's, with segment_bytes filled in. */
void admin_settings_of(struct kafka_call *call, const struct admin_settings *s, struct topic *topic,
		       struct conf_topic *out);

enum admin_source admin_source(const struct admin_settings *s, const struct kafka_topic_row *row,
			       const struct conf_topic *topic);

/* The value in force in the memory of the call; null without any. */
struct slice admin_value(struct kafka_call *call, const struct kafka_topic_row *row,
			 const struct conf_topic *topic);

/*
 * Changes a topic's settings by what edit() makes of them, under the entry lock, so that nothing comes between.
 * edit() gives Kafka's code; then, and where the topic cannot be changed, nothing is.
 * Nothing enters where nothing changed or `validate_only` is set.
 */
typedef int16_t admin_edit_fn(void *ctx, struct conf_topic *settings, const struct conf_topic *defaults,
			      struct slice *message);
int16_t admin_change(struct kafka_call *call, struct admin_job *job, struct slice name, bool validate_only,
		     admin_edit_fn *edit, void *ctx, struct slice *message);

/* What is said of a resource whose settings cannot be changed here. */
int16_t admin_refuse_resource(struct kafka_call *call, int8_t type, struct slice *message);

#endif
