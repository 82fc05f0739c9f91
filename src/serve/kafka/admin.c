/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/admin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "proto/kafka/kafka_error.h"

#define BREATHE_TOPICS 64u
#define TIMEOUT_MIN_MS 1000 /* many clients send 0 and mean: do not wait for other brokers */
#define MS_NS 1000000ll
#define LOG_SEGMENT_BYTES ((int64_t)256 << 20) /* log.segment_bytes, as it is built in */

/* ---- changes on their way to the disk ---- */

struct admin_job {
	struct kafka_call *call; /* NULL: answered */
	admin_answer_fn *answer;
	struct loop *loop;
	struct state_done done;
	struct loop_timer timer;
	uint32_t open; /* entered and not durable */
};

static void finish(struct admin_job *job, bool late)
{
	struct kafka_call *call = job->call;
	admin_answer_fn *answer = job->answer;

	job->call = NULL;
	loop_timer_stop(job->loop, &job->timer);
	if (job->open == 0)
		mem_free(job);
	if (call)
		answer(call, late);
}

static void on_durable(void *ctx)
{
	struct admin_job *job = ctx;

	if (--job->open == 0)
		finish(job, false);
}

static void on_timeout(void *ctx)
{
	finish(ctx, true);
}

struct admin_job *admin_job_new(struct kafka_call *call, admin_answer_fn *answer)
{
	struct admin_job *job = mem_zalloc(1, sizeof(*job));

	if (!job) {
		admin_no_memory(call);
		return NULL;
	}
	job->call = call;
	job->answer = answer;
	job->loop = call->loop;
	job->done = (struct state_done){.port = app_loop(call->app, call->loop)->port,
					.fn = on_durable,
					.ctx = job};
	loop_timer_init(&job->timer, on_timeout, job);
	return job;
}

const struct state_done *admin_job_enter(struct admin_job *job)
{
	job->open++;
	return &job->done;
}

void admin_job_refused(struct admin_job *job)
{
	job->open--;
}

void admin_job_wait(struct admin_job *job, int32_t timeout_ms)
{
	if (timeout_ms < TIMEOUT_MIN_MS)
		timeout_ms = TIMEOUT_MIN_MS;
	if (job->open)
		loop_timer_set(job->loop, &job->timer, timeout_ms * MS_NS);
	else
		finish(job, false);
}

void admin_breathe(struct kafka_call *call, size_t i)
{
	if (i == 0 || i % BREATHE_TOPICS)
		return;
	log_enter_end(call->app->log);
	log_enter_begin(call->app->log);
}

/* ---- answers ---- */

struct slice admin_say(struct kafka_call *call, const char *format, ...)
{
	char text[600];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return arena_copy(&call->arena, slice_str(text));
}

int16_t admin_code(int err)
{
	return err == ERR_FORBIDDEN ? KAFKA_INVALID_TOPIC_EXCEPTION : kafka_code(err);
}

void admin_no_memory(struct kafka_call *call)
{
	kafka_call_fail(call, "there is no memory for the answer to a request that manages topics");
}

struct topic *admin_find(struct kafka_call *call, struct slice name, int16_t *code, struct slice *message)
{
	struct topic *topic = topics_find(call->app->topics, name);

	if (topic && !topic->internal)
		return topic;
	*code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
	*message = SLICE_LIT("This server does not host this topic-partition.");
	return NULL;
}

int16_t admin_check_name(struct kafka_call *call, struct slice name, struct slice *message)
{
	struct fault fault = {0};

	if (!topic_name_check(name, &fault))
		return 0;
	*message = admin_say(call, "%s", fault.text);
	return KAFKA_INVALID_TOPIC_EXCEPTION;
}

struct named {
	struct slice name;
	size_t index;
};

static int order_by_name(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = slice_cmp(x->name, y->name);

	return order ? order : (x->index > y->index) - (x->index < y->index);
}

uint8_t *admin_marks(struct kafka_call *call, const void *items, size_t count, size_t stride, size_t name_at)
{
	uint8_t *marks = arena_zalloc(&call->arena, count + 1, 1);
	struct named *list = arena_zalloc(&call->arena, count + 1, sizeof(*list));
	size_t n = 0;

	if (!marks || !list)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		const struct slice *name =
			(const struct slice *)((const uint8_t *)items + i * stride + name_at);
		if (name->ptr)
			list[n++] = (struct named){.name = *name, .index = i};
	}
	qsort(list, n, sizeof(*list), order_by_name);
	for (size_t i = 1; i < n; i++) {
		if (!slice_eq(list[i - 1].name, list[i].name))
			continue;
		marks[list[i].index] = ADMIN_AGAIN;
		if (marks[list[i - 1].index] == ADMIN_ONCE)
			marks[list[i - 1].index] = ADMIN_FIRST;
	}
	return marks;
}

/* ---- settings ---- */

static void fill_in(const struct admin_settings *s, struct conf_topic *topic)
{
	if (topic->segment_bytes == 0)
		topic->segment_bytes = s->segment_bytes;
}

void admin_settings(struct kafka_call *call, struct admin_settings *out)
{
	out->segment_bytes = (int64_t)log_segment_bytes(call->app->log);
	conf_topic_init(&out->built_in);
	out->built_in.segment_bytes = LOG_SEGMENT_BYTES;
	topic_conf_defaults(call->app->topics, &out->defaults);
	fill_in(out, &out->defaults);
}

void admin_settings_of(struct kafka_call *call, const struct admin_settings *s, struct topic *topic,
		       struct conf_topic *out)
{
	topic_conf_of(call->app->topics, topic, out);
	fill_in(s, out);
}

/* weir keeps values, not who has set them: what is as the defaults are comes from them. */
enum admin_source admin_source(const struct admin_settings *s, const struct kafka_topic_row *row,
			       const struct conf_topic *topic)
{
	if (!kafka_topic_same(row, topic, &s->defaults))
		return ADMIN_SOURCE_TOPIC;
	return kafka_topic_same(row, &s->defaults, &s->built_in) ? ADMIN_SOURCE_DEFAULT : ADMIN_SOURCE_FILE;
}

struct slice admin_value(struct kafka_call *call, const struct kafka_topic_row *row,
			 const struct conf_topic *topic)
{
	struct slice value = slice_null();
	struct buf text;

	buf_init(&text, 256);
	if (kafka_topic_text(row, topic, &text) == 0)
		value = arena_copy(&call->arena, buf_slice(&text));
	buf_fini(&text);
	return value;
}

int16_t admin_change(struct kafka_call *call, struct admin_job *job, struct slice name, bool validate_only,
		     admin_edit_fn *edit, void *ctx, struct slice *message)
{
	struct conf_topic before, settings, defaults;
	struct fault fault = {0};
	int16_t code = 0;
	struct topic *topic = admin_find(call, name, &code, message);
	int rc;

	if (!topic)
		return code;
	topic_conf_of(call->app->topics, topic, &before);
	topic_conf_defaults(call->app->topics, &defaults);
	settings = before;
	code = edit(ctx, &settings, &defaults, message);
	if (code ||
	    (!topic->from_file && (validate_only || memcmp(&before, &settings, sizeof(settings)) == 0)))
		return code;
	rc = topic_conf_change(call->app->topics, topic, &settings, admin_job_enter(job), &fault);
	if (rc == 0)
		return 0;
	admin_job_refused(job);
	*message = admin_say(call, "%s", fault.text);
	return admin_code(rc);
}

int16_t admin_refuse_resource(struct kafka_call *call, int8_t type, struct slice *message)
{
	if (type == ADMIN_RESOURCE_BROKER) {
		*message = SLICE_LIT(
			"The broker's settings are in weir's configuration file: change it there and reload (SIGHUP)");
		return KAFKA_POLICY_VIOLATION;
	}
	*message = admin_say(call, "Resources of type %d have no settings here, topics (2) have", type);
	return KAFKA_INVALID_REQUEST;
}
