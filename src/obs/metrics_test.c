/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "obs/health.h"
#include "obs/metrics.h"
#include "obs/process.h"
#include "obs/say.h"

/* ---- as much of sys as a scrape needs ---- */

static int open_file(void *self, const char *path, int flags)
{
	(void)self;
	(void)flags;
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void close_file(void *self, int fd)
{
	(void)self;
	(void)close(fd);
}

static int64_t pread_file(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	(void)self;
	return pread(fd, bytes, n, (off_t)at);
}

static int stat_file(void *self, const char *path, struct sys_stat *out)
{
	struct stat st;

	(void)self;
	if (stat(path, &st) != 0)
		return -1;
	out->bytes = (uint64_t)st.st_size;
	return 0;
}

static int list_dir(void *self, const char *path, sys_list_fn *fn, void *ctx)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	(void)self;
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			(void)fn(ctx, entry->d_name);
	return dir ? closedir(dir) : -1;
}

static int64_t wall(void *self)
{
	(void)self;
	return INT64_C(1700000000500000000);
}

static const struct sys_ops ops = {.open = open_file,
				   .close = close_file,
				   .pread = pread_file,
				   .stat = stat_file,
				   .list = list_dir,
				   .wall_ns = wall,
				   .monotonic_ns = wall};
static const struct sys sys = {.ops = &ops};

static int set_up(void **state)
{
	const struct metrics_options options = {.sys = &sys, .version = "0.1.0"};
	struct metrics *m;

	if (metrics_new(&options, &m) != 0)
		return -1;
	*state = m;
	return 0;
}

static int tear_down(void **state)
{
	metrics_free(*state);
	return 0;
}

/* The exposition as text, owned by the caller. */
static char *written(struct metrics *m)
{
	struct buf out;
	char *text;

	buf_init(&out, 1 << 20);
	assert_int_equal(metrics_write(m, &out), 0);
	text = mem_strndup(out.ptr, out.len);
	assert_non_null(text);
	buf_fini(&out);
	return text;
}

static void assert_has(const char *text, const char *line)
{
	char whole[512];

	(void)snprintf(whole, sizeof(whole), "\n%s\n", line);
	if (!strstr(text, whole))
		fail_msg("missing: %s", line);
}

/* ---- tests ---- */

static void counters_of_all_shards_are_added_up(void **state)
{
	struct metrics *m = *state;
	struct metrics_shard *a = metrics_shard_new(m), *b = metrics_shard_new(m);
	char *text;

	metric_add(a, METRIC_INGEST_RECORDS, ENTRY_WS, 40);
	metric_add(b, METRIC_INGEST_RECORDS, ENTRY_WS, 2);
	metric_move(a, METRIC_READERS, WAY_SSE, 3);
	metric_move(b, METRIC_READERS, WAY_SSE, -1);
	metric_move(b, METRIC_READERS, WAY_POLL, -1);
	metric_add(a, METRIC_HTTP_REQUESTS, metric_labels(METRIC_HTTP_REQUESTS, ROUTE_TOPIC, METHOD_PUT), 9);
	metric_add(a, METRIC_HTTP_ANSWERS, metric_labels(METRIC_HTTP_ANSWERS, ROUTE_SSE, metric_class(503)),
		   1);
	metric_add(b, METRIC_REFUSALS, metric_code(ERR_DISK_FULL), 5);
	metric_add(b, METRIC_REFUSALS, metric_code(12345), 1);
	text = written(m);
	assert_has(text, "weir_ingest_records_total{entry=\"ws\"} 42");
	assert_has(text, "weir_ingest_records_total{entry=\"http\"} 0");
	assert_has(text, "weir_readers{way=\"sse\"} 2");
	assert_has(text, "weir_readers{way=\"poll\"} -1");
	assert_has(text, "weir_http_requests_total{route=\"topic\",method=\"put\"} 9");
	assert_has(text, "weir_http_answers_total{route=\"sse\",class=\"5xx\"} 1");
	assert_has(text, "weir_refusals_total{code=\"disk_full\"} 5");
	assert_has(text, "weir_refusals_total{code=\"internal\"} 1");
	assert_has(text, "weir_build_info{version=\"0.1.0\"} 1");
	assert_null(strstr(text, "weir_http_requests_total{route=\"sse\""));
	assert_int_equal(metrics_read(m, METRIC_INGEST_RECORDS, ENTRY_WS), 42);
	mem_free(text);
}

static void a_value_falls_into_the_first_bucket_that_holds_it(void **state)
{
	unsigned i;

	(void)state;
	assert_int_equal(metric_bucket(METRIC_KIND_HISTOGRAM_COUNT, 0), 0);
	for (i = 0; i < METRIC_BUCKETS; i++) {
		const uint64_t bound = UINT64_C(1) << i;

		assert_int_equal(metric_bucket(METRIC_KIND_HISTOGRAM_COUNT, bound), i);
		assert_int_equal(metric_bucket(METRIC_KIND_HISTOGRAM_COUNT, bound + 1), i ? i + 1 : 1);
		assert_int_equal(metric_bucket(METRIC_KIND_HISTOGRAM_NS, bound * 1000), i);
		assert_int_equal(metric_bucket(METRIC_KIND_HISTOGRAM_NS, bound * 1000 + 1), i + 1);
		assert_int_equal(metric_bucket(METRIC_KIND_HISTOGRAM_BYTES, bound * 64), i);
	}
	assert_int_equal(metric_bucket(METRIC_KIND_HISTOGRAM_NS, UINT64_MAX), METRIC_BUCKETS);
	assert_int_equal(metric_bucket(METRIC_KIND_HISTOGRAM_COUNT, UINT64_MAX), METRIC_BUCKETS);
}

static void histograms_are_cumulative_and_exact(void **state)
{
	struct metrics *m = *state;
	struct metrics_shard *s = metrics_shard_new(m);
	char *text;

	metric_observe(s, METRIC_DELIVERY_SECONDS, WAY_WS, 1);
	metric_observe(s, METRIC_DELIVERY_SECONDS, WAY_WS, 1500);
	metric_observe(s, METRIC_DELIVERY_SECONDS, WAY_WS, UINT64_C(20000000000));
	metric_observe_many(s, METRIC_DELIVERY_SECONDS, WAY_SSE, 1500, 3);
	metric_observe(s, METRIC_INGEST_BODY_BYTES, 0, 65);
	text = written(m);
	assert_has(text, "weir_delivery_seconds_bucket{way=\"ws\",le=\"0.000001\"} 1");
	assert_has(text, "weir_delivery_seconds_bucket{way=\"ws\",le=\"0.000002\"} 2");
	assert_has(text, "weir_delivery_seconds_bucket{way=\"ws\",le=\"8.388608\"} 2");
	assert_has(text, "weir_delivery_seconds_bucket{way=\"ws\",le=\"+Inf\"} 3");
	assert_has(text, "weir_delivery_seconds_sum{way=\"ws\"} 20.000001501");
	assert_has(text, "weir_delivery_seconds_count{way=\"ws\"} 3");
	assert_has(text, "weir_ingest_body_bytes_bucket{le=\"64\"} 0");
	assert_has(text, "weir_ingest_body_bytes_bucket{le=\"128\"} 1");
	assert_has(text, "weir_ingest_body_bytes_sum 65");
	assert_has(text, "weir_log_sync_seconds_count 0");
	assert_has(text, "weir_delivery_seconds_bucket{way=\"sse\",le=\"0.000002\"} 3");
	assert_has(text, "weir_delivery_seconds_sum{way=\"sse\"} 0.0000045");
	assert_null(strstr(text, "weir_delivery_seconds_count{way=\"poll\"}"));
	mem_free(text);
}

static void tell_source(void *ctx, struct metrics_scrape *scrape)
{
	const uint64_t buckets[30] = {[0] = 1, [3] = 2, [29] = 1};
	const int64_t *value = ctx;

	metrics_put(scrape, METRIC_LOG_GROUPS, 0, *value);
	metrics_put(scrape, METRIC_LOG_CHECKPOINT_SECONDS, 0, 1250000000);
	metrics_put_max(scrape, METRIC_READER_LAG_MAX, WAY_WS, *value);
	metrics_put_histogram(scrape, METRIC_LOG_GROUP_COMMITS, 0, buckets, 30, 99);
}

static void sources_are_asked_at_each_scrape(void **state)
{
	struct metrics *m = *state;
	int64_t one = 7, two = 5;
	char *text;
	unsigned i;

	assert_int_equal(metrics_source_add(m, tell_source, &one), 0);
	assert_int_equal(metrics_source_add(m, tell_source, &two), 0);
	text = written(m);
	assert_has(text, "weir_log_groups_total 12");
	assert_has(text, "weir_log_checkpoint_last_seconds 2.5");
	assert_has(text, "weir_reader_lag_max_records{way=\"ws\"} 7");
	assert_has(text, "weir_log_group_commits_bucket{le=\"4\"} 2");
	assert_has(text, "weir_log_group_commits_bucket{le=\"8\"} 6");
	assert_has(text, "weir_log_group_commits_bucket{le=\"8388608\"} 6");
	assert_has(text, "weir_log_group_commits_count 8");
	assert_has(text, "weir_log_group_commits_sum 198");
	mem_free(text);
	one = 1;
	metrics_source_drop(m, tell_source, &two);
	assert_int_equal(metrics_read(m, METRIC_LOG_GROUPS, 0), 1);
	for (i = 1; i < 16; i++)
		assert_int_equal(metrics_source_add(m, tell_source, &one), 0);
	assert_int_equal(metrics_source_add(m, tell_source, &one), ERR_LIMIT);
}

#define ROUNDS 200000u

static void *count_rounds(void *ctx)
{
	struct metrics_shard *s = ctx;
	unsigned i;

	for (i = 0; i < ROUNDS; i++) {
		metric_add(s, METRIC_INGEST_RECORDS, ENTRY_HTTP, 1);
		metric_observe(s, METRIC_INGEST_SECONDS, ENTRY_HTTP, i);
	}
	return NULL;
}

static void nothing_is_lost_while_threads_count_and_another_reads(void **state)
{
	struct metrics *m = *state;
	pthread_t threads[3];
	int64_t before = 0;
	unsigned i;

	for (i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_rounds, metrics_shard_new(m)), 0);
	for (i = 0; i < 100; i++) {
		int64_t value = metrics_read(m, METRIC_INGEST_RECORDS, ENTRY_HTTP);

		assert_true(value >= before && value <= 3 * (int64_t)ROUNDS);
		before = value;
	}
	for (i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(metrics_read(m, METRIC_INGEST_RECORDS, ENTRY_HTTP), 3 * (int64_t)ROUNDS);
}

static void what_the_kernel_says_of_the_process_is_shown(void **state)
{
	struct process_numbers numbers, more;
	char *text = written(*state);
	int fd;

	process_read(&sys, &numbers);
	assert_true(numbers.resident_bytes > 100000 && numbers.virtual_bytes > numbers.resident_bytes);
	assert_true(numbers.fds >= 3 && numbers.fds <= numbers.fds_max);
	assert_true(numbers.threads >= 1 && numbers.cpu_ns >= 0);
	fd = dup(0);
	process_read(&sys, &more);
	assert_int_equal(more.fds, numbers.fds + 1);
	(void)close(fd);
	assert_has(text, "process_start_time_seconds 1700000000.5");
	assert_non_null(strstr(text, "\nprocess_resident_memory_bytes "));
	mem_free(text);
}

static int open_nothing(void *self, const char *path, int flags)
{
	(void)self;
	(void)path;
	(void)flags;
	return -1;
}

static int stat_nothing(void *self, const char *path, struct sys_stat *out)
{
	(void)self;
	(void)path;
	(void)out;
	return -1;
}

static int list_nothing(void *self, const char *path, sys_list_fn *fn, void *ctx)
{
	(void)self;
	(void)path;
	(void)fn;
	(void)ctx;
	return -1;
}

static void without_proc_the_numbers_are_not_there(void **state)
{
	static const struct sys_ops blind = {.open = open_nothing,
					     .stat = stat_nothing,
					     .list = list_nothing,
					     .wall_ns = wall};
	static const struct sys nothing = {.ops = &blind};
	const struct metrics_options options = {.sys = &nothing, .version = "x"};
	struct metrics *m;
	char *text;

	(void)state;
	assert_int_equal(metrics_new(&options, &m), 0);
	text = written(m);
	assert_null(strstr(text, "\nprocess_resident_memory_bytes "));
	assert_null(strstr(text, "\nprocess_open_fds "));
	mem_free(text);
	metrics_free(m);
}

static void without_memory_a_scrape_is_refused(void **state)
{
	struct buf out;

	buf_init(&out, 1 << 20);
	mem_fail_at(1);
	assert_int_equal(metrics_write(*state, &out), ERR_NOMEM);
	mem_fail_at(1);
	assert_null(metrics_shard_new(*state));
	mem_fail_at(0);
	buf_fini(&out);
	buf_init(&out, 4096);
	assert_int_equal(metrics_write(*state, &out), ERR_LIMIT);
	buf_fini(&out);
}

static void the_hot_path_stays_small(void **state)
{
	(void)state;
	assert_true(METRIC_WORDS < 4096);
	assert_int_equal(_Alignof(struct metrics_shard), 64);
	assert_int_equal(METRIC_AT_HTTP_SECONDS + ROUTE_PAGE * METRIC_HISTOGRAM_WORDS + METRIC_BUCKETS + 1 <=
				 METRIC_LAST_HTTP_SECONDS,
			 1);
}

/* Those who wrote the format judge what is written. Skipped where they are not installed. */
static void promtool_has_nothing_to_say(void **state)
{
	struct metrics *m = *state;
	struct metrics_shard *s = metrics_shard_new(m);
	struct health *h;
	FILE *pipe;
	char *text;

	if (system("command -v promtool >/dev/null 2>&1") != 0)
		skip();
	assert_int_equal(health_new(&h), 0);
	assert_int_equal(metrics_source_add(m, health_metrics, h), 0);
	assert_int_equal(metrics_source_add(m, say_metrics, NULL), 0);
	metric_observe(s, METRIC_HTTP_SECONDS, ROUTE_SSE, 77);
	metric_add(s, METRIC_HTTP_REQUESTS, metric_labels(METRIC_HTTP_REQUESTS, ROUTE_SSE, METHOD_GET), 1);
	text = written(m);
	pipe = popen("promtool check metrics", "w");
	assert_non_null(pipe);
	assert_int_equal(fwrite(text, 1, strlen(text), pipe), strlen(text));
	assert_int_equal(pclose(pipe), 0);
	mem_free(text);
	health_free(h);
}

static void the_reference_page_has_every_metric_and_label(void **state)
{
	struct buf out;
	char *text;

	(void)state;
	buf_init(&out, 1 << 20);
	assert_int_equal(metrics_write_reference(&out), 0);
	text = mem_strndup(out.ptr, out.len);
#define METRIC(name, metric, kind, a, b, help) assert_non_null(strstr(text, "\n| `" metric "` | "));
#include "obs/metrics.def"
#undef METRIC
	assert_has(text, "| `way` | `poll`, `longpoll`, `sse`, `ws` |");
	assert_has(text, "| `code` | the codes of [errors.md](errors.md) |");
	mem_free(text);
	buf_fini(&out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(counters_of_all_shards_are_added_up),
		TEST(a_value_falls_into_the_first_bucket_that_holds_it),
		TEST(histograms_are_cumulative_and_exact),
		TEST(sources_are_asked_at_each_scrape),
		TEST(nothing_is_lost_while_threads_count_and_another_reads),
		TEST(what_the_kernel_says_of_the_process_is_shown),
		TEST(without_proc_the_numbers_are_not_there),
		TEST(without_memory_a_scrape_is_refused),
		TEST(the_hot_path_stays_small),
		TEST(promtool_has_nothing_to_say),
		TEST(the_reference_page_has_every_metric_and_label),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
