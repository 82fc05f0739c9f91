/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_SSE_SSE_STREAM_H
#define WEIR_SERVE_SSE_SSE_STREAM_H

#include "serve/stream/stream_ask.h"

/*
 * One stream of server-sent events: an exchange, a reader, and the silence
 * after which a comment is due. Belongs to its loop. It ends when its peer goes,
 * when weir stops, or when its topic is deleted.
 */

/*
 * Begins to stream to the exchange what was asked for: 0 or EXCHANGE_PENDING, for
 * the handler to return; then everything was answered or is being streamed.
 */
int sse_stream_start(struct exchange *x, const struct stream_ask *ask);

#endif
