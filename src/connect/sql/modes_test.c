/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every mode against a database: SQLite in a file of the test's own, or whatever SQL_TEST_URL names, so that
 * tests/e2e/sql_suite.py runs the same sentences against PostgreSQL and MariaDB.
 */
#include "connect/source_test.h"

#include <stdio.h>
#include <unistd.h>

#include "connect/sql/sql.h"
#include "sys/test_dir.h"

static const char *test_url;
static char url_text[200];
static const struct sql_driver *driver;
static struct sql_session *side; /* what others do to the database meanwhile */

static void run(const char *text)
{
	struct sql_failure why;

	if (driver->run(side, text, NULL, &why))
		fail_msg("%s: %s", text, why.text);
}

static void __attribute__((format(printf, 1, 2))) runf(const char *format, ...)
{
	char text[2000];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	run(text);
}

static struct sql_session *connect_side(void)
{
	struct sql_target target = {.url = test_url, .timeout_ms = 20000};
	struct sql_session *s;
	struct sql_failure why;

	if (driver->connect(&target, true, &s, &why))
		fail_msg("%s", why.text);
	return s;
}

static void __attribute__((format(printf, 2, 3))) open_source(struct source_test *t, const char *format, ...)
{
	char yaml[3000];
	int n = snprintf(yaml, sizeof(yaml), "url: \"%s\"\n", test_url);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(yaml + n, sizeof(yaml) - (size_t)n, format, args);
	va_end(args);
	source_test_open(t, &source_sql, yaml);
}

static void must_run(struct source_test *t)
{
	if (source_test_run(t) == SOURCE_FAILED)
		fail_msg("%s", t->fault.text);
}

/* A run beside the schedule, of what lies between; NULL: no bound. 0, or why it is refused in t->fault. */
static int open_between(struct source_test *t, const char *from, const char *to, const char *settings)
{
	char yaml[3000];

	(void)snprintf(yaml, sizeof(yaml), "url: \"%s\"\n%s", test_url, settings);
	source_test_setup(t);
	t->with_window = true;
	t->window.from = from ? slice_str(from) : slice_null();
	t->window.to = to ? slice_str(to) : slice_null();
	return source_test_try(t, &source_sql, yaml);
}

/* How many of the records the log would keep: a key that came before is a duplicate. */
static uint32_t kept(const struct source_test *t)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->record_count; i++) {
		bool twice = false;
		for (uint32_t k = 0; k < i && !twice && t->records[i].idempotency_key.ptr; k++)
			twice = slice_eq(t->records[i].idempotency_key, t->records[k].idempotency_key);
		n += !twice;
	}
	return n;
}

/* Is there exactly one kept record with this text in its value? */
static uint32_t holding(const struct source_test *t, const char *text)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->record_count; i++)
		n += memmem(t->records[i].value.ptr, t->records[i].value.len, text, strlen(text)) != NULL;
	return n;
}

static void make_numbers(const char *table, int from, int to)
{
	for (int i = from; i < to; i++)
		runf("INSERT INTO %s VALUES (%d, %d, 'row %d')", table, i, i / 2, i);
}

/* ---- full ---- */

static void full_reads_each_row_once(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE f (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	make_numbers("f", 0, 50);
	open_source(&t, "mode: full\ntable: f\n");
	must_run(&t); /* cuts */
	must_run(&t); /* reads */
	assert_int_equal(t.record_count, 50);
	assert_string_equal(t.records[7].value.ptr, "{\"id\":7,\"n\":3,\"name\":\"row 7\"}");
	assert_string_equal(t.records[7].key.ptr, "7");
	must_run(&t);
	assert_int_equal(t.record_count, 50);
	source_test_close(&t);
}

static void full_goes_on_behind_the_last_row_after_a_crash(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE g (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	make_numbers("g", 0, 30);
	open_source(&t, "mode: full\ntable: g\n");
	must_run(&t);
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(source_test_pull(&t, "1/1", 7), SOURCE_MORE);
		source_test_crash(&t);
		assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	}
	assert_int_equal(source_test_pull(&t, "1/1", 7), SOURCE_DONE);
	assert_int_equal(t.record_count, 30);
	for (uint32_t i = 0; i < 30; i++) {
		char text[16];
		(void)snprintf(text, sizeof(text), "\"id\":%u,", i);
		assert_int_equal(holding(&t, text), 1);
	}
	source_test_close(&t);
}

static void full_again_reads_all_again(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE h (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	make_numbers("h", 0, 5);
	open_source(&t, "mode: full\ntable: h\nrepeat: true\n");
	for (int i = 0; i < 3; i++) {
		must_run(&t);
		must_run(&t);
	}
	assert_true(t.record_count >= 10 && t.record_count % 5 == 0);
	source_test_close(&t);
}

static void a_composite_key_of_texts_is_followed_in_its_order(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE k (a VARCHAR(20), b INTEGER, PRIMARY KEY (a, b))");
	for (int i = 0; i < 20; i++)
		runf("INSERT INTO k VALUES ('%c''s', %d)", 'a' + i / 5, i % 5);
	open_source(&t, "mode: full\ntable: k\n");
	must_run(&t);
	source_test_plan(&t);
	while (source_test_pull(&t, "1/1", 3) == SOURCE_MORE)
		source_test_crash(&t);
	assert_int_equal(t.record_count, 20);
	assert_string_equal(t.records[6].key.ptr, "[\"b's\",1]");
	source_test_close(&t);
}

static void a_run_of_full_reads_what_lies_between_and_knows_how_much_that_is(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE fw (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	make_numbers("fw", 0, 50);
	assert_int_equal(open_between(&t, "10", "20", "mode: full\ntable: fw\n"), 0);
	must_run(&t);
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	if (driver->dialect == SQL_SQLITE) /* others guess at the rows of a table so young */
		assert_int_equal(source_test_part(&t, slice_str("1/1"))->total, 10);
	must_run(&t);
	assert_int_equal(t.record_count, 10);
	assert_string_equal(t.records[0].key.ptr, "10");
	source_test_close(&t);
	assert_int_equal(open_between(&t, "45", NULL, "mode: full\ntable: fw\n"), 0);
	must_run(&t);
	must_run(&t);
	assert_int_equal(t.record_count, 5);
	source_test_close(&t);
}

/* Without, all of it would be read once more, and nobody would be told. */
static void a_bound_that_nothing_looks_at_is_refused(void **state)
{
	static const char with[] =
		"mode: query\nquery: \"SELECT id FROM bw WHERE id >= coalesce(:from, 0)\"\n";
	struct source_test t;

	(void)state;
	run("CREATE TABLE bw (id INTEGER)");
	run("INSERT INTO bw VALUES (1), (2)");
	assert_int_equal(open_between(&t, "2", NULL, "mode: query\nquery: \"SELECT id FROM bw\"\n"), -1);
	assert_non_null(strstr(t.fault.text, "--from needs :from"));
	source_test_close(&t);
	assert_int_equal(open_between(&t, NULL, "2", with), -1);
	assert_non_null(strstr(t.fault.text, "--to needs :to"));
	source_test_close(&t);
	assert_int_equal(open_between(&t, "2", NULL, with), 0);
	must_run(&t);
	assert_int_equal(t.record_count, 1);
	source_test_close(&t);
	assert_int_equal(open_between(&t, "2", NULL, "mode: full\ntable: bw\n"), 0);
	assert_int_equal(source_test_run(&t), SOURCE_FAILED);
	assert_non_null(strstr(t.fault.text, "no primary key: name one with `key`"));
	source_test_close(&t);
}

static void infinities_are_words(void **state)
{
	struct source_test t;

	(void)state;
	if (driver->dialect != SQL_SQLITE)
		skip();
	run("CREATE TABLE inf (x REAL PRIMARY KEY, y)");
	run("INSERT INTO inf VALUES (-9e999, 1), (0.5, -9e999), (9e999, 9e999 - 9e999)");
	open_source(&t, "mode: full\ntable: inf\n");
	must_run(&t);
	source_test_plan(&t);
	while (source_test_pull(&t, "1/1", 1) == SOURCE_MORE)
		source_test_crash(&t); /* and each of them is a place to go on behind */
	assert_int_equal(t.record_count, 3);
	assert_string_equal(t.records[0].value.ptr, "{\"x\":\"-Infinity\",\"y\":1}");
	assert_string_equal(t.records[1].value.ptr, "{\"x\":0.5,\"y\":\"-Infinity\"}");
	assert_string_equal(t.records[2].value.ptr, "{\"x\":\"Infinity\",\"y\":null}");
	source_test_close(&t);
}

static void a_test_tells_that_deletions_are_not_seen(void **state)
{
	char yaml[3000];
	struct source_test t;

	(void)state;
	run("CREATE TABLE td (id INTEGER PRIMARY KEY)");
	(void)snprintf(yaml, sizeof(yaml), "url: \"%s\"\nmode: full\ntable: td\n", test_url);
	source_test_setup(&t);
	t.test = true;
	assert_int_equal(source_test_try(&t, &source_sql, yaml), 0);
	assert_int_equal(t.warning_count, 1);
	source_test_close(&t);
}

/* ---- incremental ---- */

static void incremental_brings_what_is_new(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE i (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	run("CREATE INDEX i_n ON i (n)");
	make_numbers("i", 0, 10);
	open_source(&t, "mode: incremental\ntable: i\ncursor: [n]\n");
	must_run(&t);
	assert_int_equal(kept(&t), 10);
	must_run(&t);
	assert_int_equal(kept(&t), 10);
	make_numbers("i", 10, 13);
	must_run(&t);
	assert_int_equal(kept(&t), 13);
	run("UPDATE i SET n = 100, name = 'changed' WHERE id = 3");
	must_run(&t);
	assert_int_equal(kept(&t), 14);
	assert_int_equal(t.warning_count, 0);
	source_test_crash(&t);
	make_numbers("i", 202, 204);
	must_run(&t);
	assert_int_equal(kept(&t), 16);
	source_test_close(&t);
}

static void equal_values_at_the_edge_are_not_skipped(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE e (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	run("INSERT INTO e VALUES (5, 1, 'five'), (7, 1, 'seven')");
	open_source(&t, "mode: incremental\ntable: e\ncursor: n\n");
	must_run(&t);
	must_run(&t);
	run("INSERT INTO e VALUES (3, 1, 'three'), (6, 1, 'six'), (9, 1, 'nine')");
	must_run(&t);
	assert_int_equal(kept(&t), 5);
	assert_int_equal(holding(&t, "three"), 1);
	assert_true(t.warning_count >= 1); /* no index */
	source_test_close(&t);
}

static void a_late_commit_is_not_skipped(void **state)
{
	struct sql_session *late;
	struct sql_failure why;
	struct source_test t;

	(void)state;
	if (driver->dialect == SQL_SQLITE)
		skip(); /* one writer at a time */
	run("CREATE TABLE l (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	run("CREATE INDEX l_n ON l (n)");
	late = connect_side();
	open_source(&t, "mode: incremental\ntable: l\ncursor: n\n");
	for (int i = 0; i < 6; i++) {
		char text[100];
		assert_int_equal(driver->run(late, "BEGIN", NULL, &why), 0);
		(void)snprintf(text, sizeof(text), "INSERT INTO l VALUES (%d, %d, 'late %d')", i * 10, i * 10,
			       i);
		assert_int_equal(driver->run(late, text, NULL, &why), 0);
		for (int k = 1; k < 10; k++) {
			runf("INSERT INTO l VALUES (%d, %d, 'x')", i * 10 + k, i * 10 + k);
			if (k % 3 == 0)
				must_run(&t);
			if (k == 6 && i % 2)
				source_test_crash(&t);
		}
		assert_int_equal(kept(&t), (uint32_t)i * 10 + 9);
		assert_int_equal(driver->run(late, "COMMIT", NULL, &why), 0);
		must_run(&t);
		assert_int_equal(kept(&t), (uint32_t)i * 10 + 10);
	}
	driver->close(late);
	source_test_close(&t);
}

static void an_interrupted_scan_goes_on_and_finds_what_came_meanwhile(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE s (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	run("CREATE INDEX s_n ON s (n)");
	make_numbers("s", 0, 40);
	open_source(&t, "mode: incremental\ntable: s\ncursor: n\n");
	source_test_plan(&t);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(source_test_pull(&t, "", 6), SOURCE_MORE);
		source_test_crash(&t);
		source_test_plan(&t);
		runf("INSERT INTO s VALUES (%d, 0, 'behind')", 1000 + i);
	}
	for (int i = 0; i < 4; i++)
		must_run(&t);
	assert_int_equal(kept(&t), 45);
	source_test_close(&t);
}

static void a_poll_that_finds_nothing_asks_once(void **state)
{
	struct source_test t;
	uint64_t before;

	(void)state;
	run("CREATE TABLE q (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	run("CREATE INDEX q_n ON q (n)");
	make_numbers("q", 0, 10);
	open_source(&t, "mode: incremental\ntable: q\ncursor: n\nlate_commits: 0s\n");
	for (int i = 0; i < 5; i++)
		must_run(&t);
	before = t.requests;
	must_run(&t);
	assert_int_equal(t.requests, before + 1);
	assert_true(t.batch.unchanged);
	assert_int_equal(kept(&t), 10);
	source_test_close(&t);
}

static void start_and_window_bound_the_cursor(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE w (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	make_numbers("w", 0, 40);
	open_source(&t, "mode: incremental\ntable: w\ncursor: id\nstart: 30\n");
	must_run(&t);
	run("INSERT INTO w VALUES (-4, 0, 'low'), (99, 0, 'high')");
	must_run(&t);
	must_run(&t);
	assert_int_equal(kept(&t), 11);
	source_test_close(&t);
}

/* ---- change_log ---- */

static void a_change_log_is_worked_off(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE c (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	make_numbers("c", 0, 25);
	open_source(&t, "mode: change_log\ntable: c\n");
	must_run(&t);
	assert_int_equal(t.record_count, 25);
	make_numbers("c", 0, 3); /* a key that is used again is a new change */
	must_run(&t);
	assert_int_equal(t.record_count, 28);
	must_run(&t);
	assert_int_equal(t.record_count, 28);
	source_test_close(&t);
}

static void settling_again_touches_nothing_that_is_new(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE d (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	make_numbers("d", 0, 5);
	open_source(&t, "mode: change_log\ntable: d\n");
	must_run(&t);
	make_numbers("d", 2, 3);
	run("UPDATE d SET name = 'another' WHERE id = 2");
	assert_int_equal(source_test_settle(&t, source_test_part(&t, slice_str("")), true), SOURCE_IDLE);
	must_run(&t);
	assert_int_equal(t.record_count, 6);
	assert_int_equal(holding(&t, "another"), 1);
	source_test_close(&t);
}

static void a_change_log_can_be_marked(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE m (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	make_numbers("m", 0, 5);
	open_source(
		&t,
		"mode: change_log\ntable: m\nafter: mark\nmark: \"name = 'done'\"\nwhere: \"name <> 'done'\"\n");
	must_run(&t);
	must_run(&t);
	assert_int_equal(t.record_count, 5);
	source_test_close(&t);
}

/* ---- query ---- */

static void a_query_has_its_parameters(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE p (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	make_numbers("p", 0, 20);
	open_source(
		&t,
		"mode: query\nquery: \"SELECT id, name AS label FROM p WHERE id > coalesce(:cursor, -1) AND name <> ':cursor'\"\n"
		"cursor: id\nkey: id\n");
	must_run(&t);
	assert_int_equal(t.record_count, 20);
	assert_string_equal(t.records[3].value.ptr, "{\"id\":3,\"label\":\"row 3\"}");
	make_numbers("p", 20, 22);
	source_test_crash(&t);
	must_run(&t);
	assert_int_equal(t.record_count, 22);
	source_test_close(&t);
}

/* ---- columns that change ---- */

static void a_column_that_is_added_is_seen_by_the_next_poll(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE ca (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	make_numbers("ca", 0, 3);
	open_source(&t, "mode: incremental\ntable: ca\ncursor: [id]\n");
	must_run(&t);
	assert_int_equal(t.record_count, 3);
	run("ALTER TABLE ca ADD COLUMN more VARCHAR(9) DEFAULT 'x'");
	run("INSERT INTO ca VALUES (3, 1, 'row 3', 'y')");
	assert_int_equal(source_test_pull(&t, "", 0), SOURCE_MORE); /* not a failure: a plan is wanted */
	assert_int_equal(t.record_count, 3);
	assert_true(atomic_load(&t.plans_wanted) > 0);
	must_run(&t);
	assert_int_equal(kept(&t), 4);
	assert_string_equal(t.records[t.record_count - 1].value.ptr,
			    "{\"id\":3,\"n\":1,\"name\":\"row 3\",\"more\":\"y\"}");
	source_test_crash(&t);
	run("ALTER TABLE ca ADD COLUMN again INTEGER");
	run("INSERT INTO ca VALUES (4, 2, 'row 4', 'z', 44)");
	must_run(&t);
	assert_int_equal(kept(&t), 5);
	assert_int_equal(holding(&t, "\"again\":44"), 1);
	source_test_close(&t);
}

static void what_was_taken_is_settled_though_a_column_was_added(void **state)
{
	struct source_test t;

	(void)state;
	run("CREATE TABLE cs (id INTEGER PRIMARY KEY, n INTEGER, name VARCHAR(40))");
	make_numbers("cs", 0, 5);
	open_source(&t, "mode: change_log\ntable: cs\n");
	must_run(&t);
	assert_int_equal(t.record_count, 5);
	make_numbers("cs", 2, 4); /* as if they had not been deleted yet */
	run("ALTER TABLE cs ADD COLUMN more INTEGER DEFAULT 7");
	source_test_crash(&t);
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	assert_int_equal(source_test_settle(&t, source_test_part(&t, slice_str("")), true), SOURCE_IDLE);
	must_run(&t);
	assert_int_equal(t.record_count, 5);
	source_test_close(&t);
}

/* ---- mistakes ---- */

static void expect_failure(const char *yaml, const char *text)
{
	struct source_test t;
	bool found;

	open_source(&t, "%s", yaml);
	assert_int_equal(source_test_run(&t), SOURCE_FAILED);
	found = strstr(t.fault.text, text) != NULL;
	if (!found)
		print_error("got: %s\n", t.fault.text);
	assert_true(found);
	assert_int_equal(t.failure, SOURCE_FINAL);
	source_test_close(&t);
}

static void mistakes_are_named(void **state)
{
	(void)state;
	run("CREATE TABLE x (id INTEGER PRIMARY KEY, n INTEGER)");
	run("CREATE TABLE nokey (n INTEGER)");
	expect_failure("mode: full\ntable: nowhere\n", "nowhere");
	expect_failure("mode: incremental\ntable: x\ncursor: gone\n", "gone");
	expect_failure("mode: incremental\ntable: nokey\ncursor: n\n", "no primary key");
	expect_failure("mode: full\ntable: x\ncolumns: [id, missing]\n", "missing");
	expect_failure("mode: query\nquery: \"SELECT id FROM x WHERE id > :what\"\n", ":what");
	expect_failure("mode: query\nquery: \"WITH a AS (SELECT 1) DELETE FROM x\"\n", "");
}

static void settings_are_checked(void **state)
{
	static const char *const wrong[][2] = {
		{"url: oracle://x\nmode: full\ntable: t\n", "none of these"},
		{"url: sqlite:x\nmode: query\nquery: DELETE FROM t\n", "not a SELECT"},
		{"url: sqlite:x\nmode: incremental\ntable: t\n", "at least one column"},
		{"url: sqlite:x\nmode: change_log\ntable: t\nafter: mark\n", "to mark rows"},
		{"url: sqlite:x\nmode: full\n", "needs it"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char *text = source_test_check(&source_sql, wrong[i][0]);
		if (!strstr(text, wrong[i][1]))
			fail_msg("%s: %s", wrong[i][0], text);
		free(text);
	}
}

static int set_up(void **state)
{
	char path[TEST_DIR_BYTES];

	(void)state;
	test_url = getenv("SQL_TEST_URL");
	if (!test_url) {
		assert_true(test_dir_make_file(path, "sql"));
		(void)snprintf(url_text, sizeof(url_text), "sqlite://%s", path);
		test_url = url_text;
	}
	driver = sql_driver_find(test_url);
	if (!driver)
		return 0;
	side = connect_side();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (side)
		driver->close(side);
	if (url_text[0])
		unlink(url_text + 9);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_reads_each_row_once),
		cmocka_unit_test(full_goes_on_behind_the_last_row_after_a_crash),
		cmocka_unit_test(full_again_reads_all_again),
		cmocka_unit_test(a_composite_key_of_texts_is_followed_in_its_order),
		cmocka_unit_test(a_run_of_full_reads_what_lies_between_and_knows_how_much_that_is),
		cmocka_unit_test(a_bound_that_nothing_looks_at_is_refused),
		cmocka_unit_test(infinities_are_words),
		cmocka_unit_test(a_test_tells_that_deletions_are_not_seen),
		cmocka_unit_test(incremental_brings_what_is_new),
		cmocka_unit_test(equal_values_at_the_edge_are_not_skipped),
		cmocka_unit_test(a_late_commit_is_not_skipped),
		cmocka_unit_test(an_interrupted_scan_goes_on_and_finds_what_came_meanwhile),
		cmocka_unit_test(a_poll_that_finds_nothing_asks_once),
		cmocka_unit_test(start_and_window_bound_the_cursor),
		cmocka_unit_test(a_change_log_is_worked_off),
		cmocka_unit_test(settling_again_touches_nothing_that_is_new),
		cmocka_unit_test(a_change_log_can_be_marked),
		cmocka_unit_test(a_query_has_its_parameters),
		cmocka_unit_test(a_column_that_is_added_is_seen_by_the_next_poll),
		cmocka_unit_test(what_was_taken_is_settled_though_a_column_was_added),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(settings_are_checked),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
