/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/cloudevents/cloudevents.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"

static struct arena arena;

static int set_up(void **state)
{
	(void)state;
	arena_init(&arena, 4096, 1 << 20);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

static void tells_the_mode_from_the_type(void **state)
{
	static const struct {
		const char *type;
		bool ce;
		enum cloudevents_mode mode;
	} rows[] = {
		{"application/json", false, CLOUDEVENTS_NONE},
		{"application/json", true, CLOUDEVENTS_BINARY},
		{NULL, true, CLOUDEVENTS_BINARY},
		{NULL, false, CLOUDEVENTS_NONE},
		{"application/cloudevents+json", false, CLOUDEVENTS_STRUCTURED},
		{"Application/CloudEvents+JSON ; charset=utf-8", true, CLOUDEVENTS_STRUCTURED},
		{"application/cloudevents-batch+json", false, CLOUDEVENTS_BATCHED},
		{"application/cloudevents-batch+JSON;x=y", false, CLOUDEVENTS_BATCHED},
		{"application/cloudevents+avro", false, CLOUDEVENTS_UNSUPPORTED},
		{"application/cloudevents", false, CLOUDEVENTS_UNSUPPORTED},
		{"application/cloudevents-batch+avro", true, CLOUDEVENTS_UNSUPPORTED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(cloudevents_mode(slice_str(rows[i].type), rows[i].ce), rows[i].mode);
	assert_true(cloudevent_is_header(SLICE_LIT("CE-id")));
	assert_false(cloudevent_is_header(SLICE_LIT("cee-id")));
	assert_false(cloudevent_is_header(SLICE_LIT("ce")));
}

static int read_one(struct cloudevent *e, const char *text)
{
	struct json_cursor c;
	int rc;

	json_cursor_init(&c, slice_str(text));
	rc = cloudevent_read(e, &c, &arena);
	if (rc == 0 || rc == ERR_BAD_EVENT)
		assert_int_equal(json_end(&c), 0);
	return rc;
}

static struct slice attribute(const struct cloudevent *e, const char *name)
{
	for (uint32_t i = 0; i < e->attribute_count; i++)
		if (slice_eq_str(e->attributes[i].name, name))
			return e->attributes[i].value;
	return slice_null();
}

#define HEAD "{\"specversion\":\"1.0\",\"id\":\"a b\",\"source\":\"/s\",\"type\":\"t.x\""

static void reads_a_structured_event(void **state)
{
	struct cloudevent e;
	struct slice key;

	(void)state;
	assert_int_equal(read_one(&e, HEAD
				  ",\"time\":\"2024-02-29T23:59:60.5+01:00\",\"subject\":\"caf\\u00e9\","
				  "\"count\":-5,\"flag\":true,\"none\":null,\"partitionkey\":\"k\","
				  "\"datacontenttype\":\"application/vnd.x+json\",\"data\":{ \"a\" : 1.50 }}"),
			 0);
	assert_int_equal(e.attribute_count, 9);
	assert_true(slice_eq_str(attribute(&e, "ce_specversion"), "1.0"));
	assert_true(slice_eq_str(attribute(&e, "ce_id"), "a b"));
	assert_true(slice_eq_str(attribute(&e, "ce_subject"), "caf\xc3\xa9"));
	assert_true(slice_eq_str(attribute(&e, "ce_count"), "-5"));
	assert_true(slice_eq_str(attribute(&e, "ce_flag"), "true"));
	assert_null(attribute(&e, "ce_none").ptr);
	assert_null(attribute(&e, "ce_datacontenttype").ptr);
	assert_true(slice_eq_str(e.content_type, "application/vnd.x+json"));
	assert_true(slice_eq_str(e.partition_key, "k"));
	assert_true(slice_eq_str(e.data, "{ \"a\" : 1.50 }"));
	assert_int_equal(cloudevent_key(&e, &key), 0);
	assert_true(slice_eq_str(key, "/s a b"));
}

static void data_takes_the_form_its_type_says(void **state)
{
	struct cloudevent e;

	(void)state;
	assert_int_equal(read_one(&e, HEAD "}"), 0);
	assert_null(e.data.ptr);
	assert_null(e.content_type.ptr);
	assert_int_equal(read_one(&e, HEAD ",\"data\":null}"), 0);
	assert_true(slice_eq_str(e.data, "null"));
	assert_int_equal(read_one(&e, HEAD ",\"data\":\"x\\ty\"}"), 0);
	assert_true(slice_eq_str(e.data, "\"x\\ty\""));
	assert_int_equal(read_one(&e, HEAD ",\"data\":\"x\\ty\",\"datacontenttype\":\"text/plain\"}"), 0);
	assert_true(slice_eq_str(e.data, "x\ty"));
	assert_int_equal(read_one(&e, HEAD ",\"data\":[1, 2],\"datacontenttype\":\"text/plain\"}"), 0);
	assert_true(slice_eq_str(e.data, "[1, 2]"));
	assert_int_equal(read_one(&e, HEAD ",\"data_base64\":\"AP8=\",\"datacontenttype\":\"image/png\"}"),
			 0);
	assert_true(slice_eq(e.data, slice_make("\x00\xff", 2)));
	assert_int_equal(read_one(&e, HEAD ",\"data_base64\":\"\"}"), 0);
	assert_true(e.data.ptr && e.data.len == 0);
	assert_int_equal(read_one(&e, HEAD ",\"data\":1,\"data_base64\":null}"), 0);
	assert_true(slice_eq_str(e.data, "1"));
}

static void refuses_with_a_sentence(void **state)
{
	static const struct {
		const char *text, *sentence;
	} rows[] = {
		{"7", "An event is not an object"},
		{"{}", "The required attribute 'specversion' is missing"},
		{"{\"specversion\":\"1.0\"}", "The required attribute 'id' is missing"},
		{"{\"specversion\":\"0.3\"}", "The attribute 'specversion' is '0.3': expected 1.0"},
		{"{\"specversion\":1}", "The attribute 'specversion' is not a string"},
		{"{\"specversion\":null}", "The required attribute 'specversion' is missing"},
		{"{\"id\":\"\"}", "The attribute 'id' is empty"},
		{"{\"source\":\"a b\"}", "The attribute 'source' holds a blank: expected a URI reference"},
		{HEAD ",\"id\":\"2\"}", "The attribute 'id' comes twice"},
		{HEAD ",\"my-ext\":\"2\"}",
		 "The attribute name 'my-ext' is not valid: expected lower case letters and digits"},
		{HEAD ",\"Ext\":\"2\"}",
		 "The attribute name 'Ext' is not valid: expected lower case letters and digits"},
		{HEAD ",\"\":\"2\"}",
		 "The attribute name '' is not valid: expected lower case letters and digits"},
		{HEAD ",\"x\":1.5}", "The attribute 'x' is not an integer of 32 bits"},
		{HEAD ",\"x\":2147483648}", "The attribute 'x' is not an integer of 32 bits"},
		{HEAD ",\"x\":{}}", "The attribute 'x' is neither string, boolean nor integer"},
		{HEAD ",\"x\":\"\\u0007\"}", "The attribute 'x' holds a control character"},
		{HEAD ",\"x\":\"\\u0085\"}", "The attribute 'x' holds a control character"},
		{HEAD ",\"x\":\"\\ud800\"}", "The attribute 'x' has half a surrogate pair"},
		{HEAD ",\"time\":\"yesterday\"}",
		 "The attribute 'time' is 'yesterday': expected an RFC 3339 timestamp"},
		{HEAD ",\"time\":\"2023-02-29T00:00:00Z\"}",
		 "The attribute 'time' is '2023-02-29T00:00:00Z': expected an RFC 3339 timestamp"},
		{HEAD ",\"time\":\"2023-02-28T00:00:00\"}",
		 "The attribute 'time' is '2023-02-28T00:00:00': expected an RFC 3339 timestamp"},
		{HEAD ",\"datacontenttype\":\"text\"}",
		 "The attribute 'datacontenttype' is not a media type"},
		{HEAD ",\"data\":1,\"data\":2}", "The member 'data' comes twice"},
		{HEAD ",\"data\":1,\"data_base64\":\"AA==\"}", "The event has both data and data_base64"},
		{HEAD ",\"data_base64\":\"A\"}",
		 "The member 'data_base64' is not base64 (RFC 4648 section 4, padded)"},
		{HEAD ",\"data_base64\":1}", "The member 'data_base64' is not a string"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cloudevent e;
		int rc = read_one(&e, rows[i].text);
		if (rc != ERR_BAD_EVENT || strcmp(e.fault.text, rows[i].sentence) != 0)
			fail_msg("%s: %d %s", rows[i].text, rc, e.fault.text);
	}
}

static void a_batch_goes_on_behind_a_bad_event(void **state)
{
	struct json_cursor c;
	struct cloudevent e;

	(void)state;
	json_cursor_init(&c, SLICE_LIT("[" HEAD "}, {\"id\":\"\",\"data\":[1,{}],\"x\":2}, [1], " HEAD
				       ",\"data\":2} ]"));
	assert_int_equal(json_array_begin(&c), 0);
	assert_true(json_array_next(&c));
	assert_int_equal(cloudevent_read(&e, &c, &arena), 0);
	assert_true(json_array_next(&c));
	assert_int_equal(cloudevent_read(&e, &c, &arena), ERR_BAD_EVENT);
	assert_true(json_array_next(&c));
	assert_int_equal(cloudevent_read(&e, &c, &arena), ERR_BAD_EVENT);
	assert_true(json_array_next(&c));
	assert_int_equal(cloudevent_read(&e, &c, &arena), 0);
	assert_true(slice_eq_str(e.data, "2"));
	assert_false(json_array_next(&c));
	assert_int_equal(json_end(&c), 0);
	json_cursor_init(&c, SLICE_LIT("{\"id\":\"\",}"));
	assert_int_equal(cloudevent_read(&e, &c, &arena), ERR_BAD_JSON);
	assert_int_equal(c.error.at, 9);
}

static void begin_binary(struct cloudevent *e)
{
	cloudevent_begin(e, &arena);
	assert_int_equal(cloudevent_header(e, SLICE_LIT("ce-specversion"), SLICE_LIT("1.0")), 0);
	assert_int_equal(cloudevent_header(e, SLICE_LIT("Ce-Id"), SLICE_LIT(" 42 ")), 0);
	assert_int_equal(cloudevent_header(e, SLICE_LIT("CE-SOURCE"), SLICE_LIT("/caf%C3%a9")), 0);
	assert_int_equal(cloudevent_header(e, SLICE_LIT("ce-type"), SLICE_LIT("\"t \\\"%20\\\\\"")), 0);
	assert_int_equal(cloudevent_header(e, SLICE_LIT("Content-Length"), SLICE_LIT("\xff")), 0);
}

static void reads_a_binary_event(void **state)
{
	struct cloudevent e;

	(void)state;
	begin_binary(&e);
	assert_int_equal(cloudevent_end(&e, SLICE_LIT("text/plain; charset=latin1"), SLICE_LIT("body")), 0);
	assert_int_equal(e.attribute_count, 4);
	assert_true(slice_eq_str(attribute(&e, "ce_id"), "42"));
	assert_true(slice_eq_str(attribute(&e, "ce_source"), "/caf\xc3\xa9"));
	assert_true(slice_eq_str(attribute(&e, "ce_type"), "t \" \\"));
	assert_true(slice_eq_str(e.content_type, "text/plain; charset=latin1"));
	assert_true(slice_eq_str(e.data, "body"));
	begin_binary(&e);
	assert_int_equal(cloudevent_end(&e, slice_null(), slice_make("", 0)), 0);
	assert_null(e.data.ptr);
	assert_null(e.content_type.ptr);
}

static void refuses_bad_headers(void **state)
{
	static const struct {
		const char *name, *value, *sentence;
	} rows[] = {
		{"ce-datacontenttype", "text/plain",
		 "The header 'ce-datacontenttype' is not allowed: Content-Type says it"},
		{"ce-data", "x", "The header 'ce-data' is not allowed: the body is the data"},
		{"ce-x", "100%", "The header 'ce-x' has a '%' without two hexadecimal digits"},
		{"ce-x", "%4", "The header 'ce-x' has a '%' without two hexadecimal digits"},
		{"ce-x", "%g0", "The header 'ce-x' has a '%' without two hexadecimal digits"},
		{"ce-x", "%ff", "The header 'ce-x' is not UTF-8 after percent-decoding"},
		{"ce-x", "\xff", "The header 'ce-x' is not UTF-8"},
		{"ce-x", "\"a", "The quoted string of the header 'ce-x' is not ended"},
		{"ce-x", "\"a\\", "The quoted string of the header 'ce-x' is not ended"},
		{"ce-x", "\"a\"b", "The quoted string of the header 'ce-x' is not ended"},
		{"ce-x", "%00", "The attribute 'x' holds a control character"},
		{"ce-my_x", "1",
		 "The attribute name 'my_x' is not valid: expected lower case letters and digits"},
		{"ce-", "1", "The attribute name '' is not valid: expected lower case letters and digits"},
		{"ce-ID", "2", "The attribute 'id' comes twice"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cloudevent e;
		begin_binary(&e);
		assert_int_equal(cloudevent_header(&e, slice_str(rows[i].name), slice_str(rows[i].value)),
				 ERR_BAD_EVENT);
		if (strcmp(e.fault.text, rows[i].sentence) != 0)
			fail_msg("%s: %s", rows[i].name, e.fault.text);
		assert_int_equal(cloudevent_end(&e, slice_null(), slice_null()), ERR_BAD_EVENT);
		assert_string_equal(e.fault.text, rows[i].sentence);
	}
}

static void limits_attributes_and_memory(void **state)
{
	struct cloudevent e;
	char name[16];
	int rc = 0;

	(void)state;
	begin_binary(&e);
	for (int i = 4; i <= 64 && rc == 0; i++) {
		(void)snprintf(name, sizeof(name), "ce-x%d", i);
		rc = cloudevent_header(&e, slice_str(name), SLICE_LIT("v"));
	}
	assert_int_equal(rc, ERR_BAD_EVENT);
	assert_int_equal(e.attribute_count, CLOUDEVENT_ATTRIBUTES_MAX);
	assert_string_equal(e.fault.text, "The event has more than 64 attributes");
	arena_fini(&arena);
	mem_fail_at(1);
	assert_int_equal(read_one(&e, HEAD "}"), ERR_NOMEM);
	mem_fail_at(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tells_the_mode_from_the_type, set_up, tear_down),
		cmocka_unit_test_setup_teardown(reads_a_structured_event, set_up, tear_down),
		cmocka_unit_test_setup_teardown(data_takes_the_form_its_type_says, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refuses_with_a_sentence, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_batch_goes_on_behind_a_bad_event, set_up, tear_down),
		cmocka_unit_test_setup_teardown(reads_a_binary_event, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refuses_bad_headers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(limits_attributes_and_memory, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
