/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steps: open, plan, pull of the first parts until there are records enough, close. A type that blocks runs all of them
 * in one job; of the others each step ends in a callback, which begins the next.
 */
#include "connect/probe.h"

#include <pthread.h>
#include <stdio.h>

#include "base/mem.h"
#include "conf/redact.h"
#include "base/utf8.h"
#include "json/json.h"
#include "json/json_write.h"
#include "proto/batch/batch.h"

#define PARTS_TRIED 8u
#define PARTS_SHOWN 100u
#define RECORDS_DEFAULT 10u
#define SHOWN_BYTES 16384u /* of one value */

struct probe {
	struct source source; /* the first member */
	const struct runner_shared *shared;
	const struct runner_loop *home;
	struct conf_source *conf;
	const struct source_type *type;
	void *self;
	struct source_plan_inner plan;
	struct source_batch batch;
	struct source_part part;
	struct source_checkpoint begin;
	uint32_t next_part, records, shown;
	bool opened, failed, more, listed;
	enum source_end end;
	struct buf *out;
	struct buf dead, warnings;
	struct arena arena;
	pthread_mutex_t lock; /* warnings */
	struct loop_msg msg;
	void (*done)(void *ctx);
	void *ctx;
};

/* ---- what a type may call ---- */

static void on_wake(struct source_part *part)
{
	(void)part;
}

static void on_plan_again(struct source *source)
{
	(void)source;
}

static void on_warn(struct source *source, const char *text)
{
	struct probe *p = (struct probe *)source;

	(void)pthread_mutex_lock(&p->lock);
	json_put_item(&p->warnings);
	json_put_string_lossy(&p->warnings, slice_str(text));
	(void)pthread_mutex_unlock(&p->lock);
}

static const struct source_ops ops = {.wake = on_wake, .plan_again = on_plan_again, .warn = on_warn};

/* ---- as JSON ---- */

static void put_bytes(struct buf *out, const char *name, struct slice bytes)
{
	char member[40];
	bool cut = bytes.len > SHOWN_BYTES;

	if (!bytes.ptr)
		return;
	if (!cut && json_valid(bytes, NULL) == 0) {
		json_put_name(out, name);
		json_put_raw(out, bytes);
		return;
	}
	if (cut) {
		snprintf(member, sizeof(member), "%s_bytes", name);
		json_put_member_u64(out, member, bytes.len);
		bytes.len = SHOWN_BYTES;
	}
	snprintf(member, sizeof(member), "%s_%s", name, utf8_valid(bytes) || cut ? "text" : "base64");
	json_put_name(out, member);
	if (utf8_valid(bytes) || cut) {
		json_put_string_lossy(out, bytes);
		return;
	}
	json_put_base64(out, bytes);
}

static void put_headers(struct buf *out, struct slice headers)
{
	struct slice name, value;

	if (!headers.len)
		return;
	json_put_name(out, "headers");
	json_put_open(out, '{');
	while (batch_header_next(&headers, &name, &value) == 1) {
		json_put_name_slice(out, name);
		if (value.ptr)
			json_put_string_lossy(out, value);
		else
			json_put_null(out);
	}
	json_put_close(out, '}');
}

static void put_text(struct buf *out, const char *name, struct slice text);

/* Titles of parts may be URLs. */
static void put_hidden(struct probe *p, const char *name, struct slice text)
{
	char copy[1024];
	size_t n = text.len < sizeof(copy) ? text.len : sizeof(copy);

	memcpy(copy, text.ptr, n);
	n = redact_text(p->source.secrets, p->source.secret_count, copy, n);
	put_text(p->out, name, slice_make(copy, n));
}

static void put_text(struct buf *out, const char *name, struct slice text)
{
	json_put_name(out, name);
	json_put_string_lossy(out, text);
}

static void put_record(struct probe *p, const struct source_item *item)
{
	struct buf *out = p->out;

	json_put_item(out);
	json_put_open(out, '{');
	put_text(out, "topic", item->topic.ptr ? item->topic : slice_str(p->conf->topic));
	if (item->key.ptr)
		put_text(out, "key", item->key);
	if (item->timestamp_ms >= 0)
		json_put_member_i64(out, "timestamp", item->timestamp_ms);
	if (item->partition >= 0)
		json_put_member_i64(out, "partition", item->partition);
	put_headers(out, item->headers);
	if (item->value.ptr) {
		put_bytes(out, "value", item->value);
	} else {
		json_put_name(out, "value");
		json_put_null(out);
	}
	put_bytes(out, "row", item->row);
	json_put_close(out, '}');
}

static void put_dead(struct probe *p, const struct source_dead_item *item)
{
	struct buf *out = &p->dead;

	json_put_item(out);
	json_put_open(out, '{');
	json_put_member_string(out, "code", slice_str(err_row(item->err)->code));
	if (item->path.ptr)
		put_text(out, "path", item->path);
	put_text(out, "detail", slice_str(item->text));
	put_bytes(out, "value", item->bytes);
	json_put_close(out, '}');
}

static void put_parts(struct probe *p)
{
	json_put_name(p->out, "parts");
	json_put_open(p->out, '[');
	for (uint32_t i = 0; i < p->plan.count && i < PARTS_SHOWN; i++) {
		json_put_item(p->out);
		json_put_open(p->out, '{');
		put_hidden(p, "part", p->plan.items[i]->title);
		if (p->plan.items[i]->total)
			json_put_member_u64(p->out, "total", p->plan.items[i]->total);
		json_put_close(p->out, '}');
	}
	json_put_close(p->out, ']');
	json_put_member_u64(p->out, "part_count", p->plan.count);
	json_put_name(p->out, "records");
	json_put_open(p->out, '[');
	p->listed = true;
}

static void put_pulled(struct probe *p)
{
	for (uint32_t i = 0; i < p->batch.record_count && p->shown < p->records; i++, p->shown++)
		put_record(p, &p->batch.inner->items[i]);
	for (uint32_t i = 0; i < p->batch.dead_count && i < p->records; i++)
		put_dead(p, &p->batch.inner->deads[i]);
}

static void put_end(struct probe *p, const struct fault *fault)
{
	if (p->listed)
		json_put_close(p->out, ']');
	json_put_name(p->out, "dead");
	buf_append_byte(p->out, '[');
	buf_append_slice(p->out, slice_from(buf_slice(&p->dead), 1));
	buf_append_byte(p->out, ']');
	json_put_name(p->out, "warnings");
	(void)pthread_mutex_lock(&p->lock);
	buf_append_byte(p->out, '[');
	buf_append_slice(p->out, slice_from(buf_slice(&p->warnings), 1));
	buf_append_byte(p->out, ']');
	(void)pthread_mutex_unlock(&p->lock);
	json_put_member_bool(p->out, "more", p->more);
	if (fault && fault->text[0])
		put_text(p->out, "error", slice_str(fault->text));
	json_put_close(p->out, '}');
}

/* ---- steps ---- */

static void on_done(struct source_call *call, enum source_end end);

static int open_it(struct probe *p, struct fault *fault)
{
	struct source_setup setup = runner_setup(p->shared, p->home, p->conf, &p->source);
	int rc;

	setup.test = true;
	rc = source_open(p->type, &setup, &p->self, fault);
	p->opened = rc == 0;
	return rc;
}

static enum source_end begin_plan(struct probe *p)
{
	source_call_init(&p->plan.plan.call, &p->source, on_done);
	if (p->type->plan)
		return p->type->plan(p->self, &p->plan.plan);
	return source_plan_add(&p->plan.plan, &(struct source_plan_part){.name = SLICE_LIT("")}) ?
		       SOURCE_FAILED :
		       SOURCE_IDLE;
}

static enum source_end begin_pull(struct probe *p)
{
	const struct source_plan_item *item = p->plan.items[p->next_part];

	p->part = (struct source_part){.name = item->name,
				       .title = item->title,
				       .checkpoint = {item->checkpoint, item->version},
				       .source = &p->source};
	source_batch_reset(&p->batch);
	source_call_init(&p->batch.call, &p->source, on_done);
	p->batch.records_max = p->records - p->shown;
	p->batch.bytes_max = 1u << 20;
	p->batch.value_bytes_max = 1u << 20;
	p->batch.test = true;
	return p->type->pull(p->self, &p->part, &p->batch);
}

static void end_pull(struct probe *p, enum source_end end)
{
	p->end = source_batch_close(&p->batch, end);
	p->failed = p->end == SOURCE_FAILED;
	p->more = p->end == SOURCE_MORE;
	put_pulled(p);
	if (p->type->drop && p->part.state)
		p->type->drop(p->self, &p->part);
	p->next_part++;
}

static bool wants_more(const struct probe *p)
{
	return !p->failed && p->shown < p->records && p->next_part < p->plan.count &&
	       p->next_part < PARTS_TRIED;
}

static void finish(struct probe *p, const struct fault *fault)
{
	put_end(p, p->failed && !fault ? &p->batch.call.fault : fault);
	if (p->opened)
		p->type->close(p->self);
}

static void end_plan(struct probe *p, enum source_end end)
{
	p->failed = source_plan_close(&p->plan, end) == SOURCE_FAILED;
	put_parts(p);
}

static void forget(struct probe *p)
{
	source_plan_fini(&p->plan);
	source_batch_fini(&p->batch);
	buf_fini(&p->dead);
	buf_fini(&p->warnings);
	(void)pthread_mutex_destroy(&p->lock);
	conf_source_unref(p->conf);
	arena_fini(&p->arena);
	mem_free(p);
}

static void tell(void *arg)
{
	struct probe *p = arg;
	void (*done)(void *ctx) = p->done;
	void *ctx = p->ctx;

	forget(p);
	done(ctx);
}

/* ---- a type that blocks: all of it in one job ---- */

static void run_all(void *arg)
{
	struct probe *p = arg;
	struct fault fault = {0};

	if (open_it(p, &fault)) {
		finish(p, &fault);
		return;
	}
	end_plan(p, begin_plan(p));
	if (p->failed) {
		finish(p, &p->plan.plan.call.fault);
		return;
	}
	while (wants_more(p))
		end_pull(p, begin_pull(p));
	finish(p, NULL);
}

/* ---- one on the loop ---- */

static void go_on(struct probe *p)
{
	while (wants_more(p)) {
		enum source_end end = begin_pull(p);
		if (end == SOURCE_LATER)
			return;
		end_pull(p, end);
	}
	finish(p, NULL);
	tell(p);
}

static void after_plan(struct probe *p, enum source_end end)
{
	end_plan(p, end);
	if (p->failed) {
		finish(p, &p->plan.plan.call.fault);
		tell(p);
		return;
	}
	go_on(p);
}

static void on_done(struct source_call *call, enum source_end end)
{
	struct probe *p = (struct probe *)call->source;

	if (call == &p->plan.plan.call) {
		after_plan(p, end);
		return;
	}
	end_pull(p, end);
	go_on(p);
}

static void on_loop(struct loop *loop, struct loop_msg *msg)
{
	struct probe *p = (struct probe *)(void *)((uint8_t *)msg - offsetof(struct probe, msg));
	struct fault fault = {0};
	enum source_end end;

	(void)loop;
	if (open_it(p, &fault)) {
		finish(p, &fault);
		tell(p);
		return;
	}
	end = begin_plan(p);
	if (end != SOURCE_LATER)
		after_plan(p, end);
}

/* ---- beginning ---- */

int probe_start(const struct runner_shared *shared, const struct runner_loop *home,
		struct conf_source *source, uint32_t records, struct buf *out, void (*done)(void *ctx),
		void *ctx)
{
	struct probe *p = mem_zalloc(1, sizeof(*p));
	const char *const *secrets = NULL;
	int rc;

	if (!p)
		return ERR_NOMEM;
	(void)pthread_mutex_init(&p->lock, NULL);
	p->shared = shared;
	p->home = home;
	p->conf = conf_source_ref(source);
	p->type = source_type_of(source->kind);
	p->records = records ? records : RECORDS_DEFAULT;
	p->out = out;
	p->done = done;
	p->ctx = ctx;
	p->source.ops = &ops;
	arena_init(&p->arena, 256, 1u << 20);
	buf_init(&p->dead, 4u << 20);
	buf_init(&p->warnings, 1u << 20);
	buf_append_byte(&p->dead, '[');
	buf_append_byte(&p->warnings, '[');
	rc = redact_secrets(source->kind, source->settings, &p->arena, &secrets, &p->source.secret_count);
	p->source.secrets = secrets;
	if (rc == 0)
		rc = source_batch_init(&p->batch);
	if (rc == 0)
		rc = source_plan_init(&p->plan);
	json_put_open(out, '{');
	put_text(out, "source", slice_str(source->name));
	if (rc == 0 && (p->type->flags & SOURCE_BLOCKS))
		rc = shared->run_blocking(shared->ctx, home->loop, run_all, tell, p);
	if (rc) {
		forget(p);
		return rc;
	}
	if (!(p->type->flags & SOURCE_BLOCKS)) {
		p->msg.run = on_loop;
		loop_post(home->loop, &p->msg);
	}
	return 0;
}
