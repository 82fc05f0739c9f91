/* SPDX-License-Identifier: Apache-2.0 */
/* on_error=dead: what is refused is set aside. */
#include "ingest/ingest_post_test.h"

static struct post *dead_post(const char *topic, const char *type, const char *body)
{
	struct post *p = post_new(topic, type, body);

	option(p, "on_error", "dead");
	return p;
}

static struct dead_letter letter_at(const char *topic, int64_t offset)
{
	struct batch_record r = stored(topic, 0, offset);
	struct dead_letter d;

	dead_letter_read(&r, &d);
	assert_int_equal(d.from, DEAD_FROM_DOOR);
	assert_true(slice_eq_str(d.name, "http"));
	return d;
}

static void bad_lines_are_set_aside(void **state)
{
	struct post *p = dead_post("t", "application/x-ndjson", "1\nx y\n2\n{\n");
	struct dead_letter d;

	(void)state;
	option(p, "key", "k");
	option(p, "results", "records");
	check_answer(
		p, 200,
		"{\"topic\":\"t\",\"accepted\":2,\"duplicates\":0,\"rejected\":2,"
		"\"offsets\":[{\"partition\":0,\"first\":0,\"last\":1}],\"results\":["
		"{\"index\":0,\"partition\":0,\"offset\":0,\"status\":\"accepted\"},"
		"{\"index\":1,\"status\":\"rejected\"},"
		"{\"index\":2,\"partition\":0,\"offset\":1,\"status\":\"accepted\"},"
		"{\"index\":3,\"status\":\"rejected\"}],\"errors\":["
		"{\"index\":1,\"line\":2,\"code\":\"invalid_json\",\"detail\":\"at byte 1: expected a value\"},"
		"{\"index\":3,\"line\":4,\"code\":\"invalid_json\",\"detail\":\"at byte 2: expected a member name in quotes\"}],"
		"\"dead\":{\"topic\":\"t.dead\",\"records\":2,\"first\":0,\"last\":1}}");
	d = letter_at("t.dead", 0);
	assert_true(slice_eq_str(d.value, "x y") && slice_eq_str(d.key, "k"));
	assert_true(slice_eq_str(d.code, "invalid_json") && slice_eq_str(d.form, "application/json"));
	assert_true(slice_eq_str(d.place, "line 2 of the request") && slice_eq_str(d.topic, "t"));
	assert_true(slice_eq_str(d.text, "at byte 1: expected a value"));
	d = letter_at("t.dead", 1);
	assert_true(slice_eq_str(d.value, "{") && slice_eq_str(d.place, "line 4 of the request"));
	drop_view();
}

/* What only the state tells, too: a key that was used for something else. */
static void bad_records_of_a_batch_are_set_aside(void **state)
{
	static const char type[] = "application/vnd.weir.batch+json";
	struct dead_letter d;

	(void)state;
	check_answer(dead_post("t", type, "{\"records\":[{\"value\":1,\"idempotency_key\":\"a\"}]}"), 200,
		     "{\"topic\":\"t\",\"accepted\":1,\"duplicates\":0,\"rejected\":0,"
		     "\"offsets\":[{\"partition\":0,\"first\":0,\"last\":0}]}");
	check_answer(
		dead_post("t", type,
			  "{\"records\":[{\"value\":2,\"idempotency_key\":\"a\"}, {\"what\":3} ,"
			  "{\"value\":4,\"idempotency_key\":\"b\"}]}"),
		200,
		"{\"topic\":\"t\",\"accepted\":1,\"duplicates\":0,\"rejected\":2,"
		"\"offsets\":[{\"partition\":0,\"first\":1,\"last\":1}],\"errors\":["
		"{\"index\":0,\"code\":\"idempotency_key_reused\",\"detail\":\"the idempotency key was used for another payload\"},"
		"{\"index\":1,\"code\":\"invalid_record\",\"detail\":\"\\\"what\\\" is not a member of a record: key, value, headers, partition, "
		"idempotency_key, timestamp are, and key_base64, value_text, value_base64, tombstone\"}],"
		"\"dead\":{\"topic\":\"t.dead\",\"records\":2,\"first\":0,\"last\":1}}");
	d = letter_at("t.dead", 0);
	assert_true(slice_eq_str(d.value, "{\"value\":2,\"idempotency_key\":\"a\"}"));
	assert_true(slice_eq_str(d.code, "idempotency_key_reused") && slice_eq_str(d.form, type));
	d = letter_at("t.dead", 1);
	assert_true(slice_eq_str(d.value, "{\"what\":3}"));
	assert_true(slice_eq_str(d.place, "record 1 of the request"));
	drop_view();
}

static void a_bad_document_is_set_aside(void **state)
{
	struct post *p = dead_post("t", "application/json", "{\"a\":");
	struct dead_letter d;

	(void)state;
	p->r.idempotency_header = SLICE_LIT("id");
	check_answer(
		p, 200,
		"{\"topic\":\"t\",\"accepted\":0,\"duplicates\":0,\"rejected\":1,\"offsets\":[],\"errors\":["
		"{\"index\":0,\"code\":\"invalid_json\",\"detail\":\"The body is not well-formed JSON at byte 6: expected a value\"}],"
		"\"dead\":{\"topic\":\"t.dead\",\"records\":1,\"first\":0,\"last\":0}}");
	d = letter_at("t.dead", 0);
	assert_true(slice_eq_str(d.value, "{\"a\":") && slice_eq_str(d.idempotency_key, "id"));
	assert_true(slice_eq_str(d.form, "application/json") && !d.place.ptr);
	expect("t", "application/json", "{\"a\":", 400,
	       "{\"status\":400,\"title\":\"The JSON is not well formed\",\"detail\":\"The body is not "
	       "well-formed JSON at byte 6: expected a value\",\"code\":\"invalid_json\"}");
	drop_view();
}

static void a_unit_that_comes_again_leaves_no_letters_again(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct post *p = dead_post("t", "application/x-ndjson", "1\n{\n");
		p->r.idempotency_header = SLICE_LIT("unit");
		start(p);
		settle(p);
		assert_int_equal(p->r.result.err, 0);
		assert_int_equal(p->r.result.dead_count, i == 0);
		assert_int_equal(p->r.result.duplicates, i);
		post_free(p);
	}
	assert_int_equal(end_of("t.dead", 0), 1);
}

static void without_a_place_for_letters_nothing_is_stored(void **state)
{
	char name[250];
	struct post *p;

	(void)state;
	memset(name, 'n', sizeof(name));
	name[245] = 0; /* with the suffix one too long */
	p = dead_post(name, "application/x-ndjson", "1\n{\n");
	start(p);
	settle(p);
	assert_int_equal(p->r.result.err, ERR_BAD_TOPIC);
	assert_int_equal(end_of(name, 0), 0);
	post_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(bad_lines_are_set_aside),
		CASE(bad_records_of_a_batch_are_set_aside),
		CASE(a_bad_document_is_set_aside),
		CASE(a_unit_that_comes_again_leaves_no_letters_again),
		CASE(without_a_place_for_letters_nothing_is_stored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
