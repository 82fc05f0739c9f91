/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_STREAM_STREAM_ASK_H
#define WEIR_SERVE_STREAM_STREAM_ASK_H

#include "deliver/reader.h"
#include "serve/app.h"
#include "serve/http/exchange.h"

/*
 * What a client asks of a stream, SSE or WebSocket, in path and query: which
 * topics, from where, which partitions, which key.
 */
struct stream_ask {
	struct slice topics[CURSOR_TOPICS_MAX];
	uint32_t topic_count;
	struct cursor cursor; /* arrays in the exchange's arena; `latest` where none was given */
	struct partition_set partitions;
	struct slice key; /* ptr NULL: none */
	bool selects;     /* cursor, partitions or key was given */
};

/*
 * Reads the path's topic, or `topics` of the query where the route has no
 * parameter, and cursor, partitions and key, which must be in route->query.
 * `resume` stands in for the cursor where it is not empty (Last-Event-ID).
 * Slices are the exchange's. 0; ERR_BAD_PARAMETER, ERR_BAD_CURSOR with *fault; ERR_NOMEM.
 */
int stream_ask_read(struct stream_ask *ask, struct exchange *x, struct slice resume, struct fault *fault);

/*
 * Opens the reader, watching, and waiting for topics where these are created on
 * use. Errors as reader_open's.
 */
int stream_ask_open(const struct stream_ask *ask, struct exchange *x, uint8_t way, reader_ready_fn *on_ready,
		    void *ctx, struct reader **out, struct fault *fault);

/* Answers with an error of the two above; gives 0, for a handler to return. */
int stream_ask_refuse(struct exchange *x, int err, const struct fault *fault);

#endif
