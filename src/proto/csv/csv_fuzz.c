/* SPDX-License-Identifier: Apache-2.0 */
/* The same events however the bytes are cut, every byte in one of them, and what a reader resumes at is where one stood. */
#include <stdlib.h>

#include "base/check.h"
#include "proto/csv/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EVENTS_MAX = 4096, RECORD_MAX = 64 };

struct event {
	enum csv_event kind;
	uint64_t line, hash, offset, next_line;
	uint32_t count;
	bool skipping;
};

static uint64_t mix(uint64_t h, struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ s.ptr[i]) * 0x100000001b3u;
	return (h ^ 0xff) * 0x100000001b3u + s.len;
}

static void note(const struct csv *c, enum csv_event kind, const struct csv_record *r, struct event *out)
{
	*out = (struct event){.kind = kind,
			      .line = r->line,
			      .count = r->count,
			      .offset = c->offset,
			      .next_line = c->line,
			      .skipping = c->skipping};
	out->hash = mix(1, r->raw);
	for (uint32_t i = 0; i < r->count; i++)
		out->hash = mix(out->hash, r->fields[i]) * 2 + r->quoted[i];
	CHECK(r->raw.len <= RECORD_MAX);
	CHECK(kind == CSV_RECORD ? r->count > 0 && r->count <= CSV_FIELDS_MAX : r->what != NULL);
}

/* Events of the input from where `from` stood on, in pieces of at most `piece` bytes. */
static size_t read_all(struct slice in, const struct event *from, size_t piece, struct event *events)
{
	struct csv c;
	struct csv_record r;
	enum csv_event e;
	size_t n = 0, at = from ? (size_t)from->offset : 0;

	csv_init(&c, ',', RECORD_MAX);
	if (from)
		csv_resume(&c, from->offset, from->next_line, from->skipping);
	while ((e = csv_next(&c, &r)) != CSV_END) {
		CHECK(e != CSV_NOMEM);
		if (e != CSV_MORE) {
			if (n < EVENTS_MAX)
				note(&c, e, &r, &events[n++]);
			continue;
		}
		size_t take = in.len - at < piece ? in.len - at : piece;
		CHECK(csv_feed(&c, slice_make(in.ptr + at, take)) == 0);
		at += take;
		if (at == in.len)
			csv_finish(&c);
	}
	CHECK(at == in.len && c.offset == in.len);
	csv_fini(&c);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct event whole[EVENTS_MAX], cut[EVENTS_MAX];
	struct slice in;

	if (size < 2 || size > 8192)
		return 0;
	in = slice_make(data + 1, size - 1);
	size_t n = read_all(in, NULL, in.len, whole);
	size_t m = read_all(in, NULL, data[0] % 16 + 1, cut);
	CHECK(n == m && memcmp(whole, cut, n * sizeof(whole[0])) == 0);
	if (n > 1) {
		size_t from = data[0] % (n - 1);
		m = read_all(in, &whole[from], 7, cut);
		CHECK(n == EVENTS_MAX ||
		      (m == n - from - 1 && memcmp(whole + from + 1, cut, m * sizeof(cut[0])) == 0));
	}
	return 0;
}
