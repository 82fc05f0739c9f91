/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_JSON_JSON_SCAN_H
#define WEIR_JSON_JSON_SCAN_H

#include "json/json.h"

/*
 * The checker itself, for the files of this folder: json.c walks with it,
 * ndjson.c runs it line by line. Nobody else includes it.
 */

/* What is known of UTF-8 from the first byte outside ASCII to utf8_end. */
enum json_utf8 {
	JSON_UTF8_UNASKED,
	JSON_UTF8_GOOD, /* all of it is well formed: strings need no further look */
	JSON_UTF8_BAD,  /* somewhere it is not: each string is checked by itself */
};

struct json_scan {
	const uint8_t *start, *end;
	const uint8_t *utf8_end; /* at or behind end: how far one look at UTF-8 goes */
	uint32_t depth;          /* levels around the value already */
	uint8_t utf8;
	struct json_error error; /* at: from start */
};

/*
 * Checks the value that begins at `at` (blanks before it are stepped over) and
 * gives the place behind it; *begin its first byte. NULL with s->error.
 */
const uint8_t *json_scan_value(struct json_scan *s, const uint8_t *at, const uint8_t **begin);

/* The same for a name: a string and nothing else. */
const uint8_t *json_scan_string(struct json_scan *s, const uint8_t *at);

/* Checks that s->start..s->end is one document; 0 or ERR_BAD_JSON. *doc gets it without blanks around. */
int json_scan_document(struct json_scan *s, struct slice *doc);

/* Steps over blanks. */
static inline const uint8_t *json_scan_blanks(const uint8_t *at, const uint8_t *end)
{
	while (at < end && *at <= ' ' && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
		at++;
	return at;
}

/* Sets the error; gives NULL, so that `return json_scan_fail(...)` reads well. */
const uint8_t *json_scan_fail(struct json_scan *s, const uint8_t *at, const char *what);

#endif
