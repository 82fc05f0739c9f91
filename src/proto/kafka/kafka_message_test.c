/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "proto/kafka/kafka_api.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define STRUCT_BYTES_MAX 256u
#define ARENA_BYTES_MAX (1u << 22)

enum { REQUEST, RESPONSE };
enum { BARE, FULL, RANDOM };

/* ---- making structs of any layout ---- */

struct making {
	struct kafka_format format;
	struct arena *arena;
	int what;
	struct rand rand;
};

static void make_struct(struct making *m, const struct kafka_layout *layout, uint8_t *to, unsigned index);

/* What tests/kafka/Vectors.java says of the sum of a field. */
static uint64_t sum_of(const char *name, unsigned index)
{
	uint64_t sum = index;

	while (*name)
		sum += (uint8_t)*name++;
	return sum;
}

static bool chance(struct making *m, uint64_t one_in)
{
	return m->what == RANDOM && rand_below(&m->rand, one_in) == 0;
}

static uint64_t number(struct making *m, uint8_t kind, const char *name, unsigned index)
{
	uint64_t sum = sum_of(name, index);

	if (m->what == RANDOM)
		return chance(m, 4) ? UINT64_MAX : rand_next(&m->rand);
	if (m->what == BARE)
		return 0;
	switch (kind) {
	case KAFKA_BOOL:
		return sum & 1;
	case KAFKA_INT8:
		return sum % 127;
	case KAFKA_INT16:
		return sum * 3 % 32767;
	case KAFKA_INT32:
		return sum * 1000003 % 2147483647;
	default:
		return sum * 1000000007;
	}
}

static void put_random(struct making *m, uint8_t *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)rand_next(&m->rand);
}

static struct slice text(struct making *m, const char *name, unsigned index)
{
	size_t n =
		m->what == RANDOM ? (size_t)rand_below(&m->rand, chance(m, 10) ? 300 : 6) : strlen(name) + 1;
	uint8_t *bytes = arena_alloc(m->arena, n + 20);

	if (m->what == BARE)
		n = 0;
	else if (m->what == FULL)
		n = (size_t)snprintf((char *)bytes, n + 20, "%s%u", name, index);
	else
		put_random(m, bytes, n);
	return slice_make(bytes, n);
}

static void make_uuid(struct making *m, const char *name, unsigned index, struct kafka_uuid *to)
{
	uint64_t sum = sum_of(name, index);

	for (unsigned i = 0; i < 8; i++) {
		to->bytes[i] = (uint8_t)(sum * 1000000007 >> (56 - 8 * i));
		to->bytes[8 + i] = (uint8_t)(sum >> (56 - 8 * i));
	}
	if (m->what == BARE)
		*to = (struct kafka_uuid){0};
	else if (m->what == RANDOM)
		put_random(m, to->bytes, sizeof(to->bytes));
}

static void make_value(struct making *m, uint8_t kind, const char *name, unsigned index, uint8_t *to)
{
	uint64_t n;

	switch (kind) {
	case KAFKA_BOOL:
		*(bool *)to = number(m, kind, name, index) & 1;
		break;
	case KAFKA_INT8:
	case KAFKA_INT16:
	case KAFKA_INT32:
	case KAFKA_INT64:
	case KAFKA_FLOAT64: /* little-endian: the low bytes are the number cut to its width */
		n = number(m, kind, name, index);
		memcpy(to, &n, (size_t)1 << (kind == KAFKA_FLOAT64 ? 3 : kind - KAFKA_INT8));
		break;
	case KAFKA_UUID:
		make_uuid(m, name, index, (struct kafka_uuid *)to);
		break;
	case KAFKA_RECORDS:
		*(struct kafka_records *)to = (struct kafka_records){0};
		*(struct slice *)to = text(m, name, index);
		break;
	default:
		*(struct slice *)to = text(m, name, index);
	}
}

static void make_items(struct making *m, const struct kafka_field *f, uint8_t *to)
{
	size_t count = m->what == RANDOM ? (size_t)rand_below(&m->rand, 4) : m->what == FULL ? 2 : 0;
	uint8_t *items = arena_zalloc(m->arena, count, STRUCT_BYTES_MAX);
	size_t bytes = sizeof(struct slice);

	if (f->kind == KAFKA_ARRAY)
		bytes = f->of->bytes;
	else if (f->item <= KAFKA_FLOAT64)
		bytes = (size_t[]){1, 1, 2, 4, 8, 8}[f->item];
	*(struct slice *)to = slice_make(items, count);
	for (unsigned i = 0; i < count; i++, items += bytes) {
		if (f->kind == KAFKA_ARRAY)
			make_struct(m, f->of, items, i);
		else
			make_value(m, f->item, f->name, i, items);
	}
}

static void make_field(struct making *m, const struct kafka_field *f, unsigned index, uint8_t *to)
{
	bool nullable = f->nullable && m->format.version >= f->nullable - 1;
	uint8_t *part;

	if (nullable && (m->what == BARE || chance(m, 3)))
		memset(to, 0, f->kind == KAFKA_RECORDS ? sizeof(struct kafka_records) : sizeof(struct slice));
	else if (f->kind == KAFKA_LIST || f->kind == KAFKA_ARRAY)
		make_items(m, f, to);
	else if (f->kind == KAFKA_PART) {
		part = arena_alloc(m->arena, f->of->bytes);
		make_struct(m, f->of, part, index);
		memcpy(to, &part, sizeof(part));
	} else
		make_value(m, f->kind, f->name, index, to);
}

static void make_struct(struct making *m, const struct kafka_layout *layout, uint8_t *to, unsigned index)
{
	kafka_layout_default(layout, to, 1);
	for (size_t i = 0; i < layout->fields_count; i++) {
		const struct kafka_field *f = &layout->fields[i];
		if (m->format.version < f->from || m->format.version > f->to)
			continue;
		if (f->tag && (m->what == BARE || chance(m, 2)))
			continue;
		make_field(m, f, index, to + f->offset);
	}
}

/* ---- comparing them ---- */

static bool same_struct(const struct kafka_layout *layout, const uint8_t *a, const uint8_t *b);

static bool same_slice(struct slice a, struct slice b)
{
	return !a.ptr == !b.ptr && slice_eq(a, b);
}

static bool same_items(const struct kafka_field *f, struct slice a, struct slice b)
{
	if (a.len != b.len || !a.ptr != !b.ptr)
		return false;
	for (size_t i = 0; i < a.len; i++) {
		if (f->kind == KAFKA_ARRAY) {
			if (!same_struct(f->of, a.ptr + i * f->of->bytes, b.ptr + i * f->of->bytes))
				return false;
		} else if (f->item == KAFKA_TEXT) {
			if (!same_slice(((const struct slice *)(const void *)a.ptr)[i],
					((const struct slice *)(const void *)b.ptr)[i]))
				return false;
		}
	}
	if (f->kind == KAFKA_LIST && f->item <= KAFKA_FLOAT64)
		return memcmp(a.ptr, b.ptr, a.len * (size_t[]){1, 1, 2, 4, 8, 8}[f->item]) == 0;
	return true;
}

static bool same_field(const struct kafka_field *f, const uint8_t *a, const uint8_t *b)
{
	const uint8_t *x, *y;

	switch (f->kind) {
	case KAFKA_TEXT:
	case KAFKA_BYTES:
	case KAFKA_RECORDS:
		return same_slice(*(const struct slice *)a, *(const struct slice *)b);
	case KAFKA_LIST:
	case KAFKA_ARRAY:
		return same_items(f, *(const struct slice *)a, *(const struct slice *)b);
	case KAFKA_PART:
		memcpy(&x, a, sizeof(x));
		memcpy(&y, b, sizeof(y));
		return !x == !y && (!x || same_struct(f->of, x, y));
	case KAFKA_UUID:
		return memcmp(a, b, sizeof(struct kafka_uuid)) == 0;
	default:
		return memcmp(a, b, (size_t[]){1, 1, 2, 4, 8, 8}[f->kind]) == 0;
	}
}

static bool same_struct(const struct kafka_layout *layout, const uint8_t *a, const uint8_t *b)
{
	for (size_t i = 0; i < layout->fields_count; i++) {
		const struct kafka_field *f = &layout->fields[i];
		if (!same_field(f, a + f->offset, b + f->offset)) {
			fprintf(stderr, "%s.%s differs\n", layout->name, f->name);
			return false;
		}
	}
	return true;
}

/* ---- the tools of one test ---- */

struct world {
	struct arena arena; /* of what is made */
	struct arena read;  /* of what is read */
	struct buf wire;
	_Alignas(16) uint8_t made[STRUCT_BYTES_MAX];
	_Alignas(16) uint8_t got[STRUCT_BYTES_MAX];
};

static int set_up(void **state)
{
	struct world *w = mem_zalloc(1, sizeof(*w));

	assert_non_null(w);
	arena_init(&w->arena, 16384, ARENA_BYTES_MAX);
	arena_init(&w->read, 16384, ARENA_BYTES_MAX);
	buf_init(&w->wire, 1u << 20);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	arena_fini(&w->arena);
	arena_fini(&w->read);
	buf_fini(&w->wire);
	mem_free(w);
	return 0;
}

static struct kafka_format format_at(const struct kafka_api *api, int version)
{
	return (struct kafka_format){.version = (int16_t)version, .flexible = version >= api->flexible};
}

static const struct kafka_layout *layout_of(const struct kafka_api *api, int direction)
{
	return direction == REQUEST ? api->request : api->response;
}

static void make(struct world *w, const struct kafka_layout *layout, struct kafka_format format, int what,
		 uint64_t seed)
{
	struct making m = {.format = format, .arena = &w->arena, .what = what};

	assert_true(layout->bytes <= STRUCT_BYTES_MAX);
	rand_seed(&m.rand, seed);
	arena_reset(&w->arena);
	make_struct(&m, layout, w->made, 0);
}

/* Reads from memory that ends where the bytes end, so that ASan sees a step too far. */
static int read_exact(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
		      struct slice bytes, bool compare)
{
	uint8_t *copy = mem_alloc(bytes.len);
	int rc;

	assert_non_null(copy);
	if (bytes.len)
		memcpy(copy, bytes.ptr, bytes.len);
	arena_reset(&w->read);
	memset(w->got, 0xa5, sizeof(w->got));
	rc = kafka_layout_read(layout, format, slice_make(copy, bytes.len), &w->read, w->got);
	if (compare)
		assert_true(rc == 0 && same_struct(layout, w->made, w->got));
	mem_free(copy);
	return rc;
}

/* ---- vectors that Apache Kafka made ---- */

struct vector {
	int16_t key;
	int16_t version;
	int direction;
	int what;
	const char *hex;
};

static const struct vector vectors[] = {
#define VECTOR(key, version, direction, what, hex) {key, version, direction, what, hex},
#include "proto/kafka/kafka_vectors.def"
#undef VECTOR
};

static uint8_t digit(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void put_hex(struct buf *to, const char *hex)
{
	for (; hex[0] && hex[1]; hex += 2)
		assert_int_equal(buf_append_byte(to, (uint8_t)(digit(hex[0]) << 4 | digit(hex[1]))), 0);
}

static void assert_bytes(const struct vector *v, struct slice ours, struct slice theirs)
{
	if (slice_eq(ours, theirs))
		return;
	for (size_t i = 0; i < ours.len || i < theirs.len; i++)
		if (i >= ours.len || i >= theirs.len || ours.ptr[i] != theirs.ptr[i])
			fail_msg("key %d version %d direction %d form %d: byte %zu of %zu and %zu", v->key,
				 v->version, v->direction, v->what, i, ours.len, theirs.len);
}

static void check_request_vector(struct world *w, const struct vector *v, struct slice bytes)
{
	const struct kafka_api *api = kafka_api_find(v->key);
	struct kafka_header h;
	struct slice body;

	assert_int_equal(kafka_header_read(bytes, &h, &body), 0);
	assert_int_equal(h.key, v->key);
	assert_int_equal(h.version, v->version);
	assert_int_equal(h.correlation, 0x01020304);
	assert_true(same_slice(h.client_id, v->what == FULL ? SLICE_LIT("client") : slice_null()));
	assert_int_equal(kafka_request_read(&h, body, &w->read, w->got), 0);
	assert_true(same_struct(api->request, w->made, w->got));
	assert_int_equal(kafka_request_write(&h, w->made, &w->wire), 0);
}

static void check_response_vector(struct world *w, const struct vector *v, struct slice bytes)
{
	const struct kafka_api *api = kafka_api_find(v->key);
	struct kafka_header h = {.api = api, .key = v->key, .version = v->version, .correlation = 0x01020304};

	assert_int_equal(kafka_response_read(&h, bytes, &w->read, w->got), 0);
	assert_true(same_struct(api->response, w->made, w->got));
	assert_int_equal(kafka_response_write(&h, w->made, &w->wire, NULL), 0);
}

static void messages_are_those_of_apache_kafka(void **state)
{
	struct world *w = *state;
	struct buf theirs;

	buf_init(&theirs, 1u << 20);
	for (size_t i = 0; i < COUNT(vectors); i++) {
		const struct vector *v = &vectors[i];
		const struct kafka_api *api = kafka_api_find(v->key);
		assert_non_null(api);
		buf_clear(&theirs);
		buf_clear(&w->wire);
		arena_reset(&w->read);
		put_hex(&theirs, v->hex);
		make(w, layout_of(api, v->direction), format_at(api, v->version), v->what, 0);
		if (v->direction == REQUEST)
			check_request_vector(w, v, buf_slice(&theirs));
		else
			check_response_vector(w, v, buf_slice(&theirs));
		assert_bytes(v, slice_from(buf_slice(&w->wire), 4), buf_slice(&theirs));
		assert_int_equal(w->wire.ptr[3] | w->wire.ptr[2] << 8, w->wire.len - 4);
	}
	buf_fini(&theirs);
}

/* A version that was added to the table and has no vector is one that nobody has compared. */
static void every_version_has_its_vectors(void **state)
{
	size_t at = 0;

	(void)state;
	for (size_t i = 0; i < KAFKA_APIS_COUNT; i++)
		for (int version = kafka_apis[i].served; version <= kafka_apis[i].to; version++)
			for (int k = 0; k < 4; k++, at++) {
				assert_true(at < COUNT(vectors));
				assert_int_equal(vectors[at].key, kafka_apis[i].key);
				assert_int_equal(vectors[at].version, version);
			}
	assert_int_equal(at, COUNT(vectors));
}

/* ---- the tables ---- */

static size_t bytes_of_kind(uint8_t kind)
{
	switch (kind) {
	case KAFKA_UUID:
	case KAFKA_TEXT:
	case KAFKA_BYTES:
	case KAFKA_LIST:
	case KAFKA_ARRAY:
		return 16;
	case KAFKA_RECORDS:
		return sizeof(struct kafka_records);
	case KAFKA_PART:
		return sizeof(void *);
	default:
		return (size_t[]){1, 1, 2, 4, 8, 8}[kind];
	}
}

/* No member without a row, no deeper nesting than the stack was thought for. */
static void check_layout(const struct kafka_layout *layout, int depth)
{
	size_t end = 0;
	int tag = 0;

	assert_true(depth < 6);
	for (size_t i = 0; i < layout->fields_count; i++) {
		const struct kafka_field *f = &layout->fields[i];
		assert_true(f->offset >= end && f->offset - end < 8);
		end = f->offset + bytes_of_kind(f->kind);
		assert_true(f->tag == 0 || f->tag > tag);
		tag = f->tag ? f->tag : tag;
		assert_true(f->from <= f->to);
		assert_true(f->kind != KAFKA_PART || f->tag);
		if (f->of)
			check_layout(f->of, depth + 1);
	}
	assert_true(layout->bytes >= end && layout->bytes - end < 8);
}

static void tables_cover_their_structs(void **state)
{
	(void)state;
	for (size_t i = 0; i < KAFKA_APIS_COUNT; i++) {
		check_layout(kafka_apis[i].request, 0);
		check_layout(kafka_apis[i].response, 0);
	}
}

/* ---- round trips ---- */

typedef void check_fn(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
		      uint64_t seed);

/* Runs a check for every message in every version. */
static void for_each_message(struct world *w, check_fn *check, uint64_t seeds)
{
	for (size_t i = 0; i < KAFKA_APIS_COUNT; i++)
		for (int direction = REQUEST; direction <= RESPONSE; direction++)
			for (int v = kafka_apis[i].served; v <= kafka_apis[i].to; v++)
				for (uint64_t seed = 1; seed <= seeds; seed++)
					check(w, layout_of(&kafka_apis[i], direction),
					      format_at(&kafka_apis[i], v),
					      seed + 1000 * i + 10 * (uint64_t)v);
}

static void write_made(struct world *w, const struct kafka_layout *layout, struct kafka_format format)
{
	buf_clear(&w->wire);
	assert_int_equal(kafka_layout_write(layout, format, w->made, &w->wire, NULL), 0);
}

static void check_round_trip(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
			     uint64_t seed)
{
	make(w, layout, format, RANDOM, seed);
	write_made(w, layout, format);
	assert_int_equal(read_exact(w, layout, format, buf_slice(&w->wire), true), 0);
}

static void check_prefixes(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
			   uint64_t seed)
{
	make(w, layout, format, seed & 1 ? FULL : RANDOM, seed);
	write_made(w, layout, format);
	for (size_t n = 0; n < w->wire.len; n++)
		assert_int_equal(read_exact(w, layout, format, slice_make(w->wire.ptr, n), false),
				 ERR_MALFORMED);
	/* what is left over is nobody's, as in Kafka */
	assert_int_equal(buf_append_byte(&w->wire, 0), 0);
	assert_int_equal(read_exact(w, layout, format, buf_slice(&w->wire), true), 0);
}

/* Whatever a damaged message is read as can be written and read again. */
static void check_damage(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
			 uint64_t seed)
{
	struct buf again;
	struct rand r;

	make(w, layout, format, FULL, seed);
	write_made(w, layout, format);
	buf_init(&again, 1u << 20);
	rand_seed(&r, seed);
	for (int i = 0; i < 40; i++) {
		size_t at = (size_t)rand_below(&r, w->wire.len);
		uint8_t before = w->wire.ptr[at];
		w->wire.ptr[at] = (uint8_t)(i & 1 ? rand_next(&r) : 0xff);
		arena_reset(&w->read);
		if (kafka_layout_read(layout, format, buf_slice(&w->wire), &w->read, w->got) == 0) {
			buf_clear(&again);
			assert_int_equal(kafka_layout_write(layout, format, w->got, &again, NULL), 0);
			memcpy(w->made, w->got, sizeof(w->made));
			arena_reset(&w->arena);
			assert_int_equal(kafka_layout_read(layout, format, buf_slice(&again), &w->arena,
							   w->got),
					 0);
			assert_true(same_struct(layout, w->made, w->got));
		}
		w->wire.ptr[at] = before;
	}
	buf_fini(&again);
}

static void what_is_written_is_read(void **state)
{
	for_each_message(*state, check_round_trip, 20);
}

static void prefixes_are_refused(void **state)
{
	for_each_message(*state, check_prefixes, 2);
}

static void damage_is_refused_or_read(void **state)
{
	for_each_message(*state, check_damage, 3);
}

/* ---- tags ---- */

/* Replaces the empty tags at the end of a bare message. */
static int read_with_tags(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
			  struct slice tags, bool compare)
{
	make(w, layout, format, BARE, 0);
	write_made(w, layout, format);
	assert_int_equal(w->wire.ptr[w->wire.len - 1], 0);
	w->wire.len--;
	buf_append_slice(&w->wire, tags);
	return read_exact(w, layout, format, buf_slice(&w->wire), compare);
}

static void check_tags(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
		       uint64_t seed)
{
	static const struct slice refused[] = {
		SLICE_LIT("\x02\x64\x00\x64\x00"),             /* twice */
		SLICE_LIT("\x02\x65\x00\x64\x00"),             /* out of order */
		SLICE_LIT("\x01\x64\x04"                       /* longer than */
			  "abc"),                              /* what is there */
		SLICE_LIT("\x02\x64\x00"),                     /* one too few */
		SLICE_LIT("\xff\xff\xff\xff\x0f\x64\x00"),     /* far too few */
		SLICE_LIT("\xff\xff\xff\xff\x10"),             /* a count over 32 bits */
		SLICE_LIT("\x01\x64\xff\xff\xff\xff\xff\x01"), /* a size of six bytes */
	};
	struct slice unknown = SLICE_LIT("\x02\x64\x03"
					 "abc\xff\xff\xff\xff\x0f\x00");

	(void)seed;
	if (!format.flexible)
		return;
	assert_int_equal(read_with_tags(w, layout, format, unknown, true), 0);
	for (size_t i = 0; i < COUNT(refused); i++)
		assert_int_equal(read_with_tags(w, layout, format, refused[i], false), ERR_MALFORMED);
}

static void unknown_tags_are_stepped_over_in_order(void **state)
{
	for_each_message(*state, check_tags, 1);
}

static void a_known_tag_fills_its_size(void **state)
{
	struct kafka_format format = {.version = 12, .flexible = true};
	const struct kafka_layout *layout = &kafka_fetch_request_layout;
	struct world *w = *state;
	struct kafka_fetch_request *q = (struct kafka_fetch_request *)w->got;

	assert_int_equal(read_with_tags(w, layout, format, SLICE_LIT("\x01\x00\x04\x04nme"), false), 0);
	assert_int_equal(kafka_layout_read(layout, format, buf_slice(&w->wire), &w->read, q), 0);
	assert_true(slice_eq_str(q->cluster_id, "nme"));
	assert_int_equal(read_with_tags(w, layout, format, SLICE_LIT("\x01\x00\x05\x04nmex"), false),
			 ERR_MALFORMED);
	assert_int_equal(read_with_tags(w, layout, format, SLICE_LIT("\x01\x00\x03\x04nm"), false),
			 ERR_MALFORMED);
}

/* ---- lengths and counts ---- */

struct malformed {
	const struct kafka_layout *layout;
	struct kafka_format format;
	struct slice bytes;
	int error;
};

static const struct malformed lengths[] = {
	/* Metadata: a list of topics that is null where that is not allowed, and where it is */
	{&kafka_metadata_request_layout, {0, false}, SLICE_LIT("\xff\xff\xff\xff"), ERR_MALFORMED},
	{&kafka_metadata_request_layout, {1, false}, SLICE_LIT("\xff\xff\xff\xff"), 0},
	{&kafka_metadata_request_layout, {1, false}, SLICE_LIT("\xff\xff\xff\xfe"), ERR_MALFORMED},
	{&kafka_metadata_request_layout, {9, true}, SLICE_LIT("\0\1\1\1\0"), 0},
	/* a count that the bytes cannot hold, by one and by far */
	{&kafka_metadata_request_layout, {1, false}, SLICE_LIT("\0\0\0\2\0\1a\0"), ERR_MALFORMED},
	{&kafka_metadata_request_layout, {1, false}, SLICE_LIT("\x7f\xff\xff\xff\0\1a"), ERR_MALFORMED},
	{&kafka_metadata_request_layout, {9, true}, SLICE_LIT("\xff\xff\xff\xff\x0f\1\1\1\0"), ERR_MALFORMED},
	/* a name that is null where names are not */
	{&kafka_metadata_request_layout, {1, false}, SLICE_LIT("\0\0\0\1\xff\xff"), ERR_MALFORMED},
	{&kafka_metadata_request_layout, {1, false}, SLICE_LIT("\0\0\0\1\xff\xfe"), ERR_MALFORMED},
	{&kafka_metadata_request_layout, {9, true}, SLICE_LIT("\2\0\0\1\1\1\0"), ERR_MALFORMED},
	{&kafka_metadata_request_layout,
	 {12, true},
	 SLICE_LIT("\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\1\0"),
	 0},
	/* names in a list are never null, also where the list may be */
	{&kafka_describe_configs_request_layout,
	 {1, false},
	 SLICE_LIT("\0\0\0\1\2\0\1a\xff\xff\xff\xff\0"),
	 0},
	{&kafka_describe_configs_request_layout,
	 {1, false},
	 SLICE_LIT("\0\0\0\1\2\0\1a\0\0\0\1\xff\xff\0"),
	 ERR_MALFORMED},
	{&kafka_delete_groups_request_layout, {0, false}, SLICE_LIT("\0\0\0\1\xff\xff"), ERR_MALFORMED},
	/* bytes longer than what is left, and negative */
	{&kafka_sasl_authenticate_request_layout, {0, false}, SLICE_LIT("\0\0\0\3ab"), ERR_MALFORMED},
	{&kafka_sasl_authenticate_request_layout, {0, false}, SLICE_LIT("\x80\0\0\0ab"), ERR_MALFORMED},
	{&kafka_sasl_authenticate_request_layout, {2, true}, SLICE_LIT("\3ab\0"), 0},
	{&kafka_sasl_authenticate_request_layout, {2, true}, SLICE_LIT("\0\0"), ERR_MALFORMED},
	/* a compact length in more bytes than it needs is one that Kafka reads too */
	{&kafka_sasl_authenticate_request_layout, {2, true}, SLICE_LIT("\x83\x80\0ab\0"), 0},
};

static void lengths_are_checked(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(lengths); i++) {
		const struct malformed *m = &lengths[i];
		int rc = read_exact(w, m->layout, m->format, m->bytes, false);
		if (rc != m->error)
			fail_msg("row %zu: %d, not %d", i, rc, m->error);
	}
}

static void a_text_is_at_most_32767_bytes(void **state)
{
	struct kafka_format format = {.version = 3, .flexible = true};
	struct kafka_find_coordinator_request q = {0};
	struct world *w = *state;
	uint8_t *bytes = mem_zalloc(40000, 1);

	assert_non_null(bytes);
	q.key = slice_make(bytes, 32767);
	buf_clear(&w->wire);
	assert_int_equal(kafka_layout_write(&kafka_find_coordinator_request_layout, format, &q, &w->wire,
					    NULL),
			 0);
	assert_int_equal(read_exact(w, &kafka_find_coordinator_request_layout, format, buf_slice(&w->wire),
				    false),
			 0);
	q.key.len = 32768;
	buf_clear(&w->wire);
	assert_int_equal(kafka_layout_write(&kafka_find_coordinator_request_layout, format, &q, &w->wire,
					    NULL),
			 ERR_LIMIT);
	/* the same by hand: length 32768 */
	buf_clear(&w->wire);
	buf_append(&w->wire, "\x81\x80\x02", 3);
	buf_append(&w->wire, bytes, 32768);
	buf_append(&w->wire, "\0\0", 2);
	assert_int_equal(read_exact(w, &kafka_find_coordinator_request_layout, format, buf_slice(&w->wire),
				    false),
			 ERR_MALFORMED);
	mem_free(bytes);
}

/* A topic of Metadata 12 is at least 18 bytes: 1000 of them do not lie in 2000, and take no memory. */
static void memory_is_taken_for_what_the_bytes_can_hold(void **state)
{
	static const uint8_t zeros[2000];
	struct kafka_format format = {.version = 12, .flexible = true};
	struct world *w = *state;
	struct arena arena;

	buf_clear(&w->wire);
	buf_append(&w->wire, "\xe9\x07", 2);
	buf_append(&w->wire, zeros, sizeof(zeros));
	arena_init(&arena, 64, ARENA_BYTES_MAX);
	assert_int_equal(kafka_layout_read(&kafka_metadata_request_layout, format, buf_slice(&w->wire),
					   &arena, w->got),
			 ERR_MALFORMED);
	assert_int_equal(arena.bytes, 0);
	arena_fini(&arena);
}

/* That the list may be null says nothing of its items. */
static void items_are_never_written_as_null(void **state)
{
	struct slice keys[] = {{0}, SLICE_LIT("a")};
	struct kafka_describe_configs_request_resource resource = {.configuration_keys = keys,
								   .configuration_keys_count = 2};
	struct kafka_describe_configs_request q = {.resources = &resource, .resources_count = 1};
	struct world *w = *state;

	buf_clear(&w->wire);
	assert_int_equal(kafka_layout_write(&kafka_describe_configs_request_layout,
					    (struct kafka_format){1, false}, &q, &w->wire, NULL),
			 0);
	assert_true(slice_eq(buf_slice(&w->wire), SLICE_LIT("\0\0\0\1\0\0\0\0\0\0\2\0\0\0\1a\0")));
}

static void null_is_written_where_there_is_null(void **state)
{
	struct kafka_metadata_request q = {0};
	struct world *w = *state;

	buf_clear(&w->wire);
	assert_int_equal(kafka_layout_write(&kafka_metadata_request_layout, (struct kafka_format){0, false},
					    &q, &w->wire, NULL),
			 0);
	assert_true(slice_eq(buf_slice(&w->wire), SLICE_LIT("\0\0\0\0")));
	buf_clear(&w->wire);
	assert_int_equal(kafka_layout_write(&kafka_metadata_request_layout, (struct kafka_format){1, false},
					    &q, &w->wire, NULL),
			 0);
	assert_true(slice_eq(buf_slice(&w->wire), SLICE_LIT("\xff\xff\xff\xff")));
}

/* ---- kinds and defaults that no message of today shows ---- */

struct odd {
	double real;
	bool flag;
	const double *reals;
	size_t reals_count;
	double tagged;
	struct kafka_uuid uuid;
	struct slice note;
	const int16_t *shorts;
	size_t shorts_count;
};

static const struct kafka_field odd_fields[] = {
	{.name = "real", .kind = KAFKA_FLOAT64, .offset = offsetof(struct odd, real), .to = 9},
	{.name = "flag", .kind = KAFKA_BOOL, .offset = offsetof(struct odd, flag), .to = 9},
	{.name = "reals",
	 .kind = KAFKA_LIST,
	 .item = KAFKA_FLOAT64,
	 .offset = offsetof(struct odd, reals),
	 .to = 9},
	{.name = "tagged",
	 .kind = KAFKA_FLOAT64,
	 .offset = offsetof(struct odd, tagged),
	 .to = 9,
	 .tag = 1,
	 .value = 2},
	{.name = "uuid", .kind = KAFKA_UUID, .offset = offsetof(struct odd, uuid), .to = 9, .tag = 2},
	{.name = "note", .kind = KAFKA_TEXT, .offset = offsetof(struct odd, note), .to = 9, .tag = 3},
	{.name = "shorts",
	 .kind = KAFKA_LIST,
	 .item = KAFKA_INT16,
	 .offset = offsetof(struct odd, shorts),
	 .to = 9,
	 .tag = 4},
};

static const struct kafka_layout odd_layout = {.name = "odd",
					       .fields = odd_fields,
					       .fields_count = COUNT(odd_fields),
					       .bytes = sizeof(struct odd)};

static void every_kind_can_stand_anywhere(void **state)
{
	static const struct slice plain = SLICE_LIT("\x3f\xf8\0\0\0\0\0\0\1\2\x7f\xf0\0\0\0\0\0\0\0");
	struct kafka_format format = {.version = 1, .flexible = true};
	struct world *w = *state;
	struct odd *made = (struct odd *)w->made, *got = (struct odd *)w->got;
	double infinity = __builtin_inf();
	int16_t shorts[] = {-1, 2};

	kafka_layout_default(&odd_layout, made, 1);
	assert_true(made->tagged == 2 && made->note.ptr && made->note.len == 0);
	made->real = 1.5;
	made->flag = true;
	made->reals = &infinity;
	made->reals_count = 1;
	write_made(w, &odd_layout, format);
	assert_true(slice_eq(buf_slice(&w->wire), plain));
	assert_int_equal(read_exact(w, &odd_layout, format, plain, true), 0);
	assert_true(got->real == 1.5 && got->tagged == 2);
	made->tagged = -0.25;
	made->uuid.bytes[15] = 7;
	made->note = SLICE_LIT("x");
	made->shorts = shorts;
	made->shorts_count = 2;
	write_made(w, &odd_layout, format);
	assert_int_equal(w->wire.len, plain.len + 10 + 18 + 4 + 7);
	assert_int_equal(read_exact(w, &odd_layout, format, buf_slice(&w->wire), true), 0);
	w->wire.ptr[8] = 0x80; /* any byte but 0 is true */
	assert_int_equal(read_exact(w, &odd_layout, format, buf_slice(&w->wire), true), 0);
}

static void what_a_version_lacks_has_its_default(void **state)
{
	struct world *w = *state;
	struct kafka_fetch_request *q = (struct kafka_fetch_request *)w->got;
	struct kafka_metadata_request *m = (struct kafka_metadata_request *)w->got;
	struct kafka_fetch_response_partition *p;

	make(w, &kafka_fetch_request_layout, (struct kafka_format){4, false}, BARE, 0);
	write_made(w, &kafka_fetch_request_layout, (struct kafka_format){4, false});
	assert_int_equal(read_exact(w, &kafka_fetch_request_layout, (struct kafka_format){4, false},
				    buf_slice(&w->wire), false),
			 0);
	assert_int_equal(q->session_epoch, -1);
	assert_true(!q->cluster_id.ptr && q->rack_id.ptr && q->forgotten_topics_data &&
		    !q->forgotten_topics_data_count);
	assert_int_equal(read_exact(w, &kafka_metadata_request_layout, (struct kafka_format){0, false},
				    SLICE_LIT("\0\0\0\0"), false),
			 0);
	assert_true(m->allow_auto_topic_creation);
	p = kafka_layout_array(&kafka_fetch_response_partition_layout, &w->arena, 2);
	assert_non_null(p);
	assert_true(p[1].log_start_offset == -1 && p[1].preferred_read_replica == -1 && !p[1].current_leader);
	assert_non_null(kafka_layout_array(&kafka_fetch_response_partition_layout, &w->arena, 0));
	assert_null(kafka_layout_array(&kafka_fetch_response_partition_layout, &w->arena, SIZE_MAX / 2));
}

/* ---- memory ---- */

static void memory_is_bounded_by_the_arena(void **state)
{
	struct kafka_format format = {.version = 12, .flexible = true};
	struct world *w = *state;
	struct arena small;
	int rc = ERR_LIMIT;

	make(w, &kafka_fetch_request_layout, format, FULL, 0);
	write_made(w, &kafka_fetch_request_layout, format);
	for (size_t bound = 0; bound < 1024; bound++) {
		int before = rc;
		arena_init(&small, 64, bound);
		rc = kafka_layout_read(&kafka_fetch_request_layout, format, buf_slice(&w->wire), &small,
				       w->got);
		assert_true(rc == ERR_LIMIT || (rc == 0 && bound > 200));
		assert_true(before == ERR_LIMIT || rc == 0);
		arena_fini(&small);
	}
	assert_int_equal(rc, 0);
	for (uint64_t n = 1; n < 20; n++) {
		arena_init(&small, 64, ARENA_BYTES_MAX);
		mem_fail_at(n);
		rc = kafka_layout_read(&kafka_fetch_request_layout, format, buf_slice(&w->wire), &small,
				       w->got);
		mem_fail_at(0);
		arena_fini(&small);
		assert_true(rc == ERR_NOMEM || rc == 0);
		if (rc == 0)
			break;
	}
	assert_int_equal(rc, 0);
}

static void check_write_limits(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
			       uint64_t seed)
{
	struct buf small;
	size_t whole;

	make(w, layout, format, FULL, seed);
	write_made(w, layout, format);
	whole = w->wire.len;
	for (size_t bound = 0; bound <= whole; bound += bound + 7 < whole ? 7 : 1) {
		int rc;
		buf_init(&small, bound);
		rc = kafka_layout_write(layout, format, w->made, &small, NULL);
		assert_int_equal(rc, bound < whole ? ERR_LIMIT : 0);
		buf_fini(&small);
	}
}

static void writing_stops_at_the_bound(void **state)
{
	for_each_message(*state, check_write_limits, 1);
}

/* ---- records that are not copied ---- */

struct fetch {
	struct kafka_fetch_response_partition partitions[3];
	struct kafka_fetch_response_topic topic;
	struct kafka_fetch_response response;
	struct kafka_header header;
};

static void make_fetch(struct fetch *f, int16_t version)
{
	*f = (struct fetch){
		.header = {.api = kafka_api_find(KAFKA_FETCH), .key = KAFKA_FETCH, .version = version}};
	kafka_layout_default(&kafka_fetch_response_partition_layout, f->partitions, 3);
	kafka_layout_default(&kafka_fetch_response_layout, &f->response, 1);
	f->partitions[0].records = (struct kafka_records){.ptr = (const uint8_t *)"first", .len = 5};
	f->partitions[1].records = (struct kafka_records){0};
	f->partitions[2].records = (struct kafka_records){.ptr = (const uint8_t *)"third", .len = 5};
	f->topic = (struct kafka_fetch_response_topic){.topic = SLICE_LIT("t"),
						       .partitions = f->partitions,
						       .partitions_count = 3};
	f->response.responses = &f->topic;
	f->response.responses_count = 1;
	f->header.correlation = 9;
}

static void check_cuts(struct world *w, struct fetch *f)
{
	struct kafka_cut list[2];
	struct kafka_cuts cuts = {.list = list, .count_max = 2};
	struct buf copied, joined;
	size_t at = 0;

	buf_init(&copied, 4096);
	buf_init(&joined, 4096);
	buf_clear(&w->wire);
	assert_int_equal(kafka_response_write(&f->header, &f->response, &copied, NULL), 0);
	f->partitions[0].records.source = f;
	assert_int_equal(kafka_response_write(&f->header, &f->response, &w->wire, &cuts), 0);
	assert_int_equal(cuts.count, 2);
	assert_int_equal(cuts.bytes, 10);
	assert_int_equal(w->wire.len + 10, copied.len);
	assert_ptr_equal(list[0].records->source, f);
	for (size_t i = 0; i < cuts.count; i++) {
		buf_append(&joined, w->wire.ptr + at, list[i].at - at);
		buf_append(&joined, list[i].records->ptr, list[i].records->len);
		at = list[i].at;
	}
	buf_append(&joined, w->wire.ptr + at, w->wire.len - at);
	assert_true(slice_eq(buf_slice(&joined), buf_slice(&copied)));
	buf_fini(&joined);
	buf_fini(&copied);
}

static void records_may_stay_where_they_are(void **state)
{
	struct world *w = *state;
	struct fetch f;

	for (int16_t version = 4; version <= 12; version++) {
		make_fetch(&f, version);
		check_cuts(w, &f);
	}
}

/* What did not fit leaves buffer and cuts as they were, with what they held before. */
static void a_response_that_does_not_fit_is_taken_back(void **state)
{
	struct world *w = *state;
	struct kafka_cut list[3];
	struct kafka_cuts cuts = {.list = list, .count_max = 3};
	struct fetch f;

	make_fetch(&f, 12);
	buf_clear(&w->wire);
	assert_int_equal(kafka_response_write(&f.header, &f.response, &w->wire, &cuts), 0);
	assert_int_equal(cuts.count, 2);
	size_t before = w->wire.len;
	assert_int_equal(kafka_response_write(&f.header, &f.response, &w->wire, &cuts), ERR_LIMIT);
	assert_int_equal(w->wire.len, before);
	assert_int_equal(cuts.count, 2);
	assert_int_equal(cuts.bytes, 10);
	/* two references whose sum no frame can have, and one that is too long by itself */
	cuts.count = 0;
	f.partitions[0].records = (struct kafka_records){.source = &f, .len = INT32_MAX};
	assert_int_equal(kafka_response_write(&f.header, &f.response, &w->wire, &cuts), ERR_LIMIT);
	f.partitions[0].records.len = (size_t)INT32_MAX + 1;
	assert_int_equal(kafka_response_write(&f.header, &f.response, &w->wire, &cuts), ERR_LIMIT);
	assert_int_equal(w->wire.len, before);
	assert_int_equal(buf_status(&w->wire), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_are_those_of_apache_kafka),
		cmocka_unit_test(every_version_has_its_vectors),
		cmocka_unit_test(tables_cover_their_structs),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(prefixes_are_refused),
		cmocka_unit_test(damage_is_refused_or_read),
		cmocka_unit_test(unknown_tags_are_stepped_over_in_order),
		cmocka_unit_test(a_known_tag_fills_its_size),
		cmocka_unit_test(lengths_are_checked),
		cmocka_unit_test(a_text_is_at_most_32767_bytes),
		cmocka_unit_test(memory_is_taken_for_what_the_bytes_can_hold),
		cmocka_unit_test(items_are_never_written_as_null),
		cmocka_unit_test(null_is_written_where_there_is_null),
		cmocka_unit_test(every_kind_can_stand_anywhere),
		cmocka_unit_test(what_a_version_lacks_has_its_default),
		cmocka_unit_test(memory_is_bounded_by_the_arena),
		cmocka_unit_test(writing_stops_at_the_bound),
		cmocka_unit_test(records_may_stay_where_they_are),
		cmocka_unit_test(a_response_that_does_not_fit_is_taken_back),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
