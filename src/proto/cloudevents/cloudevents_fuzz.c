/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First byte: binary (headers a line, a blank line, body), structured or
 * batched. What is accepted keeps the promises of the header; what is refused
 * says why; a batch's cursor goes on behind a bad event.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/utf8.h"
#include "proto/cloudevents/cloudevents.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_event(struct cloudevent *e, int rc)
{
	struct slice key;

	if (rc == ERR_BAD_EVENT) {
		CHECK(e->fault.text[0]);
		return;
	}
	if (rc)
		return;
	CHECK(e->id.len && e->source.len && e->type.len && e->attribute_count >= 4);
	for (uint32_t i = 0; i < e->attribute_count; i++) {
		CHECK(slice_starts(e->attributes[i].name, SLICE_LIT("ce_")) && e->attributes[i].name.len > 3);
		CHECK(utf8_valid(e->attributes[i].value));
	}
	CHECK(cloudevent_key(e, &key) == 0);
	CHECK(key.len <= CLOUDEVENT_KEY_BYTES_MAX);
	CHECK(memchr(key.ptr, ' ', key.len) == key.ptr + e->source.len);
}

static void run_binary(struct slice in, struct arena *arena)
{
	struct cloudevent e;
	struct slice body = slice_null();
	int rc = 0;

	cloudevent_begin(&e, arena);
	while (in.len && rc == 0) {
		const uint8_t *newline = memchr(in.ptr, '\n', in.len);
		struct slice line = slice_make(in.ptr, newline ? (size_t)(newline - in.ptr) : in.len);
		const uint8_t *colon = line.len ? memchr(line.ptr, ':', line.len) : NULL;
		in = slice_from(in, line.len + 1);
		if (!colon) {
			body = in;
			break;
		}
		rc = cloudevent_header(&e, slice_make(line.ptr, (size_t)(colon - line.ptr)),
				       slice_from(line, (size_t)(colon - line.ptr) + 1));
	}
	if (rc == 0)
		rc = cloudevent_end(&e, body.len & 1 ? SLICE_LIT("text/plain") : slice_null(), body);
	check_event(&e, rc);
}

static void run_batch(struct slice in, struct arena *arena)
{
	struct cloudevent e;
	struct json_cursor c;
	int valid = json_valid(in, NULL);
	int rc = 0;

	json_cursor_init(&c, in);
	if (json_peek(&c) != JSON_ARRAY)
		return;
	json_array_begin(&c);
	while (json_array_next(&c)) {
		rc = cloudevent_read(&e, &c, arena);
		check_event(&e, rc);
	}
	CHECK(json_end(&c) == valid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cloudevent e;
	struct json_cursor c;
	struct arena arena;
	uint8_t *copy;
	struct slice in;

	if (size == 0)
		return 0;
	copy = malloc(size);
	CHECK(copy);
	memcpy(copy, data, size);
	in = slice_make(copy + 1, size - 1);
	arena_init(&arena, 4096, 1 << 20);
	(void)cloudevents_mode(in, data[0] & 4);
	if (data[0] % 3 == 0) {
		run_binary(in, &arena);
	} else if (data[0] % 3 == 1) {
		json_cursor_init(&c, in);
		check_event(&e, cloudevent_read(&e, &c, &arena));
	} else {
		run_batch(in, &arena);
	}
	arena_fini(&arena);
	free(copy);
	return 0;
}
