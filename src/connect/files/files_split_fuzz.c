/* SPDX-License-Identifier: Apache-2.0 */
/* The same records however the bytes come, and from each place that a restart may begin at. */
#include "base/check.h"
#include "connect/files/files_split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EVENTS_MAX = 4096, RECORD_MAX = 48 };

struct event {
	struct files_place place;
	uint64_t line, hash;
	enum files_cut cut;
};

static uint64_t hash_of(struct slice s)
{
	uint64_t h = s.len;

	for (size_t i = 0; i < s.len; i++)
		h = (h ^ s.ptr[i]) * 0x100000001b3u;
	return h;
}

/* All records from a place on; `piece` more bytes each time that more are asked for. */
static size_t read_all(enum files_form form, struct slice in, struct files_place place, size_t piece,
		       struct event *out)
{
	size_t known = place.offset, n = 0, used;
	struct slice record;
	uint64_t line;

	for (;;) {
		struct slice bytes = slice_make(in.ptr + place.offset, known - place.offset);
		enum files_cut cut =
			files_split(form, &place, bytes, known == in.len, RECORD_MAX, &record, &line, &used);
		CHECK(place.offset <= known);
		if (cut == FILES_MORE) {
			if (used)
				continue;
			CHECK(bytes.len <= RECORD_MAX + 1 + piece);
			if (known == in.len)
				break;
			known = in.len - known < piece ? in.len : known + piece;
			continue;
		}
		CHECK(record.len <= RECORD_MAX && used > 0);
		if (n == EVENTS_MAX)
			return n;
		memset(&out[n], 0, sizeof(out[n]));
		out[n].place = place;
		out[n].line = line;
		out[n].hash = hash_of(record);
		out[n++].cut = cut;
	}
	CHECK(place.offset == in.len);
	return n;
}

static bool same(const struct event *a, const struct event *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (a[i].line != b[i].line || a[i].hash != b[i].hash || a[i].cut != b[i].cut ||
		    a[i].place.offset != b[i].place.offset || a[i].place.line != b[i].place.line)
			return false;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct event whole[EVENTS_MAX], cut[EVENTS_MAX];
	struct files_place begin = {.line = 1};

	if (size < 2 || size > 4096)
		return 0;
	enum files_form form = data[0] & 1 ? FILES_VALUES : FILES_LINES;
	struct slice in = slice_make(data + 1, size - 1);
	size_t n = read_all(form, in, begin, in.len, whole);
	size_t m = read_all(form, in, begin, (data[0] >> 1) % 9 + 1, cut);
	CHECK(n == m && same(whole, cut, n));
	if (n > 1 && n < EVENTS_MAX) {
		size_t from = (data[0] >> 3) % (n - 1);
		m = read_all(form, in, whole[from].place, 5, cut);
		CHECK(m == n - from - 1 && same(whole + from + 1, cut, m));
	}
	return 0;
}
