/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_KAFKA_KAFKA_API_H
#define WEIR_PROTO_KAFKA_KAFKA_API_H

#include "proto/kafka/kafka_message.h"

/*
 * The APIs that weir speaks, and whole messages: a request is a header and a
 * body, a response too, each behind four bytes of length (kafka_frame.h). A
 * session reads the header, then the body into the struct of its API, and writes
 * the response for the same header. The other two directions are for tests and
 * for clients.
 */
enum kafka_key {
#define API(symbol, number, ...) KAFKA_##symbol = (number),
#include "proto/kafka/kafka_api.def"
#undef API
};

struct kafka_api {
	const char *name; /* Kafka's: "OffsetCommit" */
	const struct kafka_layout *request;
	const struct kafka_layout *response;
	int16_t key;
	int16_t from;   /* as ApiVersions tells it */
	int16_t served; /* the lowest that is read; `from`, but for Produce */
	int16_t to;
	int16_t flexible; /* the first flexible version; over `to` where there is none */
};

enum {
	KAFKA_APIS_COUNT = 0
#define API(...) +1
#include "proto/kafka/kafka_api.def"
#undef API
};

extern const struct kafka_api kafka_apis[KAFKA_APIS_COUNT]; /* by key, ascending */

/* NULL where weir does not speak it. */
const struct kafka_api *kafka_api_find(int16_t key);

/* What is before the body of every request. */
struct kafka_header {
	const struct kafka_api *api; /* NULL where the key is unknown */
	int16_t key;
	int16_t version;
	int32_t correlation;
	struct slice client_id; /* borrows the frame; may be null */
};

/*
 * Reads the header of a request and sets *body to what is behind it, both views
 * of `frame` (a frame without its length).
 *
 * 0; ERR_MALFORMED; ERR_UNSUPPORTED_API: key or version is not served, only
 * api, key, version and correlation are set. For ApiVersions kafka_versions_unsupported
 * is then the answer; for anything else the protocol has none but to close.
 */
int kafka_header_read(struct slice frame, struct kafka_header *header, struct slice *body);

/* Reads a request's body into *out, the struct of its API. As kafka_layout_read. */
int kafka_request_read(const struct kafka_header *header, struct slice body, struct arena *arena, void *out);

/*
 * Appends the whole frame of the answer to the request with that header: length,
 * correlation, body. With `cuts` (see kafka_layout_write) the frame is what is in
 * the buffer with the records put in at the cuts; its length counts them.
 * Errors: as kafka_layout_write; the buffer and the cuts are then as before.
 */
int kafka_response_write(const struct kafka_header *header, const void *response, struct buf *to,
			 struct kafka_cuts *cuts);

/*
 * The client's side: appends the whole frame of a request (api, version, correlation
 * and client_id of the header are looked at). Errors: as kafka_response_write.
 */
int kafka_request_write(const struct kafka_header *header, const void *request, struct buf *to);

/*
 * Reads the answer to a request with that header from a frame without its length.
 * ERR_PROTOCOL where it answers another one; else as kafka_layout_read.
 */
int kafka_response_read(const struct kafka_header *header, struct slice frame, struct arena *arena,
			void *out);

/* Sets the answer to ApiVersions: every API with what is told of its versions. Borrows static tables. */
void kafka_versions_answer(struct kafka_api_versions_response *out);

/*
 * Makes the answer to an ApiVersions of an unknown version (KIP-511): its own
 * range, error 35, in the form of version 0, to which *header is changed. The
 * client asks again with a version that it finds there.
 */
void kafka_versions_unsupported(struct kafka_header *header, struct kafka_api_versions_response *out);

#endif
