/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_CLOUDEVENTS_CLOUDEVENTS_H
#define WEIR_PROTO_CLOUDEVENTS_CLOUDEVENTS_H

#include "base/arena.h"
#include "base/err.h"
#include "json/json.h"

/*
 * CloudEvents 1.0 as they come over HTTP (cloudevents/spec: http-protocol-binding.md,
 * json-format.md), turned into what the Kafka binding makes of them: headers
 * ce_<attribute>, content-type, and the data as the value.
 *
 * Three modes: binary (attributes in ce-* headers, the body is the data),
 * structured (one JSON object), batched (a JSON array of them). This codec knows
 * no topic and no HTTP message: the caller gives it headers one by one, or a
 * cursor in front of an object.
 */
enum cloudevents_mode {
	CLOUDEVENTS_NONE, /* no CloudEvent */
	CLOUDEVENTS_BINARY,
	CLOUDEVENTS_STRUCTURED,
	CLOUDEVENTS_BATCHED,
	CLOUDEVENTS_UNSUPPORTED, /* application/cloudevents in a format that is not JSON: 415 */
};

#define CLOUDEVENT_ATTRIBUTES_MAX 64u
#define CLOUDEVENT_KEY_BYTES_MAX 4096u /* source, a blank and id */

struct cloudevent_attribute {
	struct slice name;  /* with the prefix: "ce_id" */
	struct slice value; /* UTF-8 without control characters */
};

/*
 * Slices borrow from the document or lie in the arena. Give it to
 * cloudevent_begin before anything else.
 */
struct cloudevent {
	struct cloudevent_attribute
		attributes[CLOUDEVENT_ATTRIBUTES_MAX]; /* as sent, without datacontenttype */
	uint32_t attribute_count;
	struct slice id, source, type;
	struct slice content_type;  /* datacontenttype; ptr NULL where absent */
	struct slice partition_key; /* the extension partitionkey; ptr NULL where absent */
	struct slice data;          /* the value; ptr NULL where the event has none */
	struct arena *arena;
	uint32_t seen; /* which known attributes came */
	struct fault fault;
};

/*
 * By the media type's first words, without regard to case, batch before
 * structured (http-protocol-binding 3); else binary where ce-* headers are there.
 * content_type: ptr NULL where the header is absent.
 */
enum cloudevents_mode cloudevents_mode(struct slice content_type, bool has_ce_headers);

/* True for a header that belongs to the binary mode: begins with "ce-" in any case. */
bool cloudevent_is_header(struct slice name);

/* An event without attributes. keeps arena. */
void cloudevent_begin(struct cloudevent *e, struct arena *arena);

/*
 * Binary mode: each header (others than ce-* are ignored), then the end with
 * Content-Type (ptr NULL: absent) and body (empty: no data). Borrows until the
 * event is done with. 0, ERR_BAD_EVENT with e->fault, ERR_NOMEM.
 */
int cloudevent_header(struct cloudevent *e, struct slice name, struct slice value);
int cloudevent_end(struct cloudevent *e, struct slice content_type, struct slice body);

/*
 * Reads the JSON value in front of the cursor as an event. 0; ERR_BAD_EVENT
 * with e->fault, and the cursor behind the value all the same, so that a batch
 * can go on; ERR_BAD_JSON where the cursor broke; ERR_NOMEM.
 */
int cloudevent_read(struct cloudevent *e, struct json_cursor *c, struct arena *arena);

/*
 * What makes the event the same when it comes twice: source, a blank, id. A
 * source holds no blank, so that no two events share a key by chance.
 * Owned by the arena. ERR_NOMEM.
 */
int cloudevent_key(const struct cloudevent *e, struct slice *key);

#endif
