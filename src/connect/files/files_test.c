/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/files/files.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>
#include <zlib.h>
#include <zstd.h>

#include "base/rand.h"
#include "connect/source_test.h"
#include "sys/test_dir.h"

/* One at a time. */
static struct world {
	char dir[TEST_DIR_BYTES];
	char path[TEST_DIR_BYTES + 64];
	char yaml[1024];
	bool is_open;
	struct source_test t;
} w;

static const char *path_in(const char *name)
{
	(void)snprintf(w.path, sizeof(w.path), "%s/%s", w.dir, name);
	return w.path;
}

static void write_bytes(const char *name, const char *mode, const void *bytes, size_t n)
{
	FILE *f = fopen(path_in(name), mode);

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	fclose(f);
	struct utimbuf old = {1000000000, 1000000000};
	assert_int_equal(utime(w.path, &old), 0); /* nobody writes it */
}

static void write_file(const char *name, const char *text)
{
	write_bytes(name, "w", text, strlen(text));
}

static void append_file(const char *name, const char *text)
{
	write_bytes(name, "a", text, strlen(text));
}

static void rename_file(const char *from, const char *to)
{
	char old[sizeof(w.path)];

	memcpy(old, path_in(from), sizeof(old));
	assert_int_equal(rename(old, path_in(to)), 0);
}

static bool is_there(const char *name)
{
	return access(path_in(name), F_OK) == 0;
}

/* @ in the settings is the directory. */
static void open_world(const char *settings)
{
	size_t n = 0;

	for (; *settings; settings++)
		n += (size_t)snprintf(w.yaml + n, sizeof(w.yaml) - n, "%.*s",
				      *settings == '@' ? (int)strlen(w.dir) : 1,
				      *settings == '@' ? w.dir : settings);
	source_test_open(&w.t, &source_files, w.yaml);
	w.is_open = true;
}

static void make_world(void)
{
	memset(&w, 0, sizeof(w));
	assert_true(test_dir_make(w.dir, "files"));
}

static void end_world(void)
{
	if (w.is_open)
		source_test_close(&w.t);
	assert_true(test_dir_remove(w.dir));
}

static void next_world(void)
{
	end_world();
	make_world();
}

static int set_up(void **state)
{
	(void)state;
	make_world();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	end_world();
	return 0;
}

static void run(void)
{
	if (source_test_run(&w.t) != SOURCE_IDLE)
		fail_msg("%s", w.t.fault.text);
}

/* All values so far, joined by |. */
static void expect(const char *want)
{
	char text[4096] = "";
	size_t n = 0;

	for (uint32_t i = 0; i < w.t.record_count; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i ? "|" : "",
				      source_test_value(&w.t, i));
	assert_string_equal(text, want);
}

static void expect_dead(uint32_t i, int err, const char *place, const char *text)
{
	assert_true(i < w.t.dead_count);
	const struct source_dead_item *d = &w.t.deads[i];
	assert_int_equal(d->err, err);
	if (!strstr((const char *)d->path.ptr, place) || !strstr(d->text, text))
		fail_msg("dead letter at %s: %s", d->path.ptr, d->text);
}

static void takes_each_file_once(void **state)
{
	(void)state;
	write_file("a.ndjson", "{\"a\":1}\n\n {\"a\":2} \r\n[3]");
	write_file("b.jsonl", "\xef\xbb\xbf\"b\"\n");
	write_file("c.ndjson.tmp", "9\n");
	write_file(".hidden.ndjson", "9\n");
	write_file("empty.ndjson", "");
	assert_int_equal(mkdir(path_in("sub.ndjson"), 0777), 0);
	open_world("paths: [@]\nquiet: 5s\n");
	run();
	expect("{\"a\":1}|{\"a\":2}|[3]|\"b\"");
	run();
	source_test_crash(&w.t);
	run();
	/* Its name is nothing to a file; another with the same content is another. */
	rename_file("a.ndjson", "z.ndjson");
	run();
	assert_int_equal(w.t.record_count, 4);
	write_file("copy.jsonl", "\"b\"\n");
	run();
	assert_int_equal(w.t.record_count, 5);
}

static void leaves_a_file_alone_that_is_being_written(void **state)
{
	(void)state;
	write_file("a.lines", "one\ntwo\n");
	assert_int_equal(utime(path_in("a.lines"), NULL), 0); /* now */
	open_world("paths: ['@/*.lines']\nquiet: 1h\n");
	run();
	assert_int_equal(w.t.record_count, 0);
	write_file("a.lines", "one\ntwo\nthree\n");
	run();
	expect("one|two|three");
	/* Its writer had only paused: what it adds is read, and nothing else. */
	append_file("a.lines", "four\n");
	run();
	append_file("a.lines", "five\n");
	source_test_crash(&w.t);
	run();
	run();
	expect("one|two|three|four|five");
}

static void a_bad_line_is_a_dead_letter(void **state)
{
	(void)state;
	write_file("a.ndjson", "1\n{\"a\":\n\n\"\xff\"\n2\n");
	open_world("paths: [@]\n");
	run();
	expect("1|2");
	assert_int_equal(w.t.dead_count, 2);
	expect_dead(0, ERR_BAD_JSON, "/a.ndjson:2", "at byte");
	expect_dead(1, ERR_BAD_JSON, "/a.ndjson:4", "UTF-8");
	assert_string_equal((const char *)w.t.deads[0].bytes.ptr, "{\"a\":");
}

static void reads_rows_with_types(void **state)
{
	(void)state;
	write_file(
		"a.csv",
		"\xef\xbb\xbfid,name,price,ok,\r\n1,\"Ann \"\"A\"\", Lee\",1.5e3,true,x\r\n007,+1,-0,,\"5\"\r\n");
	open_world("paths: [@]\n");
	run();
	expect("{\"id\":1,\"name\":\"Ann \\\"A\\\", Lee\",\"price\":1.5e3,\"ok\":true,\"column5\":\"x\"}|"
	       "{\"id\":\"007\",\"name\":\"+1\",\"price\":-0,\"ok\":null,\"column5\":\"5\"}");
	next_world();

	write_file("b.csv", "1;x;y\n2;z\nx;y;z\n3;\"\xff\";q\n\"open;a;b\n4;a;b\n");
	open_world(
		"paths: [@]\ncsv: { delimiter: ';', header: false, columns: ['n:integer', 'a:text', 'b:infer'] }\n");
	run();
	expect("{\"n\":1,\"a\":\"x\",\"b\":\"y\"}|{\"n\":4,\"a\":\"a\",\"b\":\"b\"}");
	assert_int_equal(w.t.dead_count, 4);
	expect_dead(0, ERR_BAD_RECORD, "b.csv:2", "2 fields, the header 3");
	expect_dead(1, ERR_BAD_RECORD, "b.csv:3", "no integer");
	expect_dead(2, ERR_BAD_RECORD, "b.csv:4", "UTF-8");
	expect_dead(3, ERR_BAD_RECORD, "b.csv:5", "a quote is not closed");
}

static void warns_of_line_ends_that_are_none(void **state)
{
	(void)state;
	write_file("a.csv", "name,size\rx,10\ry,20\r");
	write_file("b.csv", "\"name\rof it\",size\nx,10\n");
	open_world("paths: ['@/*.csv']\n");
	run();
	assert_int_equal(w.t.warning_count, 1);
	assert_non_null(strstr(w.t.warnings[0], "/a.csv has a carriage return within its header"));
}

static void tells_what_nobody_would_see(void **state)
{
	(void)state;
	write_file("a.csv", "id;name\n1;x\n");
	write_file("b.csv", "id,name\n2,\"x\"y\n3,z\n");
	open_world("paths: [@]\ncsv: { columns: ['id:integer', 'name:text'] }\n");
	run();
	assert_int_equal(w.t.record_count, 2);
	assert_int_equal(w.t.warning_count, 1);
	assert_non_null(strstr(w.t.warnings[0], "/a.csv has no column id"));
	expect_dead(0, ERR_BAD_RECORD, "b.csv:2", "is written twice");
	next_world();

	write_file("a.log", "x\n");
	assert_int_equal(chmod(w.path, 0), 0);
	assert_int_equal(chmod(w.dir, 0755), 0);
	open_world("paths: ['@/*.log']\n");
	if (geteuid() != 0) {
		run();
	} else {
		assert_int_equal(seteuid(65534), 0);
		run();
		assert_int_equal(chmod(w.path, 0644), -1);
		assert_int_equal(seteuid(0), 0);
	}
	assert_int_equal(w.t.warning_count, 1);
	assert_non_null(strstr(w.t.warnings[0], "/a.log cannot be read: "));
	assert_int_equal(chmod(w.dir, 0), 0);
	if (geteuid() == 0)
		assert_int_equal(seteuid(65534), 0);
	run();
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(w.dir, 0700), 0);
	assert_int_equal(w.t.warning_count, 2);
}

static void reads_arrays(void **state)
{
	(void)state;
	write_file("a.json", " [ {\"a\":[1,\"]\"]},\n 2, {\"b\" 1}, \"x\" ]\n");
	write_file("b.json", "{\"c\":1}\n{\"c\":2}");
	open_world("paths: [@]\n");
	run();
	expect("{\"a\":[1,\"]\"]}|2|\"x\"|{\"c\":1}|{\"c\":2}");
	expect_dead(0, ERR_BAD_JSON, "a.json:2", "at byte");
}

static void takes_keys_by_a_pointer(void **state)
{
	(void)state;
	write_file("a.ndjson",
		   "{\"k\":{\"id\":7}}\n{\"k\":{\"id\":\"x\\u0041\"}}\n{\"k\":{}}\n{\"k\":{\"id\":null}}\n");
	open_world("paths: [@]\nkey: /k/id\n");
	run();
	assert_int_equal(w.t.record_count, 2);
	assert_string_equal((const char *)w.t.records[0].key.ptr, "7");
	assert_string_equal((const char *)w.t.records[1].key.ptr, "xA");
	assert_int_equal(w.t.dead_count, 2);
	expect_dead(0, ERR_BAD_RECORD, "a.ndjson:3", "id");
	expect_dead(1, ERR_BAD_RECORD, "a.ndjson:4", "null");
	next_world();

	write_file("a.csv", "id,name\n5,Ann\n");
	open_world("paths: [@]\nkey: /name\n");
	run();
	assert_string_equal((const char *)w.t.records[0].key.ptr, "Ann");
}

/* ---- compressed ---- */

static size_t gzip_text(const char *text, uint8_t *out, size_t room)
{
	z_stream z = {0};

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (uint8_t *)(uintptr_t)text;
	z.avail_in = (uInt)strlen(text);
	z.next_out = out;
	z.avail_out = (uInt)room;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	size_t n = room - z.avail_out;
	(void)deflateEnd(&z);
	return n;
}

static void reads_compressed_files(void **state)
{
	uint8_t bytes[1000];
	(void)state;
	size_t n = gzip_text("1\n2\n", bytes, sizeof(bytes));
	n += gzip_text("3\n", bytes + n, sizeof(bytes) - n); /* two streams */
	write_bytes("a.ndjson.gz", "w", bytes, n);
	n = ZSTD_compress(bytes, sizeof(bytes), "a,b\n4,5\n", 8, 3);
	write_bytes("b.csv.zst", "w", bytes, n);
	n = gzip_text("good\nalso good\n", bytes, sizeof(bytes));
	write_bytes("cut.log.gz", "w", bytes, n - 6);
	open_world("paths: [@]\n");
	assert_int_equal(source_test_plan(&w.t), SOURCE_IDLE);
	for (int i = 0; i < 3; i++)
		assert_int_equal(source_test_pull(&w.t, w.t.parts[0]->name, 1), SOURCE_MORE);
	source_test_crash(&w.t); /* goes on in the middle of a stream */
	run();
	expect("1|2|3|{\"a\":4,\"b\":5}|good|also good");
	assert_int_equal(w.t.dead_count, 1);
	expect_dead(0, ERR_BAD_ENCODING, "cut.log.gz", "");
}

/* ---- following ---- */

static void follows_a_file_that_grows_and_is_renamed(void **state)
{
	(void)state;
	write_file("app.log", "one\ntw");
	open_world("paths: ['@/app.log*']\nfollow: true\n");
	run();
	expect("one");
	append_file("app.log", "o\nthree\n");
	run();
	expect("one|two|three");
	append_file("app.log", "four\n");
	rename_file("app.log", "app.log.1");
	append_file("app.log.1", "five\n");
	write_file("app.log", "six\n");
	source_test_crash(&w.t);
	run();
	assert_int_equal(w.t.record_count, 6);
	for (int i = 0; i < 3; i++)
		run();
	assert_int_equal(w.t.record_count, 6);
	assert_int_equal(w.t.dead_count, 0);
}

/* Renamed to what no path fits: it is open, and read to its end. */
static void reads_on_what_was_renamed_away(void **state)
{
	(void)state;
	write_file("app.log", "one\n");
	open_world("paths: ['@/app.log']\nfollow: true\n");
	run();
	append_file("app.log", "two\n");
	rename_file("app.log", "old");
	append_file("old", "three\n");
	write_file("app.log", "four\n");
	run();
	assert_int_equal(w.t.record_count, 4);
	for (int i = 0; i < 5; i++)
		run();
	assert_int_equal(w.t.record_count, 4);
	assert_int_equal(w.t.part_count, 1); /* the old one is let go of */
}

static void reads_anew_what_was_emptied(void **state)
{
	(void)state;
	write_file("app.csv", "id,text\n1,first line of the first\n2,second line\n");
	open_world("paths: ['@/app.csv']\nfollow: true\n");
	run();
	write_file("app.csv", "id,text\n3,x\n"); /* as copytruncate does: the same inode */
	run();
	run();
	append_file("app.csv", "4,y\n");
	run();
	assert_int_equal(w.t.record_count, 4);
	assert_string_equal(source_test_value(&w.t, 2), "{\"id\":3,\"text\":\"x\"}");
	assert_int_equal(w.t.dead_count, 0);
}

/* Its size says nothing then: what stands behind the old place is the middle of a line. */
static void reads_anew_what_was_emptied_and_has_outgrown_its_place(void **state)
{
	(void)state;
	write_file("app.log", "n1\n");
	write_file("app.csv", "id\n1\n");
	open_world("paths: ['@/app.*']\nfollow: true\n");
	run();
	write_file("app.log", "trunc1\ntrunc2\n");
	write_file("app.csv", "name,size\nx,10\n");
	/* Before a plan has seen it, too. */
	for (uint32_t i = 0; i < w.t.part_count; i++)
		assert_int_equal(source_test_pull(&w.t, w.t.parts[i]->name, 0), SOURCE_IDLE);
	assert_int_equal(w.t.record_count, 2);
	for (int i = 0; i < 5; i++)
		run();
	assert_int_equal(w.t.record_count, 5);
	assert_int_equal(w.t.dead_count, 0);
	assert_int_equal(w.t.part_count, 2);
	append_file("app.log", "trunc3\n");
	run();
	assert_string_equal(source_test_value(&w.t, 5), "trunc3");
}

/* ---- what the kernel tells ---- */

static void await_plans(uint32_t wanted)
{
	struct timespec ms = {0, 1000000};

	for (int i = 0; i < 20000 && atomic_load(&w.t.plans_wanted) < wanted; i++)
		(void)nanosleep(&ms, NULL);
	assert_true(atomic_load(&w.t.plans_wanted) >= wanted);
}

static void the_kernel_tells_of_growth_and_of_new_files(void **state)
{
	(void)state;
	write_file("app.log", "one\n");
	open_world("paths: ['@/*.log']\nfollow: true\n");
	run();
	struct source_test_part *p = w.t.parts[0];
	uint32_t woken = atomic_load(&p->woken);
	append_file("app.log", "two\n");
	source_test_await(p, woken + 1);
	assert_int_equal(source_test_pull(&w.t, p->name, 0), SOURCE_IDLE);
	expect("one|two");
	/* Under another name it is still the same. */
	rename_file("app.log", "old");
	woken = atomic_load(&p->woken);
	append_file("old", "three\n");
	source_test_await(p, woken + 1);
	assert_int_equal(source_test_pull(&w.t, p->name, 0), SOURCE_IDLE);
	expect("one|two|three");
	/* A file that is made empty is no part until something is in it. */
	FILE *f = fopen(path_in("app.log"), "w");
	await_plans(1);
	assert_int_equal(source_test_plan(&w.t), SOURCE_IDLE);
	assert_int_equal(w.t.part_count, 1);
	uint32_t plans = atomic_load(&w.t.plans_wanted);
	assert_int_equal(fputs("four\n", f), 1);
	fclose(f);
	await_plans(plans + 1);
	run();
	expect("one|two|three|four");
	/* What does not fit wakes nobody. */
	plans = atomic_load(&w.t.plans_wanted);
	write_file("other.txt", "x\n");
	write_file("a.log.tmp", "x\n");
	write_file("b.log", "five\n");
	await_plans(plans + 1);
	run();
	assert_int_equal(w.t.warning_count, 0);
}

static void half_a_line_stores_no_checkpoint(void **state)
{
	(void)state;
	write_file("app.log", "one\ntw");
	open_world("paths: ['@/*.log']\nfollow: true\n");
	run();
	struct source_test_part *p = w.t.parts[0];
	append_file("app.log", "o");
	assert_int_equal(source_test_pull(&w.t, p->name, 0), SOURCE_IDLE);
	assert_false(w.t.batch.inner->marked);
	append_file("app.log", "\n");
	assert_int_equal(source_test_pull(&w.t, p->name, 0), SOURCE_IDLE);
	assert_true(w.t.batch.inner->marked);
	expect("one|two");
}

/* A pull that the kernel's word caused is no poll: what was renamed away keeps its time. */
static void a_renamed_file_is_given_the_time_of_some_polls(void **state)
{
	(void)state;
	write_file("app.log", "one\n");
	open_world("paths: ['@/app.log']\nfollow: true\n");
	run();
	rename_file("app.log", "old");
	struct source_test_part *p = w.t.parts[0];
	assert_int_equal(source_test_plan(&w.t), SOURCE_IDLE);
	for (int i = 0; i < 10; i++)
		assert_int_equal(source_test_pull(&w.t, p->name, 0), SOURCE_IDLE);
	assert_int_equal(source_test_plan(&w.t), SOURCE_IDLE);
	assert_int_equal(w.t.part_count, 1);
	append_file("old", "two\n");
	run();
	expect("one|two");
}

static void without_the_kernel_files_are_looked_at(void **state)
{
	(void)state;
	write_file("app.log", "one\n");
	open_world("paths: ['@/*.log']\nfollow: true\nwatch: false\n");
	run();
	append_file("app.log", "two\n");
	write_file("b.log", "three\n");
	run();
	expect("one|two|three");
	assert_int_equal(w.t.plans_wanted, 0);
	assert_int_equal(w.t.parts[0]->woken, 0);
}

/* ---- after ---- */

static void moves_or_deletes_what_is_stored(void **state)
{
	(void)state;
	assert_int_equal(mkdir(path_in("done"), 0777), 0);
	write_file("done/a.log", "older\n");
	write_file("a.log", "one\n");
	open_world("paths: ['@/*.log']\nafter: move\nmove_to: '@/done'\n");
	run();
	expect("one");
	assert_false(is_there("a.log"));
	assert_true(is_there("done/a.log") && is_there("done/a.log.1")); /* nothing is written over */
	next_world();

	write_file("a.log", "one\n");
	open_world("paths: ['@/*.log']\nafter: delete\n");
	run();
	run();
	expect("one");
	assert_false(is_there("a.log"));
}

static void a_file_that_grew_is_not_deleted(void **state)
{
	(void)state;
	write_file("a.log", "one\n");
	open_world("paths: ['@/*.log']\nafter: delete\n");
	assert_int_equal(source_test_plan(&w.t), SOURCE_IDLE);
	struct source_test_part *p = w.t.parts[0];
	assert_int_equal(source_test_pull(&w.t, p->name, 1), SOURCE_MORE);
	append_file("a.log", "two\n");
	uint8_t stale[64];
	size_t n = p->part.checkpoint.bytes.len;
	memcpy(stale, p->part.checkpoint.bytes.ptr, n);
	p->part.checkpoint.bytes = slice_make(stale, n); /* of when it was shorter */
	assert_int_equal(source_test_settle(&w.t, p, true), SOURCE_IDLE);
	assert_true(is_there("a.log"));
	p->part.checkpoint.bytes = slice_make(p->bytes, n);
	run();
	expect("one|two");
	assert_false(is_there("a.log"));
	/* Settled again after a crash: it is gone already. */
	assert_int_equal(source_test_settle(&w.t, p, true), SOURCE_IDLE);
}

/* ---- hostile ---- */

/* 48 MiB in one line, of a file of three: two records and a dead letter, in little memory. */
static void a_line_without_end_is_bounded(void **state)
{
	static const char *const names[] = {"a.log", "a.csv", "a.json"};
	static const char *const before[] = {"one\n", "h\none\n", "[\"one\",\""},
				 *const behind[] = {"\nlast\n", "\nlast\n", "\",\"last\"]"};

	(void)state;
	for (int i = 0; i < 3; i++) {
		make_world();
		write_file(names[i], before[i]);
		FILE *f = fopen(w.path, "a");
		char block[4096];
		memset(block, 'x', sizeof(block));
		for (int n = 0; n < 48 * 256; n++)
			assert_int_equal(fwrite(block, 1, sizeof(block), f), sizeof(block));
		fclose(f);
		append_file(names[i], behind[i]);
		open_world("paths: [@]\n");
		run();
		assert_int_equal(w.t.record_count, 2);
		assert_int_equal(w.t.dead_count, 1);
		assert_int_equal(w.t.deads[0].bytes.len, 65536);
		assert_non_null(strstr(source_test_value(&w.t, 1), "last"));
		end_world();
	}
}

/*
 * Fifty times: some pulls of some size, then everything in memory is gone. Files come, grow, are
 * renamed meanwhile. In the end each row is there once.
 */
static void crashes_lose_and_repeat_nothing(void **state)
{
	static const char *const names[] = {"a.ndjson", "b.csv", "c.json", "d.log"};
	static uint8_t seen[4][3000];
	char text[200000];
	struct rand r;

	(void)state;
	rand_seed(&r, 7);
	for (int follow = 0; follow < 2; follow++) {
		make_world();
		memset(seen, 0, sizeof(seen));
		for (int i = 0; i < 4; i++) {
			size_t n = (size_t)snprintf(text, sizeof(text), "%s",
						    i == 1 ? "kind,n,text\n" :
						    i == 2 ? "[" :
							     "");
			for (int row = 0; row < 3000; row++) {
				if (i == 1)
					n += (size_t)snprintf(text + n, sizeof(text) - n, "%d,%d,\"a\nb\"\n",
							      i, row);
				else
					n += (size_t)snprintf(text + n, sizeof(text) - n,
							      "%s{\"kind\":%d,\"n\":%d}\n",
							      i == 2 && row ? "," : "", i, row);
			}
			if (i == 2)
				n += (size_t)snprintf(text + n, sizeof(text) - n, "]");
			if (i != 2 || !follow)
				write_file(names[i], text);
		}
		open_world(follow ? "paths: ['@/*']\nfollow: true\nformat: auto\n" : "paths: ['@/*']\n");
		for (int kill = 0; kill < 50; kill++) {
			assert_int_equal(source_test_plan(&w.t), SOURCE_IDLE);
			for (uint64_t pulls = rand_below(&r, 6); pulls && w.t.part_count; pulls--) {
				struct source_test_part *p = w.t.parts[rand_below(&r, w.t.part_count)];
				if (!p->done)
					assert_int_not_equal(source_test_pull(&w.t, p->name,
									      1 + (uint32_t)rand_below(&r,
												       100)),
							     SOURCE_FAILED);
			}
			if (kill == 20)
				rename_file("d.log", "e.log");
			source_test_crash(&w.t);
		}
		run();
		assert_int_equal(w.t.dead_count, 0);
		for (uint32_t i = 0; i < w.t.record_count; i++) {
			const char *value = source_test_value(&w.t, i);
			assert_memory_equal(value, "{\"kind\":", 8);
			assert_memory_equal(value + 9, ",\"n\":", 5);
			if (seen[value[8] - '0'][strtol(value + 14, NULL, 10)]++)
				fail_msg("%s twice, follow %d", value, follow);
		}
		assert_int_equal(w.t.record_count, follow ? 9000 : 12000);
		end_world();
	}
}

static void says_what_is_wrong(void **state)
{
	static const char *const rows[][2] = {
		{"format: csv\n", "paths"},
		{"paths: [/x]\nafter: move\n", "move_to"},
		{"paths: [/x]\nmove_to: /y\n", "after: move"},
		{"paths: [/x]\nfollow: true\nafter: delete\n", "has no end"},
		{"paths: [/x]\nfollow: true\nformat: json\n", "taken whole"},
		{"paths: [/x]\nformat: lines\nkey: /a\n", "no key"},
		{"paths: [/x]\nkey: a\n", "JSON pointer"},
		{"paths: [/x]\ncsv: { delimiter: '::' }\n", "delimiter"},
		{"paths: [/x]\ncsv: { columns: ['a:float'] }\n", "NAME:TYPE"},
	};
	struct source_test t;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = source_test_check(&source_files, rows[i][0]);
		if (!strstr(text, rows[i][1]))
			fail_msg("%s: %s", rows[i][0], text);
		free(text);
	}
	source_test_setup(&t);
	t.guarded = true;
	assert_int_not_equal(source_test_try(&t, &source_files, "paths: [/etc]\n"), 0);
	assert_non_null(strstr(t.fault.text, "configuration file"));
	source_test_close(&t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(takes_each_file_once),
		TEST(leaves_a_file_alone_that_is_being_written),
		TEST(a_bad_line_is_a_dead_letter),
		TEST(reads_rows_with_types),
		TEST(warns_of_line_ends_that_are_none),
		TEST(tells_what_nobody_would_see),
		TEST(reads_arrays),
		TEST(takes_keys_by_a_pointer),
		TEST(reads_compressed_files),
		TEST(follows_a_file_that_grows_and_is_renamed),
		TEST(reads_on_what_was_renamed_away),
		TEST(reads_anew_what_was_emptied),
		TEST(reads_anew_what_was_emptied_and_has_outgrown_its_place),
		TEST(the_kernel_tells_of_growth_and_of_new_files),
		TEST(half_a_line_stores_no_checkpoint),
		TEST(a_renamed_file_is_given_the_time_of_some_polls),
		TEST(without_the_kernel_files_are_looked_at),
		TEST(moves_or_deletes_what_is_stored),
		TEST(a_file_that_grew_is_not_deleted),
		cmocka_unit_test(a_line_without_end_is_bounded),
		cmocka_unit_test(crashes_lose_and_repeat_nothing),
		cmocka_unit_test(says_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
