/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/window.h"

#include "base/arena.h"
#include "deliver/cursor.h"

/* Times are those of cursors, which have an @ in front. */
static bool is_time(struct slice text, int64_t *ms)
{
	uint8_t storage[64] = "@";
	struct cursor cursor;
	struct arena arena;
	bool at = text.len && text.ptr[0] == '@', ok;

	if (!text.ptr || text.len > sizeof(storage) - 1 || (!at && slice_to_i64(text, ms)))
		return false;
	memcpy(storage + !at, text.ptr, text.len);
	arena_init(&arena, 256, 4096);
	ok = cursor_parse(slice_make(storage, text.len + !at), &arena, &cursor, NULL) == 0 &&
	     cursor.kind == CURSOR_TIME;
	if (ok)
		*ms = cursor.time_ms;
	arena_fini(&arena);
	return ok;
}

static struct slice copy(struct slice bound, char *memory)
{
	if (!bound.ptr)
		return slice_null();
	if (bound.len)
		memcpy(memory, bound.ptr, bound.len);
	return slice_make(memory, bound.len);
}

void window_set(struct source_window *w, struct slice from, struct slice to, char *memory)
{
	w->from = copy(from, memory);
	w->to = copy(to, memory + from.len);
	if (!is_time(w->from, &w->from_ms))
		w->from_ms = INT64_MIN;
	if (!is_time(w->to, &w->to_ms))
		w->to_ms = INT64_MAX;
}
