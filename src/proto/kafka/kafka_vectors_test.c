/* SPDX-License-Identifier: Apache-2.0 */
/* Every version of every message beside the bytes that Apache Kafka makes of it. */
#include "proto/kafka/kafka_message_world_test.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_are_those_of_apache_kafka),
		cmocka_unit_test(every_version_has_its_vectors),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
