/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_HTTP_HTTP_WORLD_TEST_H
#define WEIR_CONNECT_HTTP_HTTP_WORLD_TEST_H

/*
 * For the tests of the type: a server that each test tells what to answer, the type in the machinery of source_test.h,
 * and an interface of so many items that may refuse now and then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>

#include "connect/http/http.h"
#include "connect/source_test.h"
#include "net/web_test.h"

typedef void respond_fn(const char *path, const char *head, struct buf *out);

static inline bool give(int fd, const char *path, const char *head);

static struct web_test web = {.answer = give};
static _Atomic int web_requests;
static _Atomic(respond_fn *) web_respond;
/* One request at a time, so that respond may count. */
static pthread_mutex_t web_lock = PTHREAD_MUTEX_INITIALIZER;

static inline void answer(struct buf *out, int status, const char *fields, const char *body)
{
	(void)buf_appendf(out, "HTTP/1.1 %d Told\r\n%sContent-Length: %zu\r\n\r\n%s", status, fields,
			  strlen(body), body);
}

/* Nothing to say closes the connection. */
static inline bool give(int fd, const char *path, const char *head)
{
	struct buf out;
	bool ok;

	buf_init(&out, 64u << 20);
	(void)pthread_mutex_lock(&web_lock);
	atomic_fetch_add(&web_requests, 1);
	atomic_load (&web_respond)(path, head, &out);
	(void)pthread_mutex_unlock(&web_lock);
	ok = out.len > 0 && web_test_put(fd, out.ptr, out.len);
	buf_fini(&out);
	return ok;
}

static inline int setup(void **state)
{
	(void)state;
	atomic_store(&web_requests, 0);
	web_test_start(&web);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	web_test_stop(&web);
	return 0;
}

static struct source_test t;

/* Replaces every URL of the settings: $ is http://127.0.0.1:PORT. */
static inline const char *settings(const char *yaml)
{
	static char text[8192];
	size_t n = 0;

	for (; *yaml; yaml++)
		if (*yaml == '$')
			n += (size_t)snprintf(text + n, sizeof(text) - n, "http://127.0.0.1:%u", web.port);
		else
			text[n++] = *yaml;
	text[n] = '\0';
	return text;
}

static inline void open_source(const char *yaml, respond_fn *respond)
{
	atomic_store(&web_respond, respond);
	source_test_open(&t, &source_http, settings(yaml));
}

static inline void run(void)
{
	if (source_test_run(&t) == SOURCE_FAILED)
		fail_msg("%s", t.fault.text);
}

static inline void run_fails(const char *text)
{
	assert_int_equal(source_test_run(&t), SOURCE_FAILED);
	if (!strstr(t.fault.text, text))
		fail_msg("'%s' has not '%s'", t.fault.text, text);
}

static inline bool key_is(uint32_t i, const char *text)
{
	return i < t.record_count && strcmp(source_test_key(&t, i), text) == 0;
}

/* The number behind `name=` in a path; -1 where there is none. */
static inline long number_of(const char *path, const char *name)
{
	const char *at = strstr(path, name);

	return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

/* Items [from, to) as {"id":n,…}. */
static inline void items(struct buf *out, long from, long to)
{
	(void)buf_append_byte(out, '[');
	for (long i = from; i < to; i++)
		(void)buf_appendf(out, "%s{\"id\":%ld,\"name\":\"item \\u00e9 %ld\"}", i > from ? "," : "", i,
				  i);
	(void)buf_append_byte(out, ']');
}

static inline void expect_ids(long from, long to)
{
	char text[30];

	assert_int_equal(t.record_count, to - from);
	for (long i = from; i < to; i++) {
		(void)snprintf(text, sizeof(text), "%ld", i);
		if (!key_is((uint32_t)(i - from), text))
			fail_msg("record %ld has the key %s", i - from,
				 source_test_key(&t, (uint32_t)(i - from)));
	}
}

static struct {
	long total; /* items that the server has */
	long fails; /* every so many requests, one is refused */
	long count;
	char head[16384];
} api;

static inline bool refuses(struct buf *out)
{
	if (!api.fails || ++api.count % api.fails)
		return false;
	answer(out, 503, "Retry-After: 2\r\n", "later");
	return true;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
