/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_OBS_SAY_H
#define WEIR_OBS_SAY_H

#include "obs/metrics.h"
#include "sys/sys.h"

/*
 * Log lines: one event, one line, one write to stderr. An event has a stable
 * name in snake_case that people may search and alert on; the words beside it may
 * change. Not for what happens once a request: that is what metrics are for.
 *
 * One for the process, as stderr is: the only state of this folder that is
 * global. Before say_start lines are written in logfmt without a time.
 */
enum say_level { SAY_ERROR, SAY_WARNING, SAY_INFO, SAY_DEBUG };
enum say_form { SAY_LOGFMT, SAY_JSON };

#define SAY_LINE_MAX 2048u /* bytes, the newline in it; what is longer is cut and says so */

struct say_options {
	const struct sys *sys; /* keeps; for the time */
	enum say_level level;  /* lines above it are not written */
	enum say_form form;
	int fd;            /* 0: stderr */
	uint32_t burst;    /* lines of one event in one window, 0: 10 */
	int64_t window_ns; /* 0: 10 s */
};

/* Sets what follows; may be called again (reload). No thread may be inside say() at the first call. */
void say_start(const struct say_options *options);

/* Tells how many lines were held back, then forgets sys: the lines after it have no time. */
void say_stop(void);

/*
 * Writes a line. `format` is a sentence, then fields as " name=%conversion":
 *
 *     say(SAY_INFO, "listening", "HTTP is served address=%s loops=%u", text, loops);
 *
 *     ts=2025-01-31T10:00:00.123Z level=info event=listening msg="HTTP is served" address=127.0.0.1:8080 loops=2
 *
 * Conversions: %s %.*s %c %d %i %u %x with none, l, ll, z; %f with a precision; %%.
 * Values are quoted and escaped as the form needs; a NULL string is "(null)".
 * Past `burst` lines of one event in a window lines are held back; the next that
 * is written carries repeated=N. True where it was not held back, and may be forgotten.
 * Any thread; allocates nothing; never fails.
 */
bool say(enum say_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* For callbacks of rooms that do not know this one: level as in enum say_level, ctx unused. */
void say_text(void *ctx, int level, const char *event, const char *text);

/* True where lines of this level are written: to spare the work for one that is not. */
bool say_enabled(enum say_level level);

/* A source for metrics_source_add: lines by level and lines held back. ctx unused. */
void say_metrics(void *ctx, struct metrics_scrape *scrape);

/* Reads "error", "warning", "info", "debug", or "logfmt", "json". False where it is none. */
bool say_level_parse(struct slice text, enum say_level *out);
bool say_form_parse(struct slice text, enum say_form *out);

#endif
