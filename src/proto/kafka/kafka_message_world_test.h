/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_KAFKA_KAFKA_MESSAGE_WORLD_TEST_H
#define WEIR_PROTO_KAFKA_KAFKA_MESSAGE_WORLD_TEST_H

/*
 * For the tests of the messages' tables: a structure of any message and version is made (bare, full or random), and two
 * are compared field by field, by the tables alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "proto/kafka/kafka_api.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define STRUCT_BYTES_MAX 256u
#define ARENA_BYTES_MAX (1u << 22)

enum { REQUEST, RESPONSE };

enum { BARE, FULL, RANDOM };

struct making {
	struct kafka_format format;
	struct arena *arena;
	int what;
	struct rand rand;
};

static inline void make_struct(struct making *m, const struct kafka_layout *layout, uint8_t *to,
			       unsigned index);

/* What tests/kafka/Vectors.java says of the sum of a field. */
static inline uint64_t sum_of(const char *name, unsigned index)
{
	uint64_t sum = index;

	while (*name)
		sum += (uint8_t)*name++;
	return sum;
}

static inline bool chance(struct making *m, uint64_t one_in)
{
	return m->what == RANDOM && rand_below(&m->rand, one_in) == 0;
}

static inline uint64_t number(struct making *m, uint8_t kind, const char *name, unsigned index)
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

static inline void put_random(struct making *m, uint8_t *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)rand_next(&m->rand);
}

static inline struct slice text(struct making *m, const char *name, unsigned index)
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

static inline void make_uuid(struct making *m, const char *name, unsigned index, struct kafka_uuid *to)
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

static inline void make_value(struct making *m, uint8_t kind, const char *name, unsigned index, uint8_t *to)
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

static inline void make_items(struct making *m, const struct kafka_field *f, uint8_t *to)
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

static inline void make_field(struct making *m, const struct kafka_field *f, unsigned index, uint8_t *to)
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

static inline void make_struct(struct making *m, const struct kafka_layout *layout, uint8_t *to,
			       unsigned index)
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

static inline bool same_struct(const struct kafka_layout *layout, const uint8_t *a, const uint8_t *b);

static inline bool same_slice(struct slice a, struct slice b)
{
	return !a.ptr == !b.ptr && slice_eq(a, b);
}

static inline bool same_items(const struct kafka_field *f, struct slice a, struct slice b)
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

static inline bool same_field(const struct kafka_field *f, const uint8_t *a, const uint8_t *b)
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

static inline bool same_struct(const struct kafka_layout *layout, const uint8_t *a, const uint8_t *b)
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

struct world {
	struct arena arena; /* of what is made */
	struct arena read;  /* of what is read */
	struct buf wire;
	_Alignas(16) uint8_t made[STRUCT_BYTES_MAX];
	_Alignas(16) uint8_t got[STRUCT_BYTES_MAX];
};

static inline int set_up(void **state)
{
	struct world *w = mem_zalloc(1, sizeof(*w));

	assert_non_null(w);
	arena_init(&w->arena, 16384, ARENA_BYTES_MAX);
	arena_init(&w->read, 16384, ARENA_BYTES_MAX);
	buf_init(&w->wire, 1u << 20);
	*state = w;
	return 0;
}

static inline int tear_down(void **state)
{
	struct world *w = *state;

	arena_fini(&w->arena);
	arena_fini(&w->read);
	buf_fini(&w->wire);
	mem_free(w);
	return 0;
}

static inline struct kafka_format format_at(const struct kafka_api *api, int version)
{
	return (struct kafka_format){.version = (int16_t)version, .flexible = version >= api->flexible};
}

static inline const struct kafka_layout *layout_of(const struct kafka_api *api, int direction)
{
	return direction == REQUEST ? api->request : api->response;
}

static inline void make(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
			int what, uint64_t seed)
{
	struct making m = {.format = format, .arena = &w->arena, .what = what};

	assert_true(layout->bytes <= STRUCT_BYTES_MAX);
	rand_seed(&m.rand, seed);
	arena_reset(&w->arena);
	make_struct(&m, layout, w->made, 0);
}

/* Reads from memory that ends where the bytes end, so that ASan sees a step too far. */
static inline int read_exact(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
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

typedef void check_fn(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
		      uint64_t seed);

/* Runs a check for every message in every version. */
static inline void for_each_message(struct world *w, check_fn *check, uint64_t seeds)
{
	for (size_t i = 0; i < KAFKA_APIS_COUNT; i++)
		for (int direction = REQUEST; direction <= RESPONSE; direction++)
			for (int v = kafka_apis[i].served; v <= kafka_apis[i].to; v++)
				for (uint64_t seed = 1; seed <= seeds; seed++)
					check(w, layout_of(&kafka_apis[i], direction),
					      format_at(&kafka_apis[i], v),
					      seed + 1000 * i + 10 * (uint64_t)v);
}

static inline void write_made(struct world *w, const struct kafka_layout *layout, struct kafka_format format)
{
	buf_clear(&w->wire);
	assert_int_equal(kafka_layout_write(layout, format, w->made, &w->wire, NULL), 0);
}

#endif
