/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "conf/conf.h"
#include "conf/setting.h"
#include "conf/value.h"

/* ---- a world of our own ---- */

static const char *variable(void *self, const char *name)
{
	(void)self;
	if (strcmp(name, "PORT") == 0)
		return "9999";
	if (strcmp(name, "SECRET") == 0)
		return "hunter2hunter2";
	return strcmp(name, "EMPTY") == 0 ? "" : NULL;
}

static int file(void *self, const char *path, size_t bytes_max, struct buf *out, uint32_t *mode)
{
	(void)self;
	(void)bytes_max;
	*mode = strcmp(path, "/open") == 0 ? 0644 : 0600;
	if (strcmp(path, "/open") == 0 || strcmp(path, "/secret") == 0)
		return buf_append_str(out, "localhost:1\n");
	return -ENOENT;
}

static const struct conf_world world = {.variable = variable, .file = file};

struct loaded {
	struct conf *conf;
	struct conf_problems problems;
	char text[16384];
	int err;
};

static void load(struct loaded *l, const char *yaml)
{
	struct buf out;

	conf_problems_init(&l->problems);
	l->err = conf_load_text(slice_str(yaml), "f", &world, &l->conf, &l->problems);
	buf_init(&out, sizeof(l->text) - 1);
	assert_int_equal(conf_problems_text(&l->problems, false, &out), 0);
	if (out.len > 0)
		memcpy(l->text, out.ptr, out.len);
	l->text[out.len] = 0;
	buf_fini(&out);
}

static void unload(struct loaded *l)
{
	conf_free(l->conf);
	conf_problems_fini(&l->problems);
}

/* ---- values ---- */

static const struct {
	const char *text;
	int64_t value; /* -1: refused */
} durations[] = {
	{"0", 0},           {"0s", 0},
	{"1ms", 1},         {"30s", 30000},
	{"1.5s", 1500},     {"5m", 300000},
	{"1h30m", 5400000}, {"7d", 604800000},
	{"2w", 1209600000}, {"1d1ms", 86400001},
	{" 30s ", 30000},   {"", -1},
	{"30", -1},         {"s", -1},
	{"-1s", -1},        {"1.s", -1},
	{".5s", -1},        {"1.5ms", -1},
	{"1s1m", -1},       {"1s1s", -1},
	{"1 s", -1},        {"1S", -1},
	{"1y", -1},         {"99999999999999999999s", -1},
	{"999999999w", -1}, {"1.0000000000s", -1},
	{"1e3s", -1},       {"forever", -1},
	{"30s x", -1},
};

static const struct {
	const char *text;
	int64_t value;
} sizes[] = {
	{"0", 0},
	{"1", 1},
	{"4096", 4096},
	{"64MiB", 64 << 20},
	{"64mib", 64 << 20},
	{"64 MiB", 64 << 20},
	{"1.5KiB", 1536},
	{"1kB", 1000},
	{"10MB", 10000000},
	{"1GiB", 1 << 30},
	{"2TiB", (int64_t)2 << 40},
	{"7B", 7},
	{"", -1},
	{"MiB", -1},
	{"-1", -1},
	{"1.5", -1},
	{"1.0001KiB", -1},
	{"64M", -1},
	{"64MiBs", -1},
	{"99999999999TiB", -1},
	{"0x10", -1},
	{"1_000", -1},
	{"1MiB2KiB", -1},
};

static void sizes_and_durations_are_strict(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
		int64_t value = -1;
		bool ok = conf_parse_duration(slice_str(durations[i].text), &value);
		if (ok != (durations[i].value >= 0) || value != durations[i].value)
			fail_msg("duration \"%s\" gave %lld", durations[i].text, (long long)value);
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int64_t value = -1;
		bool ok = conf_parse_size(slice_str(sizes[i].text), &value);
		if (ok != (sizes[i].value >= 0) || value != sizes[i].value)
			fail_msg("size \"%s\" gave %lld", sizes[i].text, (long long)value);
	}
}

static void what_is_written_is_the_shortest(void **state)
{
	static const struct {
		int64_t value;
		const char *duration, *size;
	} rows[] = {
		{0, "0", "0"},
		{1, "1ms", "1"},
		{90000, "90s", "90000"},
		{604800000, "7d", "590625KiB"},
		{1 << 20, "1048576ms", "1MiB"},
		{3600000, "1h", "3600000"},
	};
	struct buf out;

	(void)state;
	buf_init(&out, 100);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		buf_clear(&out);
		conf_format_duration(&out, rows[i].value);
		assert_true(slice_eq_str(buf_slice(&out), rows[i].duration));
		buf_clear(&out);
		conf_format_size(&out, rows[i].value);
		assert_true(slice_eq_str(buf_slice(&out), rows[i].size));
	}
	buf_fini(&out);
}

static void the_nearest_name_is_found(void **state)
{
	static const char *const names[] = {"listen", "max_connections", "cors", "records_max"};

	(void)state;
	assert_string_equal(conf_nearest(SLICE_LIT("lisen"), names, 4), "listen");
	assert_string_equal(conf_nearest(SLICE_LIT("litsen"), names, 4), "listen");
	assert_string_equal(conf_nearest(SLICE_LIT("maxConnections"), names, 4), "max_connections");
	assert_string_equal(conf_nearest(SLICE_LIT("CORS"), names, 4), "cors");
	assert_string_equal(conf_nearest(SLICE_LIT("max"), names, 4), "max_connections");
	assert_null(conf_nearest(SLICE_LIT("port"), names, 4));
	assert_null(conf_nearest(SLICE_LIT("x"), names, 4));
	assert_null(conf_nearest(SLICE_LIT(""), names, 4));
	assert_int_equal(conf_distance(SLICE_LIT("ab"), SLICE_LIT("ba"), 3), 1);
	assert_int_equal(conf_distance(SLICE_LIT("kitten"), SLICE_LIT("sitting"), 3), 3);
	assert_int_equal(conf_distance(SLICE_LIT("kitten"), SLICE_LIT("sitting"), 2), 3);
}

static void addresses_origins_and_hosts(void **state)
{
	static const char *const good[] = {"127.0.0.1:8080", "[::1]:0", ":8080", "*:1", "a-b.example:65535"};
	static const char *const bad[] = {"",      "127.0.0.1", ":",       "a:65536", "a:-1",
					  "a:1:2", "[::1]",     "[::1:80", "a b:1",   "::1:80"};
	static const char *const origins[] = {"*", "null", "https://a.example", "http://localhost:3000",
					      "https://[::1]:3"};
	static const char *const no_origins[] = {"a.example", "https://", "https://a/b", "https://a:b",
						 "https://a example"};

	(void)state;
	for (size_t i = 0; i < 5; i++)
		assert_true(conf_is_address(slice_str(good[i])));
	for (size_t i = 0; i < 10; i++)
		assert_false(conf_is_address(slice_str(bad[i])));
	for (size_t i = 0; i < 5; i++)
		assert_true(conf_is_origin(slice_str(origins[i])));
	for (size_t i = 0; i < 5; i++)
		assert_false(conf_is_origin(slice_str(no_origins[i])));
	assert_true(conf_is_host(SLICE_LIT("example.com")));
	assert_false(conf_is_host(SLICE_LIT(":80")));
}

/* ---- files ---- */

static void without_a_file_the_defaults_hold(void **state)
{
	struct loaded l;

	(void)state;
	conf_problems_init(&l.problems);
	assert_int_equal(conf_load(NULL, NULL, &l.conf, &l.problems), 0);
	assert_null(l.conf->path);
	assert_string_equal(l.conf->data, "./weir-data");
	assert_string_equal(l.conf->http.listen, "127.0.0.1:8080");
	assert_string_equal(l.conf->kafka.listen, "127.0.0.1:9092");
	assert_int_equal(l.conf->http.record_bytes_max, 1 << 20);
	assert_int_equal(l.conf->http.body_bytes_max, 16 << 20);
	assert_int_equal(l.conf->http.header_bytes_max, 32 << 10);
	assert_int_equal(l.conf->http.records_max, 100000);
	assert_int_equal(l.conf->http.max_connections, 65536);
	assert_int_equal(l.conf->log.group_bytes, 8 << 20);
	assert_int_equal(l.conf->stream.sse_comment_interval_ms, 15000);
	assert_int_equal(l.conf->topic_defaults.partitions, 1);
	assert_int_equal(l.conf->topic_defaults.retention_ms, 604800000);
	assert_int_equal(l.conf->topic_defaults.retention_bytes, -1);
	assert_int_equal(l.conf->topic_defaults.durability, CONF_DURABILITY_FSYNC);
	assert_true(l.conf->topic_defaults.auto_create);
	assert_int_equal(l.conf->log_level, CONF_LOG_INFO);
	assert_int_equal(l.conf->topic_count, 0);
	unload(&l);
}

static void a_whole_file_is_read(void **state)
{
	struct loaded l;

	(void)state;
	load(&l, "data: /var/lib/weir\n"
		 "topics:\n"
		 "  - &o { name: orders, partitions: 4, retention: forever, idempotency: { ttl: 1d } }\n"
		 "  - name: audit.log\n"
		 "    cleanup: compact\n"
		 "    durability: os\n"
		 "http:\n"
		 "  listen: \"127.0.0.1:${env:PORT}\"\n"
		 "  allowed_origins: [https://a.example, \"*\"]\n"
		 "  allowed_hosts: ${file:/secret}\n"
		 "  body_bytes_max: 32MiB\n"
		 "  idle_timeout: 1m30s\n"
		 "  cors: true\n"
		 "kafka: { listen: off }\n"
		 "topic_defaults: { retention: 2d, auto_create: false, retention_bytes: 1GiB }\n"
		 "threads: 2\n"
		 "log_level: debug\n");
	assert_string_equal(l.text, "");
	assert_int_equal(l.err, 0);
	assert_string_equal(l.conf->path, "f");
	assert_string_equal(l.conf->http.listen, "127.0.0.1:9999");
	assert_int_equal(l.conf->http.allowed_origins.count, 2);
	assert_string_equal(l.conf->http.allowed_origins.items[1], "*");
	assert_int_equal(l.conf->http.allowed_hosts.count, 1);
	assert_string_equal(l.conf->http.allowed_hosts.items[0], "localhost:1");
	assert_int_equal(l.conf->http.idle_timeout_ms, 90000);
	assert_null(l.conf->kafka.listen);
	assert_true(l.conf->http.cors);
	assert_int_equal(l.conf->topic_count, 2);
	assert_string_equal(l.conf->topics[0].name, "orders");
	assert_int_equal(l.conf->topics[0].partitions, 4);
	assert_int_equal(l.conf->topics[0].retention_ms, -1);
	assert_int_equal(l.conf->topics[0].idempotency_ttl_ms, 86400000);
	assert_int_equal(l.conf->topics[1].retention_ms, 172800000);
	assert_int_equal(l.conf->topics[1].retention_bytes, 1 << 30);
	assert_int_equal(l.conf->topics[1].cleanup, CONF_CLEANUP_COMPACT);
	assert_int_equal(l.conf->topics[1].durability, CONF_DURABILITY_OS);
	unload(&l);
}

/* What a file with one fault is told; the texts are the interface. */
static const struct {
	const char *yaml, *text;
} faults[] = {
	{"http:\n  lisen: x\n", "f:2:3: unknown key \"lisen\" in http: did you mean \"listen\"?\n"},
	{"htp: {}\n", "f:1:1: unknown key \"htp\": did you mean \"http\"?\n"},
	{"listen: :1\n", "f:1:1: unknown key \"listen\": did you mean \"http.listen\"?\n"},
	{"retention: 1d\n", "f:1:1: unknown key \"retention\": did you mean \"topic_defaults.retention\"?\n"},
	{"kafka: {zzzzz: 1}\n",
	 "f:1:9: unknown key \"zzzzz\" in kafka: expected one of listen, advertised, users, max_connections, max_connections_per_address, request_bytes_max, idle_timeout, peer_timeout, group_initial_delay, group_members_max, session_timeout_min, session_timeout_max, offsets_retention\n"},
	{"http: { listen: 127.0.0.1 }\n",
	 "f:1:17: http.listen: \"127.0.0.1\": expected HOST:PORT, such as 127.0.0.1:8080, [::1]:8080 or :8080\n"},
	{"log_level: inof\n",
	 "f:1:12: log_level: \"inof\": expected error, warning, info or debug; did you mean \"info\"?\n"},
	{"http: {cors: yes}\n", "f:1:14: http.cors: \"yes\": expected true or false\n"},
	{"http: {cors: True}\n",
	 "f:1:14: http.cors: \"True\": expected true or false; did you mean \"true\"?\n"},
	{"topic_defaults: {retention: 30}\n",
	 "f:1:29: topic_defaults.retention: \"30\": expected a duration from 1ms to 36500d, such as 7d, or forever\n"},
	{"topic_defaults: {retention: ever}\n",
	 "f:1:29: topic_defaults.retention: \"ever\": expected a duration from 1ms to 36500d, such as 7d, or forever\n"},
	{"http: {body_bytes_max: 64M}\n",
	 "f:1:24: http.body_bytes_max: \"64M\": expected a size from 1KiB to 1GiB, such as 16MiB\n"},
	{"threads: -1\n", "f:1:10: threads: \"-1\": expected a whole number from 1 to 256, or auto\n"},
	{"threads: [1]\n", "f:1:10: threads: found a list: expected a whole number from 1 to 256, or auto\n"},
	{"threads:\n", "f:1:1: threads: found nothing: expected a whole number from 1 to 256, or auto\n"},
	{"http: 8080\n", "f:1:7: http: expected a mapping of settings, KEY: VALUE\n"},
	{"- a\n", "f:1:1: expected a mapping of settings, KEY: VALUE\n"},
	{"data: a\ndata: b\n", "f:2:1: data: given twice, first on line 1\n"},
	{"http: {}\nhttp: {}\n", "f:2:1: http: given twice, first on line 1\n"},
	{"topics: [{name: a}, {name: b}, {name: a}]\n",
	 "f:1:39: topics: \"a\" is named twice, first on line 1\n"},
	{"topics: [{partitions: 2}]\n", "f:1:10: topics[0].name: missing\n"},
	{"topics: [{name: __weir}]\n",
	 "f:1:17: topics[__weir]: \"__weir\": names that begin with __weir or as Kafka's own topics do are kept\n"},
	{"topics: [{name: a b}]\n",
	 "f:1:17: topics[0].name: \"a b\": expected 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'\n"},
	{"topics: [{name: a, auto_create: true}]\n",
	 "f:1:20: unknown key \"auto_create\" in topics[a]: expected one of name, partitions, retention, retention_bytes, durability, cleanup, compaction, recompress_after, segment_bytes, timestamps, max_message_bytes, idempotency, dead_letters\n"},
	{"topics: {name: a}\n", "f:1:9: topics: expected a list, each item a mapping: - { name: NAME }\n"},
	{"topics: [{name: a, partitions: 10001}]\n",
	 "f:1:32: topics[a].partitions: \"10001\": expected a whole number from 1 to 10000\n"},
	{"topics: [{name: a, idempotency: {tll: 1d}}]\n",
	 "f:1:34: unknown key \"tll\" in topics[a].idempotency: did you mean \"ttl\"?\n"},
	{"data: ${env:NOPE}\n", "f:1:7: data: \"${env:NOPE}\": the environment variable NOPE is not set\n"},
	{"data: ${file:/nope}\n",
	 "f:1:7: data: \"${file:/nope}\": cannot read the file /nope: No such file or directory\n"},
	{"data: ${NOPE}\n",
	 "f:1:7: data: \"${NOPE}\": ${NOPE} is not known: expected ${env:NAME} or ${file:PATH} ($${ for a literal ${)\n"},
	{"data: ${env:A\n", "f:1:7: data: \"${env:A\": ${ without a closing }\n"},
	{"data: ${env:EMPTY}\n",
	 "f:1:7: data: \"${env:EMPTY}\" (once replaced): expected text of 1 to 4000 bytes\n"},
	{"http: {record_bytes_max: 32MiB}\n",
	 "f:1:26: http.record_bytes_max: \"32MiB\": expected at most http.body_bytes_max, which is 16MiB\n"
	 "f:1:26: http.record_bytes_max: \"32MiB\": expected at most log.group_bytes, which is 8MiB\n"},
	{"kafka: {listen: 127.0.0.1:8080}\n",
	 "f:1:17: kafka.listen: \"127.0.0.1:8080\": http.listen has this address already\n"},
	{"http: {listen: 127.0.0.1:9092}\n",
	 "f:1:16: kafka.listen: \"127.0.0.1:9092\": http.listen has this address already\n"},
	{"colour: red\na: [1,\nb: 2\n",
	 "f:1:1: unknown key \"colour\": expected one of data, threads, memory, drain_timeout, log_level, log_format, http, kafka, log, stream, topic_defaults, topics, sources\n"
	 "f:3:1: wrongly indented flow sequence\n"},
	{"data: a\n---\ndata: b\n", "f:2:1: a second document: one file holds one\n"},
	{"data: !!str a\n", "f:1:13: tags are not supported here: leave the ! word out\n"},
	{"data: *a\n", "f:1:8: the alias has no anchor before it\n"},
	{"sources:\n  - {name: a, type: webhook, topic: t, verify: {secrets: [\"${env:NOPE}\"]}}\n  - {nme: b}\n",
	 "f:2:5: sources[a]: this version of weir serves no sources yet: take it out, and send to /v1/topics/TOPIC/records instead\n"
	 "f:3:5: sources[1]: this version of weir serves no sources yet: take it out, and send to /v1/topics/TOPIC/records instead\n"},
	{"sources: {name: a}\n", "f:1:10: sources: expected a list, each item a mapping: - { name: NAME }\n"},
	{"data: \xff\n", "f:1:7: not UTF-8: expected a text file\n"},
};

static void each_fault_is_told_in_full(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct loaded l;
		load(&l, faults[i].yaml);
		assert_null(l.conf);
		assert_int_equal(l.err, ERR_BAD_CONFIG);
		assert_string_equal(l.text, faults[i].text);
		unload(&l);
	}
}

static void all_problems_come_in_one_run_in_order(void **state)
{
	struct loaded l;

	(void)state;
	load(&l, "sources:\n"
		 "  - name: github\n"
		 "    type: webhok\n"
		 "    topic: orders\n"
		 "    verify: { scheme: github }\n"
		 "    rate_limit: { per_second: many }\n"
		 "topics:\n"
		 "  - { name: a, partitions: 0 }\n"
		 "  - { name: a, colour: red }\n"
		 "http:\n"
		 "  listen: nowhere\n"
		 "  header_timeout: soon\n"
		 "log_format: xml\n"
		 "data: [\n");
	assert_int_equal(l.err, ERR_BAD_CONFIG);
	assert_int_equal(l.problems.errors, 8);
	for (uint32_t i = 1; i < l.problems.count; i++)
		assert_true(l.problems.list[i - 1].at.line <= l.problems.list[i].at.line);
	assert_non_null(strstr(l.text, "f:2:5: sources[github]: this version of weir serves no sources yet"));
	assert_non_null(strstr(l.text, "f:9:13: topics: \"a\" is named twice"));
	assert_non_null(strstr(l.text, "f:12:19: http.header_timeout: \"soon\""));
	unload(&l);
}

static void a_readable_secret_only_warns_and_no_value_is_shown(void **state)
{
	struct loaded l;

	(void)state;
	load(&l, "http: { listen: \"${file:/open}\" }\n");
	assert_int_equal(l.err, 0);
	assert_int_equal(l.problems.warnings, 1);
	assert_string_equal(
		l.text,
		"f:1:17: warning: http.listen: the file /open can be read by every user of this machine (mode 0644): chmod 600 it\n");
	unload(&l);
	load(&l, "http: { listen: \"${env:SECRET}\" }\n");
	assert_int_equal(l.err, ERR_BAD_CONFIG);
	assert_null(strstr(l.text, "hunter2"));
	unload(&l);
	load(&l, "data: $${env:X}$\n");
	assert_int_equal(l.err, 0);
	assert_string_equal(l.conf->data, "${env:X}$");
	unload(&l);
}

static void the_line_is_shown_with_a_caret(void **state)
{
	struct conf_problems p;
	struct conf *c;
	struct buf out;

	(void)state;
	conf_problems_init(&p);
	buf_init(&out, 4096);
	assert_int_equal(conf_load_text(SLICE_LIT("data: a\nhttp: { cors: 1 }\r\n"), "f", &world, &c, &p),
			 ERR_BAD_CONFIG);
	conf_problems_text(&p, true, &out);
	assert_true(slice_eq_str(buf_slice(&out), "f:2:15: http.cors: \"1\": expected true or false\n"
						  "    http: { cors: 1 }\n"
						  "                  ^\n"));
	buf_clear(&out);
	conf_problems_json(&p, &out);
	assert_true(slice_eq_str(
		buf_slice(&out),
		"[{\"file\":\"f\",\"line\":2,\"column\":15,\"severity\":\"error\",\"key\":\"http.cors\","
		"\"message\":\"http.cors: \\\"1\\\": expected true or false\",\"nearest\":null}]"));
	buf_fini(&out);
	conf_problems_fini(&p);
}

static void problems_are_bounded(void **state)
{
	struct buf yaml;
	struct loaded l;

	(void)state;
	buf_init(&yaml, 1u << 20);
	for (int i = 0; i < 5000; i++)
		buf_appendf(&yaml, "unknown%d: 1\n", i);
	buf_append_byte(&yaml, 0);
	conf_problems_init(&l.problems);
	l.err = conf_load_text(slice_str((char *)yaml.ptr), "f", &world, &l.conf, &l.problems);
	assert_int_equal(l.err, ERR_BAD_CONFIG);
	assert_int_equal(l.problems.count, CONF_PROBLEMS_MAX);
	unload(&l);
	buf_fini(&yaml);
}

static void any_allocation_may_fail(void **state)
{
	static const char yaml[] =
		"http: { allowed_hosts: [a, b, c], bad: 1 }\ntopics: [{ name: a }, { name: b }]\n";

	(void)state;
	for (uint64_t nth = 1; nth < 40; nth++) {
		struct conf_problems p;
		struct conf *c;

		conf_problems_init(&p);
		mem_fail_at(nth);
		int err = conf_load_text(slice_str(yaml), "f", &world, &c, &p);
		mem_fail_at(0);
		assert_true(err == ERR_NOMEM || err == ERR_BAD_CONFIG);
		assert_null(c);
		conf_problems_fini(&p);
	}
}

/* ---- single values, differences ---- */

static void the_command_line_sets_with_the_same_checks(void **state)
{
	struct loaded l;
	struct fault fault;

	(void)state;
	load(&l, "");
	assert_int_equal(conf_set(l.conf, "http.listen", SLICE_LIT("127.0.0.1:0"), &fault), 0);
	assert_string_equal(l.conf->http.listen, "127.0.0.1:0");
	assert_int_equal(conf_set(l.conf, "kafka.listen", SLICE_LIT("off"), &fault), 0);
	assert_null(l.conf->kafka.listen);
	assert_int_equal(conf_set(l.conf, "http.listen", SLICE_LIT("x"), &fault), ERR_BAD_CONFIG);
	assert_non_null(strstr(fault.text, "http.listen: \"x\": expected HOST:PORT"));
	unload(&l);
}

static void a_topic_takes_the_keys_of_the_file(void **state)
{
	struct conf_topic t;
	struct fault fault;
	struct buf out;

	(void)state;
	conf_topic_init(&t);
	assert_int_equal(conf_topic_set(&t, SLICE_LIT("partitions"), SLICE_LIT("12"), &fault), 0);
	assert_int_equal(conf_topic_set(&t, SLICE_LIT("idempotency.ttl"), SLICE_LIT("90s"), &fault), 0);
	assert_int_equal(conf_topic_set(&t, SLICE_LIT("retention"), SLICE_LIT("forever"), &fault), 0);
	assert_int_equal(conf_topic_set(&t, SLICE_LIT("retention_bytes"), SLICE_LIT("-1"), &fault), 0);
	/* Kafka's spelling is ours said otherwise. */
	assert_int_equal(conf_topic_set(&t, SLICE_LIT("cleanup"), SLICE_LIT("compact,delete"), &fault), 0);
	assert_int_equal(t.cleanup, CONF_CLEANUP_COMPACT_DELETE);
	assert_int_equal(conf_topic_set(&t, SLICE_LIT("cleanup"), SLICE_LIT("delete"), &fault), 0);
	buf_init(&out, 1000);
	assert_int_equal(conf_topic_json(&t, &out), 0);
	assert_true(slice_eq_str(
		buf_slice(&out),
		"\"partitions\":12,\"retention\":\"forever\",\"retention_bytes\":\"unlimited\",\"durability\":\"fsync\","
		"\"cleanup\":\"delete\",\"compaction\":{\"dirty_percent\":50,\"max_lag\":\"1d\",\"min_lag\":\"0\",\"tombstone_retention\":\"1d\"},"
		"\"recompress_after\":\"never\",\"segment_bytes\":\"auto\",\"timestamps\":\"create\",\"max_message_bytes\":\"1048588\",\"idempotency\":{\"ttl\":\"90s\"},\"dead_letters\":{\"retention\":\"30d\",\"max_bytes\":\"1GiB\"}"));
	buf_fini(&out);
	assert_int_equal(conf_topic_set(&t, SLICE_LIT("retnetion"), SLICE_LIT("1d"), &fault),
			 ERR_BAD_TOPIC_CONFIG);
	assert_non_null(strstr(fault.text, "did you mean \"retention\"?"));
	assert_int_equal(conf_topic_set(&t, SLICE_LIT("name"), SLICE_LIT("x"), &fault), ERR_BAD_TOPIC_CONFIG);
	assert_int_equal(conf_topic_set(&t, SLICE_LIT("auto_create"), SLICE_LIT("true"), &fault),
			 ERR_BAD_TOPIC_CONFIG);
	assert_int_equal(conf_topic_set(&t, SLICE_LIT("durability"), SLICE_LIT("fsnc"), &fault),
			 ERR_BAD_TOPIC_CONFIG);
	assert_string_equal(fault.text,
			    "durability: \"fsnc\": expected fsync or os; did you mean \"fsync\"?");
}

static void a_reload_tells_what_changed(void **state)
{
	struct loaded a, b;
	struct conf_changes c;

	(void)state;
	load(&a, "data: x\nlog_level: info\ntopics: [{name: gone}, {name: t, retention: 1d}]\n");
	load(&b, "data: y\nlog_level: debug\ntopics: [{name: t, retention: 2d}, {name: new}]\n");
	assert_int_equal(conf_diff(a.conf, b.conf, &c), 0);
	assert_int_equal(c.count, 5);
	assert_int_equal(c.restart_count, 1);
	assert_string_equal(c.list[0].path, "data");
	assert_true(c.list[0].restart);
	assert_string_equal(c.list[1].path, "log_level");
	assert_string_equal(c.list[1].before, "info");
	assert_string_equal(c.list[1].after, "debug");
	assert_string_equal(c.list[2].path, "topics[t].retention");
	assert_string_equal(c.list[2].after, "2d");
	assert_string_equal(c.list[3].path, "topics[new]");
	assert_null(c.list[3].before);
	assert_string_equal(c.list[4].path, "topics[gone]");
	assert_null(c.list[4].after);
	conf_changes_fini(&c);
	assert_int_equal(conf_diff(a.conf, a.conf, &c), 0);
	assert_int_equal(c.count, 0);
	conf_changes_fini(&c);
	unload(&a);
	unload(&b);
}

/* ---- the table itself ---- */

/* What daemon/reload.c applies; of all else a reload must say that it waits for a start. */
static void a_reload_promises_what_the_daemon_does(void **state)
{
	static const char applied[] =
		" memory drain_timeout log_level log_format http.record_bytes_max http.records_max "
		"log.clock_hold ";
	char word[100];

	(void)state;
	for (uint32_t i = 0; i < setting_count; i++) {
		const struct setting *s = &setting_table[i];
		if (s->scope != SETTING_FILE)
			continue;
		snprintf(word, sizeof(word), " %s ", s->path);
		if ((strstr(applied, word) != NULL) == ((s->flags & SETTING_RESTART) != 0))
			fail_msg("%s", s->path);
	}
}

static void the_table_is_sound(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < setting_count; i++) {
		const struct setting *s = &setting_table[i];
		size_t n = strlen(s->doc);
		assert_true(s->doc[n - 1] == '.');
		assert_ptr_equal(setting_find(s->scope, slice_str(s->path)), s);
		assert_true(s->type != SETTING_ENUM || s->names);
		assert_true(s->type == SETTING_ENUM || s->type == SETTING_BOOL || s->max > s->min);
		/* One dot at most: the schema and the topic keys count on it. */
		const char *dot = strchr(s->path, '.');
		assert_true(!dot || !strchr(dot + 1, '.'));
	}
}

static void every_setting_stands_on_every_page(void **state)
{
	struct buf markdown, man, schema, sources;

	(void)state;
	buf_init(&sources, 1u << 20);
	assert_int_equal(conf_page_sources(NULL, &sources), 0);
	buf_append_byte(&sources, 0);
	buf_init(&markdown, 1u << 20);
	buf_init(&man, 1u << 20);
	buf_init(&schema, 1u << 20);
	assert_int_equal(conf_page_settings(&markdown), 0);
	assert_int_equal(conf_page_man(&man, "1"), 0);
	assert_int_equal(conf_page_schema(NULL, &schema), 0);
	buf_append_byte(&markdown, 0);
	buf_append_byte(&man, 0);
	buf_append_byte(&schema, 0);
	for (uint32_t i = 0; i < setting_count; i++) {
		const char *dot = strrchr(setting_table[i].path, '.');
		if (setting_table[i].scope == SETTING_SOURCE) {
			assert_non_null(strstr((char *)sources.ptr, setting_table[i].path));
			continue;
		}
		assert_non_null(strstr((char *)markdown.ptr, setting_table[i].path));
		assert_non_null(strstr((char *)man.ptr, setting_table[i].path));
		if (setting_table[i].scope != SETTING_WEBHOOK)
			assert_non_null(strstr((char *)schema.ptr, dot ? dot + 1 : setting_table[i].path));
	}
	buf_fini(&markdown);
	buf_fini(&man);
	buf_fini(&schema);
	buf_fini(&sources);
}

static void a_missing_file_is_named(void **state)
{
	struct conf_problems p;
	struct conf *c;

	(void)state;
	conf_problems_init(&p);
	assert_int_equal(conf_load("/nonexistent/weir.yaml", NULL, &c, &p), ERR_NOT_FOUND);
	assert_string_equal(p.list[0].text, "cannot be read: No such file or directory");
	assert_int_equal(conf_load("/", NULL, &c, &p), ERR_IO);
	conf_problems_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_and_durations_are_strict),
		cmocka_unit_test(what_is_written_is_the_shortest),
		cmocka_unit_test(the_nearest_name_is_found),
		cmocka_unit_test(addresses_origins_and_hosts),
		cmocka_unit_test(without_a_file_the_defaults_hold),
		cmocka_unit_test(a_whole_file_is_read),
		cmocka_unit_test(each_fault_is_told_in_full),
		cmocka_unit_test(all_problems_come_in_one_run_in_order),
		cmocka_unit_test(a_readable_secret_only_warns_and_no_value_is_shown),
		cmocka_unit_test(the_line_is_shown_with_a_caret),
		cmocka_unit_test(problems_are_bounded),
		cmocka_unit_test(any_allocation_may_fail),
		cmocka_unit_test(the_command_line_sets_with_the_same_checks),
		cmocka_unit_test(a_topic_takes_the_keys_of_the_file),
		cmocka_unit_test(a_reload_tells_what_changed),
		cmocka_unit_test(a_reload_promises_what_the_daemon_does),
		cmocka_unit_test(the_table_is_sound),
		cmocka_unit_test(every_setting_stands_on_every_page),
		cmocka_unit_test(a_missing_file_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
