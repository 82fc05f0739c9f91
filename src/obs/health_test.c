/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "obs/health.h"

static void expect(struct health *h, const char *json, enum health_state state)
{
	enum health_state worst;
	struct buf out;

	buf_init(&out, 4096);
	assert_int_equal(health_write(h, &out, &worst), 0);
	assert_int_equal(buf_append_byte(&out, 0), 0);
	assert_string_equal((const char *)out.ptr, json);
	assert_int_equal(worst, state);
	assert_int_equal(health_ready(h, false), state == HEALTH_OK);
	assert_int_equal(health_ready(h, true), state != HEALTH_DOWN);
	buf_fini(&out);
}

static void weir_is_not_ready_until_it_has_started(void **state)
{
	struct health *h;

	(void)state;
	assert_int_equal(health_new(&h), 0);
	expect(h,
	       "{\"status\":\"down\",\"components\":{\"start\":{\"state\":\"down\",\"reason\":\"starting\"},"
	       "\"ingest\":{\"state\":\"ok\"},\"listeners\":{\"state\":\"ok\"},"
	       "\"dead_letters\":{\"state\":\"ok\"},\"drain\":{\"state\":\"ok\"}}}\n",
	       HEALTH_DOWN);
	health_set(h, COMPONENT_START, HEALTH_OK, "ignored");
	expect(h,
	       "{\"status\":\"ready\",\"components\":{\"start\":{\"state\":\"ok\"},"
	       "\"ingest\":{\"state\":\"ok\"},\"listeners\":{\"state\":\"ok\"},\"dead_letters\":{\"state\":\"ok\"},"
	       "\"drain\":{\"state\":\"ok\"}}}\n",
	       HEALTH_OK);
	health_free(h);
}

static enum health_state probe(void *ctx, char *reason)
{
	const enum health_state *answer = ctx;

	memcpy(reason, "the disk is \"full\"", sizeof("the disk is \"full\""));
	return *answer;
}

static void a_probe_is_asked_and_the_worse_of_two_wins(void **state)
{
	enum health_state answer = HEALTH_READ_ONLY;
	struct health *h;

	(void)state;
	assert_int_equal(health_new(&h), 0);
	health_set(h, COMPONENT_START, HEALTH_OK, NULL);
	health_probe(h, COMPONENT_INGEST, probe, &answer);
	expect(h,
	       "{\"status\":\"read_only\",\"components\":{\"start\":{\"state\":\"ok\"},"
	       "\"ingest\":{\"state\":\"read_only\",\"reason\":\"the disk is \\\"full\\\"\"},"
	       "\"listeners\":{\"state\":\"ok\"},\"dead_letters\":{\"state\":\"ok\"},"
	       "\"drain\":{\"state\":\"ok\"}}}\n",
	       HEALTH_READ_ONLY);
	health_set(h, COMPONENT_INGEST, HEALTH_DOWN, "told so");
	assert_false(health_ready(h, true));
	health_set(h, COMPONENT_INGEST, HEALTH_OK, NULL);
	answer = HEALTH_WARNING;
	assert_true(health_ready(h, false));
	answer = HEALTH_OK;
	assert_true(health_ready(h, false));
	health_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(weir_is_not_ready_until_it_has_started),
		cmocka_unit_test(a_probe_is_asked_and_the_worse_of_two_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
