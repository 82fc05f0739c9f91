/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text is base64url of
 *
 *	version    1 byte, 1
 *	topic *    UUID (16), hash of the name (4), number of runs (uvarint), run *
 *	           run: partitions skipped since the last run (uvarint), its length
 *	           (uvarint), the first offset (uvarint), the others as differences
 *	           to the one before (varint)
 *	checksum   3 bytes of the CRC-32C of all before
 *
 * so that the usual cursor, one partition of one topic, is 43 characters, and
 * one of 256 evenly filled partitions below a thousand. Partitions that stand
 * at the same offset cost a byte each. Readable text (JSON) was rejected: people
 * would build cursors by hand, and every event carries one.
 */
#include "deliver/cursor.h"

#include "base/base64.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/wire.h"

#define VERSION 1u
#define CHECKSUM_BYTES 3u
#define TOPIC_HEAD_BYTES 20u
#define PARTITION_MAX ((1u << 28) - 1)

uint32_t cursor_name_hash(struct slice topic_name)
{
	return crc32c(0, topic_name.ptr, topic_name.len);
}

/* ---- times ---- */

static int64_t days_since_1970(int64_t year, int64_t month, int64_t day)
{
	/* Years begin in March, so that the leap day is the last. */
	int64_t y = month > 2 ? year : year - 1;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t days_in_month(int64_t year, int64_t month)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return month == 2 && leap ? 29 : days[month - 1];
}

/* Takes exactly n digits off the front. */
static bool take_digits(struct slice *s, size_t n, int64_t *out)
{
	uint64_t value;

	if (s->len < n || !slice_to_u64(slice_make(s->ptr, n), &value))
		return false;
	*out = (int64_t)value;
	*s = slice_from(*s, n);
	return true;
}

static bool take_char(struct slice *s, const char *any)
{
	if (s->len == 0 || s->ptr[0] == 0 || !strchr(any, s->ptr[0]))
		return false;
	*s = slice_from(*s, 1);
	return true;
}

/* ".123": milliseconds, rounded up, since "at or after" is asked for. */
static bool take_fraction(struct slice *s, int64_t *ms)
{
	int64_t scale = 100;
	size_t n = 0;
	bool more = false;

	*ms = 0;
	if (!take_char(s, "."))
		return true;
	for (; s->len && s->ptr[0] >= '0' && s->ptr[0] <= '9' && n < 32; n++) {
		*ms += scale * (s->ptr[0] - '0');
		more = more || (scale == 0 && s->ptr[0] != '0');
		scale /= 10;
		*s = slice_from(*s, 1);
	}
	*ms += more;
	return n > 0;
}

/* "Z" or "+01:00". A blank is a plus that a query has decoded. */
static bool take_zone(struct slice *s, int64_t *minutes)
{
	int64_t hour, minute;
	bool west;

	*minutes = 0;
	if (take_char(s, "Zz"))
		return true;
	west = s->len && s->ptr[0] == '-';
	if (!take_char(s, "+- ") || !take_digits(s, 2, &hour) || !take_char(s, ":") ||
	    !take_digits(s, 2, &minute) || hour > 23 || minute > 59)
		return false;
	*minutes = (west ? -1 : 1) * (hour * 60 + minute);
	return true;
}

/* RFC 3339 section 5.6, date-time. */
static bool parse_time(struct slice s, int64_t *ms_out)
{
	int64_t year, month, day, hour, minute, second, ms, zone;

	if (!take_digits(&s, 4, &year) || !take_char(&s, "-") || !take_digits(&s, 2, &month) ||
	    !take_char(&s, "-") || !take_digits(&s, 2, &day) || !take_char(&s, "Tt ") ||
	    !take_digits(&s, 2, &hour) || !take_char(&s, ":") || !take_digits(&s, 2, &minute) ||
	    !take_char(&s, ":") || !take_digits(&s, 2, &second) || !take_fraction(&s, &ms) ||
	    !take_zone(&s, &zone) || s.len)
		return false;
	if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 ||
	    minute > 59 || second > 60)
		return false;
	*ms_out = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute - zone) * 60000 +
		  second * 1000 + ms;
	return true;
}

static int parse_at(struct slice s, struct cursor *out, struct fault *fault)
{
	uint64_t ms;

	out->kind = CURSOR_TIME;
	if (slice_to_u64(s, &ms) && ms <= INT64_MAX)
		out->time_ms = (int64_t)ms;
	else if (!parse_time(s, &out->time_ms))
		return fault_set(fault, ERR_BAD_CURSOR,
				 "A time cursor is '@' and milliseconds since 1970 or an RFC 3339 time, "
				 "such as @2026-01-31T12:00:00Z");
	if (out->time_ms < 0)
		out->time_ms = 0;
	return 0;
}

/* ---- reading ---- */

/* What the walk over the bytes fills in; counts only where the arrays are NULL. */
struct filling {
	struct cursor_topic *topics;
	struct cursor_place *places;
	uint32_t topic_count, place_count;
};

static bool read_run(struct wire_reader *r, struct filling *f, uint64_t partition, uint64_t count)
{
	int64_t offset = 0;

	for (uint64_t i = 0; i < count && !r->bad; i++) {
		if (i == 0) {
			uint64_t first = wire_uvarint(r);
			if (first > INT64_MAX)
				return false;
			offset = (int64_t)first;
		} else if (__builtin_add_overflow(offset, wire_varint(r), &offset) || offset < 0) {
			return false;
		}
		if (f->places)
			f->places[f->place_count] = (struct cursor_place){(uint32_t)(partition + i), offset};
		f->place_count++;
	}
	return !r->bad;
}

static bool read_topic(struct wire_reader *r, struct filling *f)
{
	struct slice id = wire_bytes(r, sizeof(struct topic_id));
	uint32_t name_hash = wire_u32(r);
	uint64_t runs = wire_uvarint(r);
	uint64_t partition = 0;
	uint32_t first = f->place_count;

	if (r->bad || f->topic_count == CURSOR_TOPICS_MAX)
		return false;
	for (uint64_t i = 0; i < runs; i++) {
		uint64_t skip = wire_uvarint(r);
		uint64_t count = wire_uvarint(r);
		if (r->bad || count == 0 || count > CURSOR_PLACES_MAX - f->place_count ||
		    skip > PARTITION_MAX || (i > 0 && skip == 0) || partition + skip + count > PARTITION_MAX)
			return false;
		partition += skip;
		if (!read_run(r, f, partition, count))
			return false;
		partition += count;
	}
	if (f->topics) {
		struct cursor_topic *t = &f->topics[f->topic_count];
		*t = (struct cursor_topic){.name_hash = name_hash,
					   .first = first,
					   .count = f->place_count - first};
		memcpy(t->id.bytes, id.ptr, sizeof(t->id.bytes));
	}
	f->topic_count++;
	return true;
}

static bool read_topics(struct slice bytes, struct filling *f)
{
	struct wire_reader r = wire_reader_make(bytes);

	while (wire_left(&r) > 0)
		if (!read_topic(&r, f))
			return false;
	return f->topic_count > 0;
}

static bool has_twice(const struct filling *f)
{
	for (uint32_t i = 0; i < f->topic_count; i++)
		for (uint32_t j = 0; j < i; j++)
			if (topic_id_eq(&f->topics[i].id, &f->topics[j].id))
				return true;
	return false;
}

static uint32_t checksum(uint32_t crc)
{
	return crc & 0xffffff;
}

static uint32_t load_checksum(const uint8_t *at)
{
	return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
}

static uint8_t *put_checksum(uint8_t *at, uint32_t crc)
{
	at = wire_put_u8(at, (uint8_t)(crc >> 16));
	at = wire_put_u8(at, (uint8_t)(crc >> 8));
	return wire_put_u8(at, (uint8_t)crc);
}

static int read_places(struct slice bytes, struct arena *arena, struct cursor *out)
{
	struct filling f = {0};

	if (!read_topics(bytes, &f))
		return ERR_BAD_CURSOR;
	f.topics = arena_zalloc(arena, f.topic_count, sizeof(*f.topics));
	f.places = arena_zalloc(arena, f.place_count + 1, sizeof(*f.places));
	if (!f.topics || !f.places)
		return ERR_NOMEM;
	f.topic_count = f.place_count = 0;
	CHECK(read_topics(bytes, &f));
	if (has_twice(&f))
		return ERR_BAD_CURSOR;
	*out = (struct cursor){.kind = CURSOR_PLACES,
			       .topics = f.topics,
			       .places = f.places,
			       .topic_count = f.topic_count,
			       .place_count = f.place_count};
	return 0;
}

static int refuse(struct fault *fault)
{
	return fault_set(
		fault, ERR_BAD_CURSOR,
		"A cursor is 'earliest', 'latest', '@' and a time, or exactly the text that an earlier "
		"answer gave");
}

static int parse_text(struct slice text, struct arena *arena, struct cursor *out, struct fault *fault)
{
	uint8_t *bytes;
	size_t len;
	int rc;

	if (text.len > CURSOR_TEXT_MAX)
		return refuse(fault);
	bytes = arena_alloc(arena, base64_decoded_max(text.len) + 1);
	if (!bytes)
		return ERR_NOMEM;
	if (base64_decode(BASE64_URL, text, bytes, &len) || len < 1 + TOPIC_HEAD_BYTES + CHECKSUM_BYTES)
		return refuse(fault);
	len -= CHECKSUM_BYTES;
	if (load_checksum(bytes + len) != checksum(crc32c(0, bytes, len)))
		return refuse(fault);
	if (bytes[0] != VERSION)
		return fault_set(fault, ERR_BAD_CURSOR,
				 "The cursor has version %u; this weir reads version %u", bytes[0], VERSION);
	rc = read_places(slice_make(bytes + 1, len - 1), arena, out);
	return rc == ERR_BAD_CURSOR ? refuse(fault) : rc;
}

int cursor_parse(struct slice text, struct arena *arena, struct cursor *out, struct fault *fault)
{
	*out = (struct cursor){.kind = CURSOR_EARLIEST};
	if (slice_eq_str(text, "earliest"))
		return 0;
	if (slice_eq_str(text, "latest")) {
		out->kind = CURSOR_LATEST;
		return 0;
	}
	if (text.len && text.ptr[0] == '@')
		return parse_at(slice_from(text, 1), out, fault);
	return parse_text(text, arena, out, fault);
}

/* ---- writing ---- */

static uint32_t run_length(const struct cursor_place *places, uint32_t count)
{
	uint32_t n = 1;

	while (n < count && places[n].partition == places[n - 1].partition + 1)
		n++;
	return n;
}

static uint32_t count_runs(const struct cursor_place *places, uint32_t count)
{
	uint32_t runs = 0;

	for (uint32_t i = 0; i < count; runs++)
		i += run_length(places + i, count - i);
	return runs;
}

static uint8_t *put_run(uint8_t *at, const struct cursor_place *places, uint32_t n, uint32_t skip)
{
	at = wire_put_uvarint(at, skip);
	at = wire_put_uvarint(at, n);
	at = wire_put_uvarint(at, (uint64_t)places[0].offset);
	for (uint32_t i = 1; i < n; i++)
		at = wire_put_varint(at, places[i].offset - places[i - 1].offset);
	return at;
}

static uint8_t *put_topic(uint8_t *at, const struct cursor_topic *t, const struct cursor_place *places)
{
	uint32_t partition = 0;

	at = wire_put_bytes(at, slice_make(t->id.bytes, sizeof(t->id.bytes)));
	at = wire_put_u32(at, t->name_hash);
	at = wire_put_uvarint(at, count_runs(places, t->count));
	for (uint32_t i = 0; i < t->count;) {
		uint32_t n = run_length(places + i, t->count - i);
		CHECK(places[i].partition >= partition && places[i].offset >= 0);
		at = put_run(at, places + i, n, places[i].partition - partition);
		partition = places[i].partition + n;
		i += n;
	}
	return at;
}

static int put_text(struct buf *to, struct slice bytes)
{
	int rc = buf_reserve(to, base64_encoded_len(BASE64_URL, bytes.len));

	if (rc)
		return rc;
	to->len += base64_encode(BASE64_URL, bytes, (char *)to->ptr + to->len);
	return 0;
}

static int put_places(const struct cursor *c, struct buf *scratch, struct buf *to)
{
	/* A place in a run of its own takes the most: skip, length and offset. */
	size_t most = 1 + CHECKSUM_BYTES + (size_t)c->topic_count * (TOPIC_HEAD_BYTES + 5) +
		      (size_t)c->place_count * 20;
	uint8_t *at;
	int rc;

	CHECK(c->topic_count > 0 && c->topic_count <= CURSOR_TOPICS_MAX &&
	      c->place_count <= CURSOR_PLACES_MAX);
	buf_clear(scratch);
	rc = buf_reserve(scratch, most);
	if (rc)
		return rc;
	at = wire_put_u8(scratch->ptr, VERSION);
	for (uint32_t i = 0; i < c->topic_count; i++)
		at = put_topic(at, &c->topics[i], c->places + c->topics[i].first);
	at = put_checksum(at, crc32c(0, scratch->ptr, (size_t)(at - scratch->ptr)));
	return put_text(to, slice_make(scratch->ptr, (size_t)(at - scratch->ptr)));
}

int cursor_put(const struct cursor *c, struct buf *scratch, struct buf *to)
{
	switch (c->kind) {
	case CURSOR_EARLIEST:
		return buf_append_str(to, "earliest");
	case CURSOR_LATEST:
		return buf_append_str(to, "latest");
	case CURSOR_TIME:
		(void)buf_append_byte(to, '@');
		return buf_append_i64(to, c->time_ms);
	case CURSOR_PLACES:
		break;
	}
	return put_places(c, scratch, to);
}

void cursor_stem_init(struct cursor_stem *stem, const struct topic_id *id, uint32_t name_hash,
		      uint32_t partition)
{
	uint8_t *at = wire_put_u8(stem->bytes, VERSION);

	CHECK(partition <= PARTITION_MAX);
	at = wire_put_bytes(at, slice_make(id->bytes, sizeof(id->bytes)));
	at = wire_put_u32(at, name_hash);
	at = wire_put_uvarint(at, 1);
	at = wire_put_uvarint(at, partition);
	at = wire_put_uvarint(at, 1);
	stem->len = (uint32_t)(at - stem->bytes);
	stem->crc = crc32c(0, stem->bytes, stem->len);
}

size_t cursor_one(const struct cursor_stem *stem, int64_t offset, char *text)
{
	uint8_t bytes[sizeof(stem->bytes) + 10 + CHECKSUM_BYTES];
	uint8_t *at = wire_put_bytes(bytes, slice_make(stem->bytes, stem->len));

	CHECK(offset >= 0);
	at = wire_put_uvarint(at, (uint64_t)offset);
	at = put_checksum(at, crc32c(stem->crc, bytes + stem->len, (size_t)(at - bytes) - stem->len));
	return base64_encode(BASE64_URL, slice_make(bytes, (size_t)(at - bytes)), text);
}
