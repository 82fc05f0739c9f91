/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/websocket/place.h"

#include "json/json.h"
#include "json/json_write.h"

static int read_last(struct json_value v, struct arena *arena, struct place *out)
{
	struct slice text;
	int rc = v.kind == JSON_STRING ? json_text(v.raw, arena, &text) : ERR_BAD_JSON;

	if (rc == 0)
		out->last = arena_copy(arena, text);
	return rc ? rc : out->last.ptr ? 0 : ERR_NOMEM;
}

int place_read(struct slice bytes, struct arena *arena, struct place *out, struct fault *fault)
{
	struct json_cursor c;
	struct json_value v;
	struct slice name;
	int rc = 0;

	*out = (struct place){.last = slice_null()};
	if (bytes.len == 0)
		return 0;
	json_cursor_init(&c, bytes);
	(void)json_object_begin(&c);
	while (rc == 0 && json_object_next(&c, &name)) {
		rc = json_take(&c, &v);
		if (rc == 0 && json_name_is(name, "at"))
			rc = json_i64(v, &out->at_ms);
		else if (rc == 0 && json_name_is(name, "last"))
			rc = read_last(v, arena, out);
	}
	if (rc == 0)
		rc = json_end(&c);
	if (rc == ERR_NOMEM)
		return fault_set(fault, rc, "there is no memory for the checkpoint");
	return rc ? fault_set(fault, ERR_CORRUPT, "the checkpoint cannot be read; expected {\"at\":…}") : 0;
}

int place_write(const struct place *p, struct buf *out)
{
	json_put_open(out, '{');
	json_put_member_i64(out, "at", p->at_ms);
	if (p->last.ptr) {
		json_put_name(out, "last");
		json_put_string_lossy(out, p->last);
	}
	json_put_close(out, '}');
	return buf_status(out);
}
