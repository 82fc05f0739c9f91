/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_BENCH_WS_H
#define WEIR_CLI_BENCH_WS_H

#include "cli/client.h"
#include "proto/ws/ws_parser.h"

/*
 * A WebSocket that listens: it answers pings and gives messages. It holds no
 * buffer of its own while idle, so that there may be very many.
 */
typedef void bench_ws_fn(void *ctx, struct slice message);

struct bench_ws {
	struct client_conn conn; /* `in` holds what came with the handshake */
	struct ws_parser parser;
};

/* Connects and shakes hands; waits. Errors with *fault; bench_ws_close in any case. */
int bench_ws_open(struct bench_ws *w, const struct client_url *url, struct slice target, struct fault *fault);
void bench_ws_close(struct bench_ws *w);

/* Gives the messages that came with the handshake. To be called once. ERR_PROTOCOL, ERR_IO with *fault. */
int bench_ws_begin(struct bench_ws *w, bench_ws_fn *on_message, void *ctx, struct fault *fault);

/* Reads once into `room` (the caller's, shared by all) and gives the messages. As above. */
int bench_ws_read(struct bench_ws *w, uint8_t *room, size_t room_bytes, bench_ws_fn *on_message, void *ctx,
		  struct fault *fault);

#endif
