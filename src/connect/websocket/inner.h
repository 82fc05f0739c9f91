/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_WEBSOCKET_INNER_H
#define WEIR_CONNECT_WEBSOCKET_INNER_H

#include "base/rand.h"
#include "connect/source.h"
#include "connect/text/template.h"
#include "connect/websocket/place.h"
#include "connect/websocket/settings.h"
#include "json/json.h"
#include "net/dialer.h"
#include "proto/http/http.h"
#include "proto/ws/ws_handshake.h"
#include "proto/ws/ws_parser.h"

/* What websocket.c (the type), link*.c (one connection) and message.c (what came) share. */

struct feed {
	const struct websocket_settings *settings;
	const char *name;
	struct source *source;
	const struct sys *sys;
	struct loop *loop;
	guard_fn *guard;
	struct fault reason; /* why the last connection ended; "": there was none in this process */
	int64_t heard_ms;    /* when the last message came, by the clock; 0: none in this process */
	uint32_t brief;      /* connections in a row that did not last */
	struct rand rand;
};

enum link_state {
	LINK_DIALING,   /* names, TCP, TLS */
	LINK_UPGRADING, /* the request is sent, its answer has not come whole */
	LINK_ASKING,    /* the messages of subscribe are sent, one after the other's answer */
	LINK_LIVE,
};

#define LINK_INPUT_BYTES 65536u
#define LINK_SENT_BYTES_MAX (1u << 20)
#define LINK_MS_NS 1000000LL
#define LINK_PROOF_NS (5000 * LINK_MS_NS) /* what has lasted so long is proven */

/* part->state: a connection, from the dial to its loss. */
struct link {
	struct feed *feed;
	struct source_part *part;
	struct source_batch *batch; /* of the pull under way; NULL: none */
	struct dial *dial;
	enum link_state state;
	bool lost; /* fault says why; the next pull fails with it */
	struct fault fault;
	enum source_failure failure;
	int64_t retry_after_ms;
	bool proven; /* it has brought something, or has lasted: a loss is no failure in a row any more */
	bool ready;  /* there is something to read, and no pull that would */
	/* Reading. */
	struct http_scan scan;
	struct ws_client client;
	struct ws_parser parser;
	uint8_t *input; /* LINK_INPUT_BYTES: [at, end) is to be parsed */
	size_t at, end;
	/* A message whose records are being taken; it lies in the parser or in input. */
	struct json_cursor array;
	bool has_array;
	struct slice row;  /* that did not fit; ptr NULL: none */
	uint64_t index;    /* of the record in it, from 1 */
	uint64_t messages; /* so far */
	/* The place. */
	struct arena arena; /* texts, reset with each record */
	struct arena kept;  /* of the checkpoint */
	struct place place;
	struct buf last; /* place.last, when it has moved on */
	bool gap_due, gap_told;
	int64_t gap_from_ms, gap_to_ms;
	struct buf scratch, id; /* texts of a record, frames to send */
	char place_text[300];   /* "source prices: wss://host/path?...", for sentences */
	uint32_t asked;         /* messages of subscribe that were sent */
	/* Time, monotonic ns; 0: not running. */
	struct loop_timer timer;
	int64_t opened_ns; /* state's begin */
	int64_t heard_ns;  /* bytes came */
	int64_t begun_ns;  /* the message under way began */
	int64_t ready_ns;  /* `ready` since */
	int64_t pinged_ns, beaten_ns, live_ns;
	int64_t blocked_ns; /* what was sent lies here since */
};

/* ---- link.c ---- */

/* Begins to connect. NULL with *fault. */
struct link *link_new(struct feed *feed, struct source_part *part, struct fault *fault);

/* Says good-bye where it can, closes, frees. */
void link_free(struct link *l);

/*
 * Goes on as far as it can without waiting: reads, and adds to l->batch. SOURCE_LATER: nothing to tell yet. After
 * SOURCE_FAILED (l->fault) it is to be freed.
 */
enum source_end link_go_on(struct link *l);

/* No more can be had of it. The first reason counts. */
void link_lose(struct link *l, enum source_failure failure, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The answer to what was asked last has come. */
void link_answered(struct link *l);

/* Something has happened: the pull under way goes on, or one is asked for. */
void link_stir(struct link *l);

static inline int64_t link_now(const struct link *l)
{
	return loop_now(l->feed->loop);
}

/* ---- link_dial.c ---- */

/* Begins to connect; link_stir tells how it went. ERR_* with *fault. */
int link_dial(struct link *l, struct fault *fault);

/* ---- link_send.c: what cannot be sent loses the connection ---- */

void link_send_bytes(struct link *l, const struct buf *bytes);
void link_send_frame(struct link *l, enum ws_opcode opcode, struct slice payload);
void link_send_close(struct link *l, uint16_t code, struct slice reason);

/* A message of the settings: a template. */
void link_send_text(struct link *l, const char *template);

/* Random bytes, so many; false: there are none. */
bool link_new_mask(struct link *l, void *bytes, size_t n);

/* {last} and {token}. */
template_lookup_fn link_lookup;

/* ---- link_time.c ---- */

/* To the nearest of its deadlines. */
void link_set_timer(struct link *l);

/* The timer's: ctx is the link. */
void link_on_timer(void *ctx);

/* ---- message.c ---- */

/* A message has come whole: what it is, and its records, up to the batch's credit (l->has_array: there are more). */
void message_take(struct link *l, struct slice bytes);

/* More of its records. */
void message_go_on(struct link *l);

/* A record that tells of the gap before what comes next. */
void message_add_gap(struct link *l);

#endif
