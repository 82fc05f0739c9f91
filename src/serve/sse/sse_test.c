/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/sse/sse_routes.h"
#include "serve/stream/stream_world.h"

/* Without the chunks' own lines, which stand between the events. */
static void up(struct world *w, bool auto_create)
{
	world_up(w, sse_routes, sse_route_count, auto_create);
}

static void open_stream(struct peer *p, const struct world *w, const char *target, const char *fields)
{
	peer_get(p, w, target, fields);
	peer_expect(p, "HTTP/1.1 200 ");
	peer_expect(p, "retry: 1000\n\n\r\n");
}

static void expect_refusal(const struct world *w, const char *target, const char *fields, const char *code)
{
	struct peer p;
	char text[64];

	peer_get(&p, w, target, fields);
	(void)snprintf(text, sizeof(text), "\"code\":\"%s\"", code);
	peer_expect(&p, text);
	peer_close(&p);
}

static void a_stream_resumes_behind_the_id(void **state)
{
	struct world w = {0};
	struct peer p;
	char fields[256], *id;

	(void)state;
	up(&w, true);
	world_put(&w, "/v1/topics/t/records", "1");
	world_put(&w, "/v1/topics/t/records", "{\"a\":2}");
	open_stream(&p, &w, "/v1/topics/t/sse?cursor=earliest", "");
	peer_expect(&p, "id: ");
	id = peer_until(&p, "\ndata: {\"topic\":\"t\",\"partition\":0,\"offset\":0,");
	peer_expect(&p, "\"value\":1}\n\n");
	peer_expect(&p, "\"value\":{\"a\":2}}\n\n");
	peer_close(&p);
	(void)snprintf(fields, sizeof(fields), "Last-Event-ID: %s\r\n", id);
	mem_free(id);
	open_stream(&p, &w, "/v1/topics/t/sse?cursor=latest", fields);
	peer_expect(&p, "\"offset\":1,");
	world_put(&w, "/v1/topics/t/records", "3");
	peer_expect(&p, "\"value\":3}\n\n");
	peer_close(&p);
	world_down(&w);
}

static void a_stream_waits_for_its_topic_where_topics_are_made_on_use(void **state)
{
	struct world w = {0}, strict = {0};
	struct peer p;

	(void)state;
	up(&w, true);
	open_stream(&p, &w, "/v1/sse?topics=later,t", "");
	assert_null(topics_find(w.app.topics, SLICE_LIT("later")));
	world_put(&w, "/v1/topics/later/records", "7");
	peer_expect(&p, "data: {\"topic\":\"later\",");
	peer_expect(&p, "\"value\":7}\n\n");
	peer_close(&p);
	world_down(&w);
	up(&strict, false);
	expect_refusal(&strict, "/v1/topics/none/sse", "", "unknown_topic");
	world_down(&strict);
}

static void several_partitions_have_ids_of_their_own(void **state)
{
	struct world w = {0};
	struct peer p;
	char fields[1024], *id;

	(void)state;
	up(&w, true);
	world_topic(&w, "/v1/topics/t", "{\"partitions\":3}");
	world_put(&w, "/v1/topics/t/records?partition=0", "\"p0\"");
	world_put(&w, "/v1/topics/t/records?partition=2", "\"p2\"");
	open_stream(&p, &w, "/v1/topics/t/sse?cursor=earliest", "");
	peer_expect(&p, "id: ");
	id = peer_until(&p, "\ndata: {\"topic\":\"t\",\"partition\":0,");
	peer_expect(&p, "\"value\":\"p2\"}\n\n");
	peer_close(&p);
	(void)snprintf(fields, sizeof(fields), "Last-Event-ID: %s\r\n", id);
	mem_free(id);
	open_stream(&p, &w, "/v1/topics/t/sse", fields);
	assert_null(strstr(p.bytes, "\"p0\"")); /* with its quotes: an id may have those two by chance */
	id = peer_until(&p, "\"value\":\"p2\"}\n\n");
	assert_null(strstr(id, "\"p0\""));
	mem_free(id);
	peer_close(&p);
	world_down(&w);
}

static void a_key_selects(void **state)
{
	struct world w = {0};
	struct peer p;
	char *before;

	(void)state;
	up(&w, true);
	world_put(&w, "/v1/topics/t/records?key=a", "1");
	world_put(&w, "/v1/topics/t/records?key=b", "2");
	world_put(&w, "/v1/topics/t/records?key=a", "3");
	open_stream(&p, &w, "/v1/topics/t/sse?cursor=earliest&key=b", "");
	before = peer_until(&p, "\"value\":2}\n\n");
	assert_null(strstr(before, "\"value\":1"));
	mem_free(before);
	world_put(&w, "/v1/topics/t/records?key=b", "4");
	before = peer_until(&p, "\"value\":4}\n\n");
	assert_null(strstr(before, "\"value\":3"));
	mem_free(before);
	peer_close(&p);
	world_down(&w);
}

static void a_gap_is_told_with_the_place_behind_it(void **state)
{
	struct world w = {0};
	struct peer p;
	char body[256], fields[256], *id = NULL;

	(void)state;
	up(&w, true);
	for (int i = 0; i < 6; i++)
		world_put(&w, "/v1/topics/t/records", "0");
	open_stream(&p, &w, "/v1/topics/t/sse?cursor=earliest", "");
	for (int i = 0; i < 4; i++) {
		mem_free(id);
		peer_expect(&p, "id: ");
		id = peer_until(&p, "\n");
		if (i == 0)
			(void)snprintf(fields, sizeof(fields), "Last-Event-ID: %s\r\n", id);
	}
	peer_close(&p);
	(void)snprintf(body, sizeof(body), "{\"before\":\"%s\"}", id);
	mem_free(id);
	world_put(&w, "/v1/topics/t/trim", body);
	open_stream(&p, &w, "/v1/topics/t/sse", fields);
	peer_expect(&p, "event: gap\ndata: {\"gap\":{\"partition\":0,\"from\":1,\"to\":4}}\n\n");
	peer_expect(&p, "\"offset\":4,");
	peer_close(&p);
	assert_int_equal(metrics_read(w.app.metrics, METRIC_READER_GAPS, WAY_SSE), 1);
	world_down(&w);
}

static void a_deleted_topic_ends_the_stream_with_an_error(void **state)
{
	struct world w = {0};
	struct peer p;

	(void)state;
	up(&w, true);
	world_put(&w, "/v1/topics/t/records", "1");
	open_stream(&p, &w, "/v1/topics/t/sse", "");
	assert_in_range(world_request(&w, "DELETE", "/v1/topics/t", "text/plain", "", 0), 200, 204);
	peer_expect(
		&p,
		"event: error\ndata: {\"error\":{\"code\":\"unknown_topic\",\"detail\":\"The topic was deleted\"}}\n\n");
	peer_expect(&p, "\r\n0\r\n\r\n");
	peer_close(&p);
	world_down(&w);
}

static void silence_is_filled_with_comments(void **state)
{
	struct world w = {0};
	struct peer p, q;
	char *before;

	(void)state;
	w.app.limits.sse_comment_ns = 100 * MS;
	up(&w, true);
	open_stream(&p, &w, "/v1/topics/t/sse", "");
	open_stream(&q, &w, "/v1/topics/u/sse", "");
	peer_expect(&p, ":\n\n");
	peer_expect(&p, ":\n\n");
	peer_expect(&q, ":\n\n");
	peer_close(&q);
	world_put(&w, "/v1/topics/t/records", "1");
	before = peer_until(&p, "\"value\":1}\n\n");
	mem_free(before);
	peer_expect(&p, ":\n\n");
	peer_close(&p);
	world_down(&w);
}

static void draining_ends_streams_and_takes_no_new_ones(void **state)
{
	struct world w = {0};
	struct peer p, late;

	(void)state;
	up(&w, true);
	peer_open(&late, &w);
	open_stream(&p, &w, "/v1/topics/t/sse", "");
	world_drain(&w);
	peer_expect(&p, "0\r\n\r\n");
	peer_ends(&p);
	peer_close(&p);
	peer_send(&late, "GET /v1/topics/t/sse HTTP/1.1\r\nHost: localhost\r\n\r\n", 51);
	peer_expect(&late, "HTTP/1.1 503 ");
	peer_close(&late);
	world_down(&w);
}

static void what_cannot_be_streamed_is_refused(void **state)
{
	struct world w = {0};

	(void)state;
	up(&w, true);
	world_topic(&w, "/v1/topics/wide", "{\"partitions\":257}");
	expect_refusal(&w, "/v1/topics/wide/sse", "", "too_many_partitions");
	expect_refusal(&w, "/v1/topics/t/sse?cursor=nonsense", "", "invalid_cursor");
	expect_refusal(&w, "/v1/topics/t/sse", "Last-Event-ID: nonsense\r\n", "invalid_cursor");
	expect_refusal(&w, "/v1/topics/t/sse?partitions=5-1", "", "invalid_parameter");
	expect_refusal(&w, "/v1/topics/t%20t/sse", "", "invalid_topic");
	expect_refusal(&w, "/v1/sse", "", "invalid_parameter");
	expect_refusal(&w, "/v1/sse?topics=a,,b", "", "invalid_parameter");
	expect_refusal(&w, "/v1/sse?topics=a,a", "", "invalid_parameter");
	world_down(&w);
}

/* More than credit and socket buffers hold, so that it must be pulled in many turns. */
static void who_stands_still_misses_nothing(void **state)
{
	struct world w = {0};
	struct peer slow, fast;
	size_t line = 20000, lines = 100;
	char *body = mem_alloc(line * lines);
	char text[32];

	(void)state;
	assert_non_null(body);
	memset(body, 'x', line * lines);
	for (size_t i = 0; i < lines; i++) {
		body[i * line] = '"';
		body[i * line + line - 2] = '"';
		body[i * line + line - 1] = '\n';
	}
	up(&w, true);
	open_stream(&slow, &w, "/v1/topics/t/sse?cursor=earliest", "");
	open_stream(&fast, &w, "/v1/topics/t/sse?cursor=earliest", "");
	for (int i = 0; i < 10; i++) {
		assert_int_equal(world_request(&w, "POST", "/v1/topics/t/records", "application/x-ndjson",
					       body, line * lines),
				 200);
		(void)snprintf(text, sizeof(text), "\"offset\":%d,", i * 100 + 99);
		peer_expect(&fast, text);
	}
	world_await_blocked(&w, WAY_SSE, 1);
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(text, sizeof(text), "\"offset\":%d,", i);
		peer_expect(&slow, text);
	}
	peer_expect(&slow, "x\"}\n\n");
	peer_close(&slow);
	peer_close(&fast);
	mem_free(body);
	world_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_resumes_behind_the_id),
		cmocka_unit_test(a_stream_waits_for_its_topic_where_topics_are_made_on_use),
		cmocka_unit_test(several_partitions_have_ids_of_their_own),
		cmocka_unit_test(a_key_selects),
		cmocka_unit_test(a_gap_is_told_with_the_place_behind_it),
		cmocka_unit_test(a_deleted_topic_ends_the_stream_with_an_error),
		cmocka_unit_test(silence_is_filled_with_comments),
		cmocka_unit_test(draining_ends_streams_and_takes_no_new_ones),
		cmocka_unit_test(what_cannot_be_streamed_is_refused),
		cmocka_unit_test(who_stands_still_misses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
