/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a type fills: batches, marks, plans, texts without secrets. The type of lines_test.h runs in the
 * machinery of source_test.h, as types of other rooms do in theirs.
 */
#include "connect/source_test.h"

#include <unistd.h>

#include "connect/lines_test.h"
#include "proto/batch/batch.h"
#include "sys/test_dir.h"

/* ---- the example ---- */

static void write_file(const char *path, const char *text, const char *mode)
{
	FILE *file = fopen(path, mode);

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void the_example_follows_a_file_and_never_repeats(void **state)
{
	char path[TEST_DIR_BYTES], yaml[TEST_DIR_BYTES + 10];
	struct source_test t;

	(void)state;
	assert_true(test_dir_make_file(path, "lines"));
	snprintf(yaml, sizeof(yaml), "path: %s\n", path);
	write_file(path, "one\ntwo\nthr", "w");
	source_test_open(&t, &source_lines, yaml);
	assert_int_equal(source_test_run(&t), SOURCE_IDLE);
	assert_int_equal(t.record_count, 2);
	assert_string_equal(source_test_value(&t, 1), "two");
	write_file(path, "ee\nfour\n", "a");
	source_test_crash(&t);
	assert_int_equal(source_test_pull(&t, "", 1), SOURCE_MORE);
	assert_int_equal(t.record_count, 3);
	assert_string_equal(source_test_value(&t, 2), "three");
	assert_int_equal(source_test_run(&t), SOURCE_IDLE);
	assert_int_equal(t.record_count, 4);
	unlink(path);
	assert_int_equal(source_test_run(&t), SOURCE_FAILED);
	assert_non_null(strstr(t.fault.text, "cannot be opened: No such file or directory"));
	source_test_close(&t);
}

static void settings_of_a_type_are_checked_like_all_others(void **state)
{
	char *text = source_test_check(&source_lines, "paht: /tmp/a\n");

	(void)state;
	assert_string_equal(text, "lines:1:1: unknown key \"paht\": did you mean \"path\"?\n"
				  "lines:1:1: path: missing\n");
	free(text);
}

/* ---- a type that does what the test says ---- */

struct script_settings {
	const char *secret;
	struct conf_map headers;
};

static const struct setting script_table[] = {
	{"secret", NULL, "A secret.", .type = SETTING_STRING, .min = 1, .max = 100, .flags = SETTING_SECRET,
	 SETTING_MEMBER(struct script_settings, secret)},
	{"headers", NULL, "Headers.", .type = SETTING_MAP, .min = 0, .max = 100,
	 SETTING_MEMBER(struct script_settings, headers)},
};

static void (*script)(struct source_part *part, struct source_batch *batch);
static enum source_end script_end;
static void (*script_plan)(struct source_plan *plan);
static const struct script_settings *script_settings;
static struct source *script_source;

static int script_open(const struct source_setup *setup, void **self, struct fault *fault)
{
	(void)fault;
	script_settings = setup->settings;
	script_source = setup->source;
	*self = setup->source;
	return 0;
}

static void script_close(void *self)
{
	(void)self;
}

static enum source_end script_do_plan(void *self, struct source_plan *plan)
{
	(void)self;
	script_plan(plan);
	return SOURCE_IDLE;
}

static enum source_end script_pull(void *self, struct source_part *part, struct source_batch *batch)
{
	(void)self;
	script(part, batch);
	return script_end;
}

/* The same on a loop: the end comes in another turn. */
static struct loop *script_loop;
static struct source_call *script_call;

static int later_open(const struct source_setup *setup, void **self, struct fault *fault)
{
	script_loop = setup->loop;
	return script_open(setup, self, fault);
}

static void end_later(struct loop *loop, struct loop_msg *msg)
{
	(void)loop;
	(void)msg;
	source_done(script_call, script_end);
}

static enum source_end later_pull(void *self, struct source_part *part, struct source_batch *batch)
{
	static struct loop_msg msg = {.run = end_later};

	(void)self;
	script(part, batch);
	script_call = &batch->call;
	loop_post(script_loop, &msg);
	return SOURCE_LATER;
}

#define SCRIPT_KIND                                                                        \
	{                                                                                  \
		.name = "script", .summary = "What a test says", .settings = script_table, \
		.setting_count = 2, .settings_bytes = sizeof(struct script_settings)       \
	}

static const struct source_type source_script = {.kind = SCRIPT_KIND,
						 .flags = SOURCE_BLOCKS,
						 .open = script_open,
						 .close = script_close,
						 .plan = script_do_plan,
						 .pull = script_pull};

static const struct source_type source_absent = {.kind = SCRIPT_KIND, .absent = "libscript"};

static const struct source_type source_later = {.kind = SCRIPT_KIND,
						.open = later_open,
						.close = script_close,
						.pull = later_pull};

static void one_part(struct source_plan *plan)
{
	source_plan_add(plan, &(struct source_plan_part){.name = SLICE_LIT("p")});
}

/* A source with the part "p", planned, whose pulls do what the script says and end so. */
static void open_script(struct source_test *t, void (*does)(struct source_part *, struct source_batch *),
			enum source_end end, const char *yaml)
{
	script = does;
	script_end = end;
	script_plan = one_part;
	source_test_open(t, &source_script, yaml);
	source_test_plan(t);
}

/* ---- batches ---- */

static void add(struct source_batch *b, const char *value)
{
	struct source_record r = SOURCE_RECORD_INIT;

	r.value = slice_str(value);
	source_add(b, &r);
}

static void two_of_three_are_marked(struct source_part *part, struct source_batch *b)
{
	(void)part;
	add(b, "1");
	source_mark(b, 3, SLICE_LIT("a"));
	add(b, "2");
	source_mark(b, 4, SLICE_LIT("second"));
	add(b, "3");
	source_fail(&b->call, SOURCE_FINAL, "the secret is %s, and hunter22 again", script_settings->secret);
}

static void what_stands_behind_the_last_mark_of_a_failed_pull_is_not_entered(void **state)
{
	struct source_test t;

	(void)state;
	open_script(&t, two_of_three_are_marked, SOURCE_FAILED, "secret: hunter22\n");
	assert_int_equal(source_test_pull(&t, "p", 0), SOURCE_FAILED);
	assert_int_equal(t.record_count, 2);
	assert_int_equal(t.parts[0]->part.checkpoint.version, 4);
	assert_true(slice_eq_str(t.parts[0]->part.checkpoint.bytes, "second"));
	assert_string_equal(t.fault.text, "the secret is ***, and *** again");
	assert_int_equal(t.failure, SOURCE_FINAL);
	script_end = SOURCE_IDLE;
	assert_int_equal(source_test_pull(&t, "p", 0), SOURCE_IDLE);
	assert_int_equal(t.record_count, 5);
	source_test_close(&t);
}

static void a_type_on_a_loop_ends_its_calls_later(void **state)
{
	struct source_test t;

	(void)state;
	script = two_of_three_are_marked;
	script_end = SOURCE_MORE;
	source_test_open(&t, &source_later, "secret: hunter22\n");
	source_test_plan(&t);
	assert_int_equal(source_test_pull(&t, "", 0), SOURCE_MORE);
	assert_int_equal(t.record_count, 3);
	source_test_close(&t);
}

static void a_type_without_its_library_says_so_when_it_is_opened(void **state)
{
	struct source_setup setup = {.name = "s"};
	struct fault fault = {0};
	void *self = NULL;

	(void)state;
	assert_int_equal(source_open(&source_absent, &setup, &self, &fault), ERR_NOT_IMPLEMENTED);
	assert_string_equal(fault.text, "this weir was built without libscript");
	assert_null(self);
	assert_int_equal(source_open(&source_script, &setup, &self, &fault), 0);
}

static void a_full_record(struct source_part *part, struct source_batch *b)
{
	struct source_header headers[] = {{SLICE_LIT("h"), SLICE_LIT("v")}, {SLICE_LIT("null"), {NULL, 0}}};
	char text[] = "value";
	struct source_record r = {.topic = SLICE_LIT("other"),
				  .key = SLICE_LIT("key"),
				  .value = slice_str(text),
				  .headers = headers,
				  .header_count = 2,
				  .partition = 7,
				  .timestamp_ms = 99,
				  .idempotency_key = SLICE_LIT("id")};
	struct source_dead dead = {.bytes = slice_str(text),
				   .err = ERR_BAD_JSON,
				   .path = SLICE_LIT("a.csv:17"),
				   .headers = headers,
				   .header_count = 1,
				   .text = "expected a quote"};
	uint8_t *kept = source_alloc(b, 4);

	(void)part;
	source_add(b, &r);
	source_add_dead(b, &dead);
	text[0] = 'X';
	memcpy(kept, "kept", 4);
	r = SOURCE_RECORD_INIT;
	r.value = slice_make(kept, 4);
	r.stays = true;
	source_add(b, &r);
	assert_ptr_equal(b->inner->items[1].value.ptr, kept);
}

static void records_are_copied_whole_unless_they_stay(void **state)
{
	struct source_test t;
	struct slice name, value, rest;

	(void)state;
	open_script(&t, a_full_record, SOURCE_IDLE, "");
	source_test_run(&t);
	assert_int_equal(t.record_count, 2);
	assert_string_equal(source_test_value(&t, 0), "value");
	assert_string_equal(source_test_key(&t, 0), "key");
	assert_string_equal(t.records[0].topic.ptr, "other");
	assert_string_equal(t.records[0].idempotency_key.ptr, "id");
	assert_int_equal(t.records[0].partition, 7);
	assert_int_equal(t.records[0].timestamp_ms, 99);
	assert_int_equal(t.records[0].header_count, 3);
	rest = t.records[0].headers;
	assert_int_equal(batch_header_next(&rest, &name, &value), 1);
	assert_true(slice_eq_str(name, "h") && slice_eq_str(value, "v"));
	assert_int_equal(batch_header_next(&rest, &name, &value), 1);
	assert_null(value.ptr);
	assert_int_equal(batch_header_next(&rest, &name, &value), 1);
	assert_true(slice_eq_str(name, "idempotency-key") && slice_eq_str(value, "id"));
	assert_string_equal(source_test_value(&t, 1), "kept");
	assert_null(t.records[1].topic.ptr);
	assert_int_equal(t.dead_count, 1);
	assert_string_equal(t.deads[0].bytes.ptr, "value");
	assert_string_equal(t.deads[0].path.ptr, "a.csv:17");
	assert_string_equal(t.deads[0].text, "expected a quote");
	assert_null(t.deads[0].key.ptr);
	source_test_close(&t);
}

static void too_much(struct source_part *part, struct source_batch *b)
{
	static char large[1 << 20];
	struct source_record r = SOURCE_RECORD_INIT;

	(void)part;
	r.value = slice_make(large, sizeof(large));
	source_add(b, &r);
	source_mark(b, 1, SLICE_LIT("one"));
	assert_int_equal(b->inner->err, 0);
	for (int i = 0; i < 20; i++)
		source_add(b, &r);
	source_mark(b, 1, SLICE_LIT("none of these"));
	assert_int_equal(b->inner->err, ERR_LIMIT);
}

static void a_batch_that_does_not_fit_is_entered_up_to_its_mark(void **state)
{
	struct source_test t;

	(void)state;
	open_script(&t, too_much, SOURCE_IDLE, "");
	assert_int_equal(source_test_pull(&t, "p", 0), SOURCE_FAILED);
	assert_int_equal(t.record_count, 1);
	assert_true(slice_eq_str(t.parts[0]->part.checkpoint.bytes, "one"));
	source_test_close(&t);
}

/* ---- plans ---- */

static void parts_come_and_go(struct source_plan *plan)
{
	struct source_checkpoint checkpoint;
	bool done = true;

	if (plan->checkpoint.bytes.ptr) {
		assert_true(source_plan_find(plan, SLICE_LIT("a"), &checkpoint, &done));
		assert_true(slice_eq_str(checkpoint.bytes, "begin") && checkpoint.version == 9);
		assert_false(done);
		source_plan_add(plan, &(struct source_plan_part){.name = SLICE_LIT("b")});
		return;
	}
	assert_false(source_plan_find(plan, SLICE_LIT("a"), &checkpoint, &done));
	for (int i = 0; i < 2; i++)
		source_plan_add(plan, &(struct source_plan_part){.name = SLICE_LIT("a"),
								 .checkpoint = {SLICE_LIT("begin"), 9},
								 .total = 5});
	source_plan_add(plan, &(struct source_plan_part){.name = SLICE_LIT("b"), .title = SLICE_LIT("B")});
	source_plan_mark(plan, 2, SLICE_LIT("planned"));
	source_plan_again(script_source);
	source_warn(script_source, "no index on %s", "id");
	source_warn(script_source, "no index on %s", "id");
}

static void plans_add_and_drop_parts(void **state)
{
	struct source_test t;

	(void)state;
	script_plan = parts_come_and_go;
	source_test_open(&t, &source_script, "headers: { a: 1, b: two }\n");
	assert_int_equal(script_settings->headers.count, 2);
	assert_string_equal(script_settings->headers.values[1], "two");
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	assert_int_equal(t.part_count, 2);
	assert_int_equal(t.parts[0]->total, 5);
	assert_string_equal(t.parts[1]->title, "B");
	assert_int_equal(t.plans_wanted, 1);
	assert_int_equal(t.warning_count, 1);
	assert_string_equal(t.warnings[0], "no index on id");
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	assert_int_equal(t.part_count, 1);
	assert_string_equal(t.parts[0]->name, "b");
	source_test_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_follows_a_file_and_never_repeats),
		cmocka_unit_test(settings_of_a_type_are_checked_like_all_others),
		cmocka_unit_test(what_stands_behind_the_last_mark_of_a_failed_pull_is_not_entered),
		cmocka_unit_test(a_type_on_a_loop_ends_its_calls_later),
		cmocka_unit_test(a_type_without_its_library_says_so_when_it_is_opened),
		cmocka_unit_test(records_are_copied_whole_unless_they_stay),
		cmocka_unit_test(a_batch_that_does_not_fit_is_entered_up_to_its_mark),
		cmocka_unit_test(plans_add_and_drop_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
