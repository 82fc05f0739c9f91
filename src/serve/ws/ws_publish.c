/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each message has a request with an arena of its own, taken from a pool of the
 * loop: the message's bytes lie in the loop's read buffer and are gone when the
 * parser goes on, while the log holds the record until it is durable.
 *
 * Results may come in another order than the messages (a refusal is known at
 * once, a key in flight is waited for), so the messages of a connection stand in
 * a list and are answered from its front.
 */
#include "serve/ws/ws_publish.h"

#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "ingest/envelope.h"
#include "json/json_write.h"

#define IN_FLIGHT_MAX 512u
#define IN_FLIGHT_BYTES (1u << 20) /* the message that passes it is the last */
#define POOL_MAX 1024u
#define CHUNK_BYTES 2048u
#define ARENA_BYTES_MAX (640ull << 20) /* the parser bounds the message; this is for what is made of it */
#define ID_BYTES_MAX 256u

struct ws_publisher {
	struct ws_message *first, *last;
	uint32_t count;
	size_t bytes;
	bool acks, v1;
	char topic[TOPIC_NAME_MAX + 1];
};

struct ws_message {
	struct ws_message *next;
	struct ws *ws;
	struct arena arena;
	struct slice id;    /* raw JSON; ptr NULL: none */
	const char *detail; /* of err; static or in the arena */
	int err;
	bool done;
	size_t bytes;
	struct ingest_request request;
};

/* ---- life ---- */

struct ws_publisher *ws_publisher_new(struct slice topic, const struct ws_ask *ask)
{
	struct ws_publisher *p = mem_zalloc(1, sizeof(*p));

	CHECK(topic.len <= TOPIC_NAME_MAX);
	if (!p)
		return NULL;
	memcpy(p->topic, topic.ptr, topic.len);
	p->acks = ask->acks || ask->v1;
	p->v1 = ask->v1;
	return p;
}

void ws_publisher_free(struct ws_publisher *p)
{
	CHECK(!p || p->count == 0);
	mem_free(p);
}

bool ws_publisher_full(const struct ws_publisher *p)
{
	return p->count >= IN_FLIGHT_MAX || p->bytes >= IN_FLIGHT_BYTES;
}

uint32_t ws_publisher_in_flight(const struct ws_publisher *p)
{
	return p ? p->count : 0;
}

static void free_message(struct ws_message *m)
{
	arena_fini(&m->arena);
	mem_free(m);
}

void ws_messages_free(struct ws_loop *l)
{
	while (l->free) {
		struct ws_message *m = l->free;
		l->free = m->next;
		free_message(m);
	}
	l->free_count = 0;
}

static struct ws_message *take_message(struct ws_loop *l)
{
	struct ws_message *m = l->free;

	if (m) {
		l->free = m->next;
		l->free_count--;
	} else {
		m = mem_alloc(sizeof(*m));
		if (!m)
			return NULL;
		arena_init(&m->arena, CHUNK_BYTES, ARENA_BYTES_MAX);
	}
	budget_add(loop_share(l->al->loop), sizeof(*m));
	arena_charge(&m->arena, loop_share(l->al->loop));
	return m;
}

static void give_message(struct ws_loop *l, struct ws_message *m)
{
	struct budget_share *share = loop_share(l->al->loop);

	budget_sub(share, sizeof(*m));
	arena_charge(&m->arena, NULL); /* what lies in the pool is nobody's */
	if (l->free_count >= POOL_MAX || budget_is_full(share)) {
		free_message(m);
		return;
	}
	arena_reset(&m->arena);
	m->next = l->free;
	l->free = m;
	l->free_count++;
}

/* ---- answers ---- */

static void put_ack(struct ws *s, const struct ws_message *m)
{
	const struct ingest_result *result = &m->request.result;
	struct buf *b = &s->loop->bufs.json;

	buf_clear(b);
	json_put_open(b, '{');
	json_put_name(b, "ack");
	json_put_open(b, '{');
	if (m->id.ptr) {
		json_put_name(b, "id");
		json_put_raw(b, m->id);
	}
	if (result->range_count) {
		json_put_member_u64(b, "partition", result->ranges[0].partition);
		json_put_member_i64(b, "offset", result->ranges[0].first);
	}
	if (s->publisher->v1)
		json_put_member_bool(b, "duplicate", result->duplicates > 0);
	json_put_close(b, '}');
	json_put_close(b, '}');
}

static void answer(struct ws *s, const struct ws_message *m)
{
	if (m->err)
		ws_put_error(s, m->id, m->err, m->detail);
	else if (s->publisher->acks)
		put_ack(s, m);
	else
		return;
	ws_write_json(s);
}

/* Answers from the front as far as results are known. The connection may be gone: then nothing is written. */
static void give_answers(struct ws *s)
{
	struct ws_publisher *p = s->publisher;

	while (p->first && p->first->done) {
		struct ws_message *m = p->first;
		answer(s, m);
		p->first = m->next;
		p->count--;
		p->bytes -= m->bytes;
		give_message(s->loop, m);
	}
	if (!p->first)
		p->last = NULL;
}

static void on_done(struct ingest_request *r)
{
	struct ws_message *m = r->ctx;
	struct ws *s = m->ws;

	m->done = true;
	m->err = r->result.err;
	m->detail = r->result.detail;
	if (m != s->publisher->first)
		return;
	give_answers(s);
	ws_settle(s);
}

/* ---- weir.v1 ---- */

static int refuse(struct ws_message *m, int err, const char *detail)
{
	m->err = err;
	m->detail = detail;
	return err;
}

/* The text of a fault that is about to go. */
static int refuse_copy(struct ws_message *m, int err, const char *text)
{
	struct slice copy = arena_copy(&m->arena, slice_make(text, strlen(text) + 1));

	return refuse(m, err, copy.ptr ? (const char *)copy.ptr : err_row(err)->sentence);
}

static int refuse_json(struct ws_message *m, const struct json_cursor *c)
{
	char place[160], text[256];

	json_error_text(&c->error, place, sizeof(place));
	(void)snprintf(text, sizeof(text), "The message is not well-formed JSON %s", place);
	return refuse_copy(m, ERR_BAD_JSON, text);
}

#define SHAPE \
	"A message is {\"publish\":{\"id\",\"key\",\"headers\",\"value\" or \"value_base64\",\"idempotency_key\"}}"

/* The one member `publish`. e->id is set as soon as it was seen, for the error too. */
static int read_publish(struct ws_message *m, struct json_cursor *c, struct envelope *e)
{
	struct slice name;
	int rc;

	if (json_peek(c) != JSON_OBJECT && c->status == 0)
		return json_skip(c) || json_end(c) ? refuse_json(m, c) : refuse(m, ERR_BAD_RECORD, SHAPE);
	if (json_object_begin(c))
		return refuse_json(m, c);
	if (!json_object_next(c, &name))
		return c->status ? refuse_json(m, c) : refuse(m, ERR_BAD_RECORD, SHAPE);
	if (!json_name_is(name, "publish"))
		return refuse(m, ERR_BAD_RECORD, SHAPE);
	rc = envelope_read(e, ENVELOPE_PUBLISH, c, &m->arena);
	m->id = e->id;
	if (c->status)
		return refuse_json(m, c);
	if (rc)
		return refuse_copy(m, rc, e->fault.text[0] ? e->fault.text : err_row(rc)->sentence);
	if (json_object_next(c, &name))
		return refuse(m, ERR_BAD_RECORD, SHAPE);
	return json_end(c) ? refuse_json(m, c) : 0;
}

static int fill_from_envelope(struct ws_message *m, const struct envelope *e)
{
	struct ingest_request *r = &m->request;
	struct slice headers;

	if (m->id.len > ID_BYTES_MAX) {
		m->id = slice_null();
		return refuse(m, ERR_BAD_RECORD, "id is longer than 256 bytes");
	}
	if (headers_encode(e->headers, &m->arena, &headers))
		return refuse(m, ERR_NOMEM, err_row(ERR_NOMEM)->sentence);
	r->record_headers = headers;
	r->record_header_count = e->headers->count;
	r->key = e->key;
	r->idempotency_path = e->idempotency_key;
	r->body = e->value;
	r->tombstone = !e->value.ptr;
	r->body_stays = true;
	return 0;
}

static int read_v1(struct ws_message *m, enum ws_opcode opcode, struct slice bytes)
{
	struct envelope e = {.headers = &m->ws->loop->headers};
	struct json_cursor c;
	struct slice doc;
	int rc;

	if (opcode != WS_TEXT)
		return refuse(m, ERR_BAD_RECORD, "With weir.v1 a message is JSON text, not binary");
	doc = arena_copy(&m->arena, bytes);
	if (!doc.ptr)
		return refuse(m, ERR_NOMEM, err_row(ERR_NOMEM)->sentence);
	headers_clear(e.headers);
	json_cursor_init(&c, doc);
	rc = read_publish(m, &c, &e);
	return rc ? rc : fill_from_envelope(m, &e);
}

/* ---- messages ---- */

static int read_message(struct ws_publisher *p, struct ws_message *m, enum ws_opcode opcode,
			struct slice bytes)
{
	ingest_request_init(&m->request, &m->arena, on_done, m);
	m->request.topic = slice_str(p->topic);
	m->request.entry = ENTRY_WS;
	m->request.lane = p;
	if (p->v1)
		return read_v1(m, opcode, bytes);
	m->request.body = bytes;
	return 0;
}

static void append(struct ws_publisher *p, struct ws_message *m)
{
	if (p->last)
		p->last->next = m;
	else
		p->first = m;
	p->last = m;
	p->count++;
	p->bytes += m->bytes;
}

static int enter(struct app_loop *al, struct ws_message *m)
{
	if (ingest_start(al->queue, &m->request))
		return refuse(m, m->request.result.err, m->request.result.detail);
	app_flush_later(al);
	return 0;
}

void ws_publish(struct ws *s, enum ws_opcode opcode, struct slice bytes)
{
	struct app_loop *al = s->loop->al;
	struct ws_message *m = take_message(s->loop);
	int rc;

	if (!m) {
		ws_count_refusal(s, ERR_NOMEM);
		ws_close(s, WS_CODE_TRY_LATER, "no memory for this message");
		return;
	}
	m->next = NULL;
	m->ws = s;
	m->id = slice_null();
	m->err = 0;
	m->detail = NULL;
	m->done = false;
	m->bytes = bytes.len;
	append(s->publisher, m);
	rc = read_message(s->publisher, m, opcode, bytes);
	if (rc)
		ws_count_refusal(s, rc);
	else
		rc = enter(al, m);
	if (rc == 0)
		return;
	m->done = true;
	if (m == s->publisher->first)
		give_answers(s);
}
