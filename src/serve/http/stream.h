/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_STREAM_H
#define WEIR_SERVE_HTTP_STREAM_H

#include "serve/http/exchange.h"

/* Exchanges that have a connection to themselves (ROUTE_ALONE): streams and upgrades. */

/* Sends the head of a stream. 0 or ERR_CANCELLED. */
int stream_start(struct exchange *x, int status, struct slice content_type);

/* One piece with its framing; blob NULL copies. As exchange_stream_write. */
int stream_write(struct exchange *x, struct blob *blob, struct slice piece);

/* Ends a stream that was started, and x. With `cut` the connection is cut. */
void stream_end(struct exchange *x, bool cut);

/* As exchange_upgrade. */
int stream_upgrade(struct exchange *x, const char *protocol, const struct conn_session *session, void *ctx,
		   struct conn **conn);

#endif
