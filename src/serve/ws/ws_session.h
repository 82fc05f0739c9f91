/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_WS_WS_SESSION_H
#define WEIR_SERVE_WS_WS_SESSION_H

#include "ingest/headers.h"
#include "proto/ws/ws_handshake.h"
#include "proto/ws/ws_parser.h"
#include "serve/http/server.h"
#include "serve/stream/pump.h"
#include "serve/stream/silence.h"
#include "serve/stream/stream_ask.h"
#include "serve/ws/ws_kind.h"

/*
 * One WebSocket after its upgrade. Only the files of this folder include this.
 *
 *	OPEN ── close frame, fault, weir stops, the topic is deleted ──► CLOSING
 *	CLOSING: nothing is read; answers to what was taken are waited for, then our close frame is sent
 *	  ├── the peer's came first, or what it sends cannot be read ──► CLOSED
 *	  └──► AWAITING its close frame, for a while ──► CLOSED
 *	CLOSED: the rest is net's
 *
 * It is freed when the connection is gone and the log holds no message of it.
 */
struct ws_publisher;
struct ws_message;

enum ws_state { WS_OPEN, WS_CLOSING, WS_AWAITING, WS_CLOSED };

/* What the WebSockets of a loop share: made with the first, freed with the last. */
struct ws_loop {
	const struct app *app;
	struct app_loop *al;
	struct app_guest guest;
	struct silence_list open;     /* all that are OPEN */
	struct silence_list awaiting; /* likewise */
	struct loop_timer again;      /* armed while one waits for memory */
	struct pump_bufs bufs;
	struct headers headers;  /* of the message being read */
	struct ws_message *free; /* messages to be used again */
	uint32_t free_count;
	uint32_t count; /* sessions, closed ones too */
	size_t credit;  /* bytes, each */
};

struct ws {
	struct silence silence; /* first: the list gives its address */
	struct conn *conn;      /* NULL: gone */
	struct ws_loop *loop;
	struct http_server *server;
	struct pump pump;               /* without a reader where it only publishes */
	struct ws_publisher *publisher; /* NULL: it only subscribes */
	const char *reason;             /* of the close; static or NULL */
	uint64_t out_at_ping;
	uint16_t close_code;
	uint8_t state;  /* enum ws_state */
	bool pinged;    /* and nothing heard since */
	bool paused;    /* reading is stopped until answers have left */
	bool again;     /* pump it when the timer fires */
	bool ended;     /* the peer will send no more */
	size_t charged; /* bytes of the parser, in the loop's share of the budget */
	struct ws_parser parser;
};

struct ws_ask {
	struct stream_ask stream;
	bool publishes, subscribes;
	bool acks; /* ack=1 */
	bool v1;   /* subprotocol weir.v1 */
	enum ws_form form;
};

/*
 * Takes the connection over from the exchange, whose handshake was good and to
 * which its fields were added. 0: answered, for the handler to return, or an error before the upgrade.
 */
int ws_start(struct exchange *x, const struct ws_ask *ask, const struct ws_handshake *handshake);

/* Begins to close; only the first call counts. `reason` is static or NULL. */
void ws_close(struct ws *s, uint16_t code, const char *reason);

/* Counts a message, or the connection, as refused for this reason. */
void ws_count_refusal(struct ws *s, int err);

/* Cuts the connection: nothing more can be written. */
void ws_cut(struct ws *s);

/* Answers have left: reads on where that was stopped, goes on closing where that waits. May free s. */
void ws_settle(struct ws *s);

/* Bytes of credit for records: less as the budget fills. */
size_t ws_room(const struct ws *s);

/* A text frame with the JSON in loop->bufs.json. */
void ws_write_json(struct ws *s);

/* {"error":{["id":…,]"code","detail"}} into loop->bufs.json; id.ptr NULL: none. */
void ws_put_error(struct ws *s, struct slice id, int err, const char *detail);

#endif
