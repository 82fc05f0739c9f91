/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The type websocket: what the machinery calls. One part, one connection, which is kept between pulls in part->state;
 * a pull takes what has come since the last. docs/internals/source-websocket.md.
 */
#include "connect/websocket/websocket.h"

#include "base/mem.h"
#include "connect/websocket/inner.h"
#include "json/json_write.h"

static int open_source(const struct source_setup *setup, void **out, struct fault *fault)
{
	const struct websocket_settings *s = setup->settings;
	uint64_t seed = 0;
	struct feed *f;
	int rc;

	rc = source_refuse_files(setup, s->tls_ca || s->tls_cert || s->tls_key,
				 "tls.ca, tls.cert and tls.key name files", fault);
	if (rc)
		return rc;
	f = mem_zalloc(1, sizeof(*f));
	if (!f)
		return fault_set(fault, ERR_NOMEM, "there is no memory for the source");
	f->settings = s;
	f->name = setup->name;
	f->source = setup->source;
	f->sys = setup->sys;
	f->loop = setup->loop;
	f->guard = setup->guarded ? guard_public : guard_operator;
	(void)f->sys->ops->random(f->sys->self, &seed, sizeof(seed));
	rand_seed(&f->rand, seed);
	*out = f;
	return 0;
}

static void close_source(void *self)
{
	mem_free(self);
}

static enum source_end pull(void *self, struct source_part *part, struct source_batch *batch)
{
	struct link *l = part->state;
	struct feed *f = self;
	struct fault fault = {0};
	enum source_end end;

	if (!l) {
		batch->call.requests++;
		l = part->state = link_new(f, part, &fault);
	}
	if (!l)
		return source_fail(&batch->call, fault.err == ERR_NOMEM ? SOURCE_TRANSIENT : SOURCE_FINAL,
				   "source %s: %s", f->name, fault.text);
	l->batch = batch;
	end = link_go_on(l);
	if (end == SOURCE_LATER)
		return end;
	l->batch = NULL;
	if (end == SOURCE_FAILED) {
		part->state = NULL;
		link_free(l);
	}
	return end;
}

/* The connection stays for the next pull, or drop comes. */
static void cancel(void *self, struct source_part *part)
{
	struct link *l = part ? part->state : NULL;
	struct source_batch *batch = l ? l->batch : NULL;

	(void)self;
	if (!batch)
		return;
	l->batch = NULL;
	source_done(&batch->call, SOURCE_MORE);
}

static void drop(void *self, struct source_part *part)
{
	struct feed *f = self;

	source_cut(f->source, part->state ? 1 : 0);
	if (part->state)
		link_free(part->state);
	part->state = NULL;
}

static void show(uint8_t version, struct slice checkpoint, struct buf *json)
{
	if (version == PLACE_VERSION && json_valid(checkpoint, NULL) == 0)
		json_put_raw(json, checkpoint);
	else
		json_put_null(json);
}

const struct source_type source_websocket = {
	.kind = WEBSOCKET_KIND,
	.flags = SOURCE_STREAMS,
	.open = open_source,
	.close = close_source,
	.pull = pull,
	.drop = drop,
	.cancel = cancel,
	.show = show,
};
