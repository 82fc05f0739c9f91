/* SPDX-License-Identifier: Apache-2.0 */
#include "obs/say.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "obs/quote.h"

/*
 * A line is put together on the stack and leaves with one write, so that lines
 * of several threads never mix. The format is cut into a sentence and fields
 * before it is filled in: a value can hold what it likes, it never becomes a
 * field of its own. Hence the small formatter below instead of vsnprintf: it
 * must know where one value ends and the next begins.
 *
 * Repeats are counted by event in a table of fixed size. Where it is full, an
 * event that is not in it is not limited: a line too many is better than one
 * too few. What was held back is told by the next line of the event, or by the
 * next line of any event once the window is over, or at the stop.
 *
 * Rejected: a queue and a thread that writes (lines before a crash would be lost,
 * and it is they that matter); fields as an array of structs (unreadable calls,
 * and the compiler no longer checks the arguments).
 */

#define EVENTS 64u
#define EVENT_PROBES 8u
#define TAIL_BYTES 32u /* kept free for closing a line that was cut */

struct event {
	const char *name;  /* a literal, or a copy in a room that lives as long; compared as text */
	int64_t window_ns; /* when the window began */
	uint32_t count;
	uint32_t held_back;
};

static struct {
	_Atomic(const struct sys *) sys;
	_Atomic int level;
	_Atomic int form;
	_Atomic int fd;
	uint32_t burst;
	int64_t window_ns;
	pthread_mutex_t lock; /* burst, window_ns, events */
	struct event events[EVENTS];
	_Atomic uint64_t lines[METRIC_COUNT_LEVEL];
	_Atomic uint64_t held_back;
} now = {
	.level = SAY_INFO,
	.fd = STDERR_FILENO,
	.burst = 10,
	.window_ns = INT64_C(10000000000),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

static const char *const level_texts[] = {"error", "warning", "info", "debug"};

/* ---- one line ---- */

struct line {
	char bytes[SAY_LINE_MAX];
	size_t len;
	enum say_form form;
	bool cut;
};

struct value {
	char text[SAY_LINE_MAX];
	size_t len;
	bool number; /* one conversion of a number and nothing else */
	bool cut;
};

static size_t room(const struct line *line)
{
	return SAY_LINE_MAX - TAIL_BYTES - line->len;
}

static void put_raw(struct line *line, const char *text, size_t n)
{
	if (line->cut || n > room(line)) {
		line->cut = true;
		return;
	}
	memcpy(line->bytes + line->len, text, n);
	line->len += n;
}

static bool is_plain(struct slice text)
{
	size_t i;

	for (i = 0; i < text.len; i++)
		if (text.ptr[i] <= ' ' || text.ptr[i] >= 0x7f || strchr("\"=\\", text.ptr[i]))
			return false;
	return text.len > 0;
}

/* A field, or nothing of it where it has no room at all; a long value is cut. */
static void put_field(struct line *line, struct slice name, struct slice value, bool number, bool cut)
{
	bool json = line->form == SAY_JSON;
	bool bare = number || (!json && is_plain(value));

	if (line->cut || name.len + (bare ? value.len : 0) + 8 > room(line)) {
		line->cut = true;
		return;
	}
	if (line->len > 0)
		put_raw(line, json ? "," : " ", 1);
	put_raw(line, json ? "\"" : "", json);
	put_raw(line, (const char *)name.ptr, name.len);
	put_raw(line, json ? "\":" : "=", json ? 2 : 1);
	if (bare) {
		put_raw(line, (const char *)value.ptr, value.len);
	} else {
		put_raw(line, "\"", 1);
		line->len += quote_escape(line->bytes + line->len, room(line) - 1, value, &cut);
		put_raw(line, "\"", 1);
	}
	line->cut |= cut;
}

static void put_text(struct line *line, const char *name, const char *text)
{
	put_field(line, slice_str(name), slice_str(text), false, false);
}

static void put_time(struct line *line, int64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / 1000000000);
	char text[64];
	struct tm tm;

	if (!gmtime_r(&seconds, &tm))
		return;
	(void)snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
		       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		       (int)(wall_ns / 1000000 % 1000));
	put_text(line, "ts", text);
}

static void line_init(struct line *line, enum say_level level, const char *event)
{
	const struct sys *sys = atomic_load(&now.sys);

	line->len = 0;
	line->cut = false;
	line->form = (enum say_form)atomic_load_explicit(&now.form, memory_order_relaxed);
	if (sys)
		put_time(line, sys->ops->wall_ns(sys->self));
	put_text(line, "level", level_texts[level]);
	put_text(line, "event", event);
}

/* Closes the line and writes it whole. A stderr that takes nothing loses the line: there is nowhere to tell. */
static void line_write(struct line *line, enum say_level level)
{
	bool json = line->form == SAY_JSON;
	const char *end = line->cut ? (json ? ",\"cut\":true}\n" : " cut=true\n") : json ? "}\n" : "\n";
	char whole[SAY_LINE_MAX + 1];
	size_t len = 0, done = 0;

	if (json)
		whole[len++] = '{';
	memcpy(whole + len, line->bytes, line->len);
	len += line->len;
	memcpy(whole + len, end, strlen(end));
	len += strlen(end);
	while (done < len) {
		ssize_t n =
			write(atomic_load_explicit(&now.fd, memory_order_relaxed), whole + done, len - done);

		if (n < 0 && errno != EINTR)
			return;
		if (n > 0)
			done += (size_t)n;
	}
	atomic_fetch_add_explicit(&now.lines[level], 1, memory_order_relaxed);
}

/* ---- the format ---- */

struct arguments {
	va_list list;
};

static void value_add(struct value *v, const char *text, size_t n)
{
	if (n > sizeof(v->text) - v->len) {
		n = sizeof(v->text) - v->len;
		v->cut = true;
	}
	memcpy(v->text + v->len, text, n);
	v->len += n;
}

static void value_add_number(struct value *v, uint64_t number, bool negative, unsigned base)
{
	char digits[24];
	size_t at = sizeof(digits);

	do {
		digits[--at] = "0123456789abcdef"[number % base];
		number /= base;
	} while (number > 0);
	if (negative)
		digits[--at] = '-';
	value_add(v, digits + at, sizeof(digits) - at);
}

static void value_add_signed(struct value *v, int64_t number)
{
	value_add_number(v, number < 0 ? 0 - (uint64_t)number : (uint64_t)number, number < 0, 10);
}

static void value_add_double(struct value *v, double number, int precision)
{
	char digits[64];
	int n = snprintf(digits, sizeof(digits), "%.*f",
			 precision < 0  ? 6 :
			 precision > 17 ? 17 :
					  precision,
			 number);

	if (n > 0)
		value_add(v, digits, (size_t)n < sizeof(digits) ? (size_t)n : sizeof(digits) - 1);
}

static void value_add_string(struct value *v, const char *text, int precision)
{
	if (!text)
		text = "(null)";
	value_add(v, text, precision >= 0 ? strnlen(text, (size_t)precision) : strlen(text));
}

static int64_t take_signed(struct arguments *a, char length)
{
	switch (length) {
	case 'l':
		return va_arg(a->list, long);
	case 'L':
		return va_arg(a->list, long long);
	case 'z':
		return va_arg(a->list, ssize_t);
	default:
		return va_arg(a->list, int);
	}
}

static uint64_t take_unsigned(struct arguments *a, char length)
{
	switch (length) {
	case 'l':
		return va_arg(a->list, unsigned long);
	case 'L':
		return va_arg(a->list, unsigned long long);
	case 'z':
		return va_arg(a->list, size_t);
	default:
		return va_arg(a->list, unsigned int);
	}
}

struct conversion {
	int precision; /* -1: none */
	char length;   /* 0, 'l', 'L' for ll, 'z' */
	char kind;
};

/* Reads what follows a '%'; gives the place behind it. Width and flags are not known. */
static const char *read_conversion(const char *at, struct arguments *a, struct conversion *c)
{
	*c = (struct conversion){.precision = -1};
	if (at[0] == '.' && at[1] == '*') {
		c->precision = va_arg(a->list, int);
		at += 2;
	} else if (at[0] == '.') {
		c->precision = 0;
		for (at++; *at >= '0' && *at <= '9'; at++)
			c->precision = c->precision < 100000 ? c->precision * 10 + (*at - '0') : c->precision;
	}
	for (; *at == 'l' || *at == 'z'; at++)
		c->length = *at == 'z' ? 'z' : c->length == 'l' ? 'L' : 'l';
	c->kind = *at;
	return *at ? at + 1 : at;
}

/* True where it could be filled in; false ends the value: what the next argument is would be a guess. */
static bool convert(struct value *v, const struct conversion *c, struct arguments *a)
{
	char byte;

	switch (c->kind) {
	case 's':
		value_add_string(v, va_arg(a->list, const char *), c->precision);
		return true;
	case 'd':
	case 'i':
		value_add_signed(v, take_signed(a, c->length));
		return true;
	case 'u':
		value_add_number(v, take_unsigned(a, c->length), false, 10);
		return true;
	case 'x':
		value_add_number(v, take_unsigned(a, c->length), false, 16);
		return true;
	case 'f':
		value_add_double(v, va_arg(a->list, double), c->precision);
		return true;
	case 'c':
		byte = (char)va_arg(a->list, int);
		value_add(v, &byte, 1);
		return true;
	case '%':
		value_add(v, "%", 1);
		return true;
	default:
		value_add(v, "%?", 2);
		return false;
	}
}

/* JSON knows no hexadecimal, infinity or NaN. */
static bool is_number(const struct value *v, char kind)
{
	return strchr("diuf", kind) && v->len > 0 &&
	       (v->text[v->len - 1] >= '0' && v->text[v->len - 1] <= '9');
}

/* Fills in the format between at and end. False where it has something that is not known. */
static bool fill_in(struct value *v, const char *at, const char *end, struct arguments *a)
{
	const char *begin = at;

	v->len = 0;
	v->number = v->cut = false;
	while (at < end) {
		const char *percent = memchr(at, '%', (size_t)(end - at));
		struct conversion c;
		bool alone;

		value_add(v, at, (size_t)((percent ? percent : end) - at));
		if (!percent)
			break;
		alone = percent == begin;
		at = read_conversion(percent + 1, a, &c);
		if (!convert(v, &c, a))
			return false;
		v->number = alone && at == end && is_number(v, c.kind);
	}
	return true;
}

/* The bytes of a field's name where one begins here ("name=%"), else 0. */
static size_t field_name(const char *at)
{
	size_t n = 0;

	while ((at[n] >= 'a' && at[n] <= 'z') || (at[n] >= '0' && at[n] <= '9') || at[n] == '_')
		n++;
	return n > 0 && at[n] == '=' && at[n + 1] == '%' && at[n + 2] != '%' ? n : 0;
}

/* The blank before the next field, or the end of the format. */
static const char *next_field(const char *at)
{
	for (; *at; at++)
		if (*at == ' ' && field_name(at + 1) > 0)
			return at;
	return at;
}

static void put_format(struct line *line, const char *format, struct arguments *a)
{
	const char *at = field_name(format) > 0 ? format : next_field(format);
	struct value v;

	if (at > format) {
		bool known = fill_in(&v, format, at, a);

		put_field(line, SLICE_LIT("msg"), slice_make(v.text, v.len), false, v.cut);
		if (!known)
			return;
	}
	while (*at) {
		const char *name = *at == ' ' ? at + 1 : at;
		const char *begin = name + field_name(name) + 1;
		bool known;

		at = next_field(begin);
		known = fill_in(&v, begin, at, a);
		put_field(line, slice_make(name, (size_t)(begin - 1 - name)), slice_make(v.text, v.len),
			  v.number, v.cut);
		if (!known)
			return;
	}
}

/* ---- repeats ---- */

static uint32_t hash_name(const char *name)
{
	uint32_t hash = 2166136261u; /* FNV-1a: names are ours */

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 16777619u;
	return hash;
}

static struct event *find_event(const char *name)
{
	uint32_t at = hash_name(name);
	unsigned i;

	for (i = 0; i < EVENT_PROBES; i++) {
		struct event *e = &now.events[(at + i) % EVENTS];

		if (!e->name)
			e->name = name;
		if (e->name == name || strcmp(e->name, name) == 0)
			return e;
	}
	return NULL;
}

/* True where the line may be written; *held gets how many of its like were not, until then. */
static bool may_say(const char *name, int64_t at_ns, uint32_t *held)
{
	struct event *e = find_event(name);

	*held = 0;
	if (!e)
		return true;
	if (e->count == 0 || at_ns - e->window_ns >= now.window_ns) {
		*held = e->held_back;
		e->window_ns = at_ns;
		e->count = 0;
		e->held_back = 0;
	}
	if (e->count >= now.burst) {
		e->held_back++;
		return false;
	}
	e->count++;
	return true;
}

/* Takes the first event whose window is over with lines held back; NULL where there is none. */
static const char *take_held(int64_t at_ns, bool all, uint32_t *held)
{
	unsigned i;

	for (i = 0; i < EVENTS; i++) {
		struct event *e = &now.events[i];

		if (e->held_back == 0 || (!all && at_ns - e->window_ns < now.window_ns))
			continue;
		*held = e->held_back;
		e->held_back = 0;
		e->count = 0;
		return e->name;
	}
	return NULL;
}

/* A line for each event that repeated and has not come again since. */
static void tell_held(int64_t at_ns, bool all)
{
	for (;;) {
		struct line line;
		const char *name;
		uint32_t held;
		struct value v = {.len = 0};

		(void)pthread_mutex_lock(&now.lock);
		name = take_held(at_ns, all, &held);
		(void)pthread_mutex_unlock(&now.lock);
		if (!name)
			return;
		line_init(&line, SAY_WARNING, "repeated");
		put_text(&line, "msg", "lines of one event were held back");
		put_text(&line, "of", name);
		value_add_number(&v, held, false, 10);
		put_field(&line, SLICE_LIT("repeated"), slice_make(v.text, v.len), true, false);
		line_write(&line, SAY_WARNING);
	}
}

/* True where the line may be written. Before say_start there is no clock, and so no limit. */
static bool pass(const char *event, uint32_t *held)
{
	const struct sys *sys = atomic_load(&now.sys);
	int64_t at_ns;
	bool ok;

	*held = 0;
	if (!sys)
		return true;
	at_ns = sys_monotonic_ns(sys);
	(void)pthread_mutex_lock(&now.lock);
	ok = may_say(event, at_ns, held);
	(void)pthread_mutex_unlock(&now.lock);
	if (!ok)
		atomic_fetch_add_explicit(&now.held_back, 1, memory_order_relaxed);
	tell_held(at_ns, false);
	return ok;
}

/* ---- the doors ---- */

void say_start(const struct say_options *options)
{
	(void)pthread_mutex_lock(&now.lock);
	now.burst = options->burst ? options->burst : 10;
	now.window_ns = options->window_ns ? options->window_ns : INT64_C(10000000000);
	(void)pthread_mutex_unlock(&now.lock);
	atomic_store(&now.fd, options->fd ? options->fd : STDERR_FILENO);
	atomic_store(&now.form, (int)options->form);
	atomic_store(&now.level, (int)options->level);
	atomic_store(&now.sys, options->sys);
}

void say_stop(void)
{
	if (atomic_load(&now.sys))
		tell_held(0, true);
	(void)pthread_mutex_lock(&now.lock);
	memset(now.events, 0, sizeof(now.events));
	(void)pthread_mutex_unlock(&now.lock);
	atomic_store(&now.sys, NULL);
}

bool say_enabled(enum say_level level)
{
	return (int)level <= atomic_load_explicit(&now.level, memory_order_relaxed);
}

bool say(enum say_level level, const char *event, const char *format, ...)
{
	struct arguments a;
	struct line line;
	uint32_t held;

	if (!say_enabled(level))
		return true;
	if (!pass(event, &held))
		return false;
	line_init(&line, level, event);
	va_start(a.list, format);
	put_format(&line, format, &a);
	va_end(a.list);
	if (held > 0) {
		struct value v = {.len = 0};

		value_add_number(&v, held, false, 10);
		put_field(&line, SLICE_LIT("repeated"), slice_make(v.text, v.len), true, false);
	}
	line_write(&line, level);
	return true;
}

void say_text(void *ctx, int level, const char *event, const char *text)
{
	(void)ctx;
	if (level < SAY_ERROR)
		level = SAY_ERROR;
	say(level > SAY_DEBUG ? SAY_DEBUG : (enum say_level)level, event, "%s", text);
}

void say_metrics(void *ctx, struct metrics_scrape *scrape)
{
	unsigned i;

	(void)ctx;
	for (i = 0; i < METRIC_COUNT_LEVEL; i++)
		metrics_put(scrape, METRIC_SAY_LINES, i,
			    (int64_t)atomic_load_explicit(&now.lines[i], memory_order_relaxed));
	metrics_put(scrape, METRIC_SAY_HELD_BACK, 0,
		    (int64_t)atomic_load_explicit(&now.held_back, memory_order_relaxed));
}

bool say_level_parse(struct slice text, enum say_level *out)
{
	unsigned i;

	for (i = 0; i < METRIC_COUNT_LEVEL; i++) {
		if (slice_eq_str(text, level_texts[i])) {
			*out = (enum say_level)i;
			return true;
		}
	}
	return false;
}

bool say_form_parse(struct slice text, enum say_form *out)
{
	if (slice_eq_str(text, "logfmt"))
		*out = SAY_LOGFMT;
	else if (slice_eq_str(text, "json"))
		*out = SAY_JSON;
	else
		return false;
	return true;
}
