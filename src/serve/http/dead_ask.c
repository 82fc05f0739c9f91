/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/dead_ask.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "deliver/cursor.h"
#include "json/pointer.h"
#include "json/json_write.h"
#include "serve/record/record_json.h"

#define LIMIT_DEFAULT 100u
#define LIMIT_MAX 1000u
#define SCAN_ARENA_BYTES ((size_t)256 << 20)

/* ---- the topic ---- */

/* NAME.dead; else NAME itself, where that is a topic of dead letters. */
static int find_topic(struct dead_ask *a, struct slice name, struct fault *fault)
{
	char dead[TOPIC_NAME_MAX + 1];
	int rc = topic_name_check(name, fault);

	if (rc)
		return rc;
	a->parent = name;
	if (name.len + sizeof(DEAD_SUFFIX) <= sizeof(dead)) {
		(void)snprintf(dead, sizeof(dead), "%.*s" DEAD_SUFFIX, (int)name.len, (const char *)name.ptr);
		a->dead = topics_find(a->app->topics, slice_str(dead));
	}
	if (!a->dead && dead_topic_is(name)) {
		a->dead = topics_find(a->app->topics, name);
		a->parent = dead_topic_parent(name);
	}
	if (!a->dead && !topics_find(a->app->topics, name))
		return fault_set(fault, ERR_UNKNOWN_TOPIC, "there is no topic %.*s", (int)name.len,
				 (const char *)name.ptr);
	return 0;
}

/* ---- the selection ---- */

static int read_state(struct slice text, int *state, struct fault *fault)
{
	static const char *const words[] = {"open", "redriven", "dropped", "edited", "all"};

	for (int i = 0; i < 5; i++) {
		if (slice_eq_str(text, words[i])) {
			*state = i == 4 ? -1 : i;
			return 0;
		}
	}
	return fault_set(fault, ERR_BAD_PARAMETER, "state is open, redriven, dropped, edited or all");
}

static int read_time(struct dead_ask *a, const char *name, struct slice text, int64_t *ms,
		     struct fault *fault)
{
	struct cursor cursor = {.kind = CURSOR_EARLIEST};
	int rc = ERR_BAD_CURSOR;
	uint8_t at[64] = "@";

	if (text.len && text.len < sizeof(at) - 1) {
		bool has_at = text.ptr[0] == '@';
		memcpy(at + !has_at, text.ptr, text.len);
		rc = cursor_parse(slice_make(at, text.len + !has_at), a->x->arena, &cursor, NULL);
	}
	if (rc || cursor.kind != CURSOR_TIME)
		return fault_set(
			fault, ERR_BAD_PARAMETER,
			"%s is a time: milliseconds since 1970 or RFC 3339, such as 2026-01-31T12:00:00Z",
			name);
	*ms = cursor.time_ms;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static int read_ids(struct dead_ask *a, struct slice text, struct fault *fault)
{
	struct dead_filter *f = &a->scan.filter;
	int64_t *ids = arena_alloc(a->x->arena, DEAD_IDS_MAX * sizeof(*ids));
	uint32_t count = 0, kept = 0;

	if (!ids)
		return ERR_NOMEM;
	for (bool more = true; more;) {
		size_t n = 0;
		while (n < text.len && text.ptr[n] != ',')
			n++;
		if (count == DEAD_IDS_MAX || !slice_to_i64(slice_make(text.ptr, n), &ids[count]) ||
		    ids[count] < 0)
			return fault_set(
				fault, ERR_BAD_PARAMETER,
				"ids are offsets in the topic of dead letters with commas between, at most %u",
				DEAD_IDS_MAX);
		count++;
		more = n < text.len;
		text = slice_from(text, n + more);
	}
	qsort(ids, count, sizeof(*ids), by_number);
	for (uint32_t i = 0; i < count; i++)
		if (i == 0 || ids[i] != ids[kept - 1])
			ids[kept++] = ids[i];
	f->ids = ids;
	f->id_count = kept;
	a->by_id = true;
	return 0;
}

static int read_bool(const char *name, struct slice text, bool *out, struct fault *fault)
{
	*out = slice_eq_str(text, "true");
	if (*out || slice_eq_str(text, "false"))
		return 0;
	return fault_set(fault, ERR_BAD_PARAMETER, "%s is true or false", name);
}

/* The parameter, where the route knows it and it was sent. */
static bool sent(const struct dead_ask *a, const char *name, struct slice *value)
{
	for (const char *const *known = a->x->route->query; *known; known++)
		if (slice_eq_str(slice_str(*known), name))
			return exchange_query(a->x, name, value) == 1;
	return false;
}

static int read_filter(struct dead_ask *a, struct fault *fault)
{
	struct dead_filter *f = &a->scan.filter;
	struct slice text;
	int rc = 0;

	f->state = DEAD_OPEN;
	(void)sent(a, "code", &f->code);
	(void)sent(a, "value", &f->value);
	if (sent(a, "pointer", &f->pointer)) {
		f->has_pointer = true;
		if (!json_pointer_valid(f->pointer))
			rc = fault_set(
				fault, ERR_BAD_PARAMETER,
				"pointer is a JSON pointer (RFC 6901), such as /order/id; ~ is written ~0, and / within a name ~1");
	}
	if (rc == 0 && sent(a, "ids", &text)) {
		f->state = -1;
		rc = read_ids(a, text, fault);
	}
	if (rc == 0 && sent(a, "state", &text))
		rc = read_state(text, &f->state, fault);
	if (rc == 0 && sent(a, "from", &text))
		rc = read_time(a, "from", text, &f->from_ms, fault);
	if (rc == 0 && sent(a, "to", &text))
		rc = read_time(a, "to", text, &f->to_ms, fault);
	return rc;
}

static int read_page(struct dead_ask *a, struct fault *fault)
{
	struct slice text;
	uint64_t limit = LIMIT_DEFAULT;

	if (sent(a, "limit", &text) && (!slice_to_u64(text, &limit) || limit == 0 || limit > LIMIT_MAX))
		return fault_set(fault, ERR_BAD_PARAMETER, "limit is a number from 1 to %u", LIMIT_MAX);
	a->scan.limit = a->by_id ? a->scan.filter.id_count : (uint32_t)limit;
	if (sent(a, "after", &text) && (!slice_to_i64(text, &a->scan.after) || a->scan.after < -1))
		return fault_set(fault, ERR_BAD_PARAMETER, "after is the id behind which to begin");
	return sent(a, "dry_run", &text) ? read_bool("dry_run", text, &a->dry_run, fault) : 0;
}

/* What changes letters is told which: nothing at all would mean all of them. */
static int check_meant(const struct dead_ask *a, struct fault *fault)
{
	const struct dead_filter *f = &a->scan.filter;
	bool all = false;
	struct slice text;

	if (a->x->request.method == HTTP_GET || a->x->request.method == HTTP_HEAD || a->by_id)
		return 0;
	if (sent(a, "all", &text) && read_bool("all", text, &all, fault))
		return fault->err;
	if (all || f->code.ptr || f->value.ptr || f->has_pointer || f->from_ms || f->to_ms != INT64_MAX)
		return 0;
	return fault_set(
		fault, ERR_BAD_PARAMETER,
		"say which letters: ids, code, from, to, pointer, value, or all=true for every open one");
}

static void free_ask(struct dead_ask *a)
{
	dead_scan_fini(&a->scan);
	buf_fini(&a->out);
	mem_free(a);
}

static struct dead_ask *new_ask(struct exchange *x, size_t bytes)
{
	struct dead_ask *a = mem_zalloc(1, bytes);

	if (!a)
		return NULL;
	a->x = x;
	a->app = x->app;
	dead_scan_init(&a->scan, SCAN_ARENA_BYTES);
	buf_init(&a->out, RECORD_JSON_BYTES_MAX);
	return a;
}

/* With rc 0 the caller has it, else it is answered. */
static int give(struct dead_ask *a, int rc, const struct fault *fault, struct dead_ask **out)
{
	*out = a;
	if (rc == 0)
		return 0;
	*out = NULL;
	rc = exchange_problem(a->x, rc, "%s", fault->text[0] ? fault->text : err_row(rc)->sentence);
	free_ask(a);
	return rc;
}

int dead_ask_new(struct exchange *x, size_t bytes, struct dead_ask **out)
{
	struct dead_ask *a = new_ask(x, bytes);
	struct fault fault = {0};
	int rc;

	if (!a)
		return ERR_NOMEM;
	rc = find_topic(a, exchange_param(x, "topic"), &fault);
	if (rc == 0)
		rc = read_filter(a, &fault);
	if (rc == 0)
		rc = read_page(a, &fault);
	if (rc == 0)
		rc = check_meant(a, &fault);
	return give(a, rc, &fault, out);
}

int dead_ask_one(struct exchange *x, size_t bytes, struct dead_ask **out)
{
	struct dead_ask *a = new_ask(x, bytes);
	struct fault fault = {0};
	int rc;

	if (!a)
		return ERR_NOMEM;
	rc = find_topic(a, exchange_param(x, "topic"), &fault);
	if (rc == 0)
		rc = read_ids(a, exchange_param(x, "id"), &fault);
	if (rc == 0 && a->scan.filter.id_count != 1)
		rc = fault_set(&fault, ERR_BAD_PARAMETER, "one letter has one id");
	a->scan.limit = 1;
	return give(a, rc, &fault, out);
}

/* ---- going ---- */

static void run_scan(void *arg)
{
	struct dead_ask *a = arg;

	dead_scan_run(&a->scan);
}

static void on_scanned(void *arg)
{
	struct dead_ask *a = arg;

	a->then(a);
}

int dead_ask_go(struct dead_ask *a, void (*then)(struct dead_ask *a))
{
	struct exchange *x = a->x;
	int rc;

	a->then = then;
	a->scan.marks = a->app->dead;
	a->scan.topic = a->dead;
	if (!a->dead) {
		then(a); /* answers, as there is nothing to wait for */
		return 0;
	}
	rc = a->app->run_blocking(app_loop(a->app, x->loop), run_scan, on_scanned, a);
	if (rc == 0)
		return EXCHANGE_PENDING;
	free_ask(a);
	return rc;
}

/* ---- answering ---- */

void dead_ask_problem(struct dead_ask *a, int err, const char *text)
{
	(void)exchange_problem(a->x, err, "%s", text ? text : err_row(err)->sentence);
	free_ask(a);
}

void dead_ask_answer(struct dead_ask *a, int status)
{
	(void)buf_append_byte(&a->out, '\n');
	if (buf_status(&a->out))
		(void)exchange_problem(a->x, ERR_NOMEM, "there is no memory for the answer");
	else
		(void)exchange_answer(a->x, status, "application/json", buf_slice(&a->out));
	free_ask(a);
}

bool dead_ask_failed(struct dead_ask *a)
{
	if (a->scan.err == 0)
		return false;
	dead_ask_problem(a, a->scan.err, "the dead letters cannot be read now");
	return true;
}

void dead_ask_put_next(struct dead_ask *a)
{
	json_put_member_known(&a->out, "next", a->scan.more ? a->scan.last : -1);
}

void dead_ask_each_unknown(const struct dead_ask *a, void (*fn)(struct buf *out, int64_t id), struct buf *out)
{
	const struct dead_filter *f = &a->scan.filter;
	uint32_t at = 0;

	for (uint32_t i = 0; i < f->id_count; i++) {
		while (at < a->scan.count && a->scan.found[at].offset < f->ids[i])
			at++;
		if (at < a->scan.count && a->scan.found[at].offset == f->ids[i])
			continue;
		/* Behind where the page ended it is not unknown, but not looked at. */
		if (a->scan.more && f->ids[i] > a->scan.last)
			return;
		fn(out, f->ids[i]);
	}
}
