/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_ENVELOPE_H
#define WEIR_INGEST_ENVELOPE_H

#include "ingest/headers.h"
#include "json/json.h"

/*
 * One record as it is written in JSON: an item of application/vnd.weir.batch+json,
 * or what a WebSocket client of weir.v1 publishes.
 *
 *	{"key":"k","value":<any>,"headers":{"h":"v"},"partition":0,
 *	 "idempotency_key":"…","timestamp":ms}
 *
 * value_text or value_base64 in place of value, "tombstone":true for a null
 * value; key_base64 in place of key. A header is a string, null,
 * {"base64":"…"}, or an array of these (the header comes several times).
 */
struct envelope {
	struct slice id;              /* raw JSON of "id" (weir.v1 only); ptr NULL: none */
	struct slice key;             /* ptr NULL: null */
	struct slice value;           /* ptr NULL: null; JSON values keep their bytes */
	struct slice idempotency_key; /* ptr NULL: none */
	int64_t timestamp_ms;         /* -1: none */
	int64_t partition;            /* -1: none */
	bool tombstone;               /* the value is null because it says so */
	struct headers *headers;      /* filled in; the caller's */
	struct fault fault;
};

enum envelope_form {
	ENVELOPE_BATCH,   /* an item of a batch: no "id" */
	ENVELOPE_PUBLISH, /* "id" is allowed; no "partition", no "timestamp" */
	ENVELOPE_GIVEN, /* as readers are given it: as of a batch, and "topic" and "offset" are passed over */
	ENVELOPE_EDIT,  /* as of a batch, and everything may be absent: what is to change of a record */
};

/*
 * Reads the value in front of the cursor. e->headers must be set. Slices borrow
 * from the document or lie in the arena. 0; ERR_BAD_RECORD or ERR_BAD_KEY with
 * e->fault, and the cursor behind the value all the same; ERR_BAD_JSON where
 * the cursor broke; ERR_NOMEM.
 */
int envelope_read(struct envelope *e, enum envelope_form form, struct json_cursor *c, struct arena *arena);

#endif
