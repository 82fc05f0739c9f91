/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/text/when.h"

#include <stdio.h>
#include <time.h>

#include "deliver/cursor.h"

bool when_parse(struct slice text, int64_t *ms)
{
	struct arena arena;
	struct cursor cursor;
	char at[64] = "@";
	bool ok;

	if (text.len == 0 || text.len > sizeof(at) - 2)
		return false;
	memcpy(at + 1, text.ptr, text.len);
	arena_init(&arena, 256, 256);
	ok = cursor_parse(slice_make(at, text.len + 1), &arena, &cursor, NULL) == 0 &&
	     cursor.kind == CURSOR_TIME;
	arena_fini(&arena);
	if (ok)
		*ms = cursor.time_ms;
	return ok;
}

size_t when_text(int64_t ms, char out[WHEN_BYTES])
{
	time_t seconds = (time_t)(ms / 1000 - (ms % 1000 < 0));
	int milli = (int)(ms - (int64_t)seconds * 1000), n;
	struct tm tm;

	(void)gmtime_r(&seconds, &tm);
	n = snprintf(out, WHEN_BYTES, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
		     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, milli);
	return n > 0 && (size_t)n < WHEN_BYTES ? (size_t)n : 0;
}
