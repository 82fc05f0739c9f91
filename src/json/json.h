/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_JSON_JSON_H
#define WEIR_JSON_JSON_H

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"

/*
 * JSON as RFC 8259 writes it: strict grammar, UTF-8, no byte order mark, no
 * comments, no NaN. Duplicate member names are allowed and come one by one.
 * A \u escape of half a surrogate pair is grammar (and passes json_valid), but
 * stands for no character: json_text refuses it.
 *
 * There is no tree. A document is checked (json_valid), or walked in order
 * with a cursor that checks what it passes, so that either way each byte is
 * looked at once. Nothing is allocated but by json_text for a string with escapes,
 * in the arena it was given. Nothing is read behind the slice: no padding is asked for.
 */

/* Arrays and objects within each other; deeper is ERR_BAD_JSON. */
#define JSON_DEPTH_MAX 512u

/* What was wrong and where: `at` counts bytes from 0 in the slice given. */
struct json_error {
	size_t at;
	const char *what; /* a phrase without full stop: "expected ',' or '}' after a member" */
};

/* Writes "at byte 17: expected ..." (bytes counted from 1). */
void json_error_text(const struct json_error *error, char *text, size_t bytes_max);

/* One whole document, with blanks around it. 0, or ERR_BAD_JSON with *error (may be NULL). */
int json_valid(struct slice doc, struct json_error *error);

/* UTF-8 with the processor's vectors: for large or many slices; same answer as utf8_valid. */
bool json_utf8_valid(struct slice s);

/* ---- walking ---- */

enum json_kind {
	JSON_NULL,
	JSON_BOOL,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

/* A value as it was sent: raw has the quotes of a string, the brackets of an array, no blanks around. */
struct json_value {
	enum json_kind kind;
	struct slice raw; /* borrowed from the document */
};

/*
 * A place in a document. The first error sticks: all later calls do nothing
 * and give false or the error again, so that a reader may check once.
 *
 *	json_cursor_init(&c, doc);
 *	json_object_begin(&c);
 *	while (json_object_next(&c, &name)) {
 *		if (json_name_is(name, "limit"))
 *			json_take(&c, &limit);
 *		else
 *			json_skip(&c);
 *	}
 *	rc = json_end(&c);
 *
 * After each name (and each array_next) exactly one value must be taken:
 * by json_take, json_skip, or a begin and its nexts up to false.
 */
struct json_cursor {
	const uint8_t *start, *at, *end;
	uint64_t fresh[JSON_DEPTH_MAX / 64]; /* bit per level: nothing taken of it yet */
	uint32_t depth;
	uint8_t utf8; /* json.c's: what is known of the rest of the document */
	int status;   /* 0, or ERR_BAD_JSON */
	struct json_error error;
};

void json_cursor_init(struct json_cursor *c, struct slice doc);

/* The kind of the value that comes next, by its first byte; does not move. JSON_NULL on an error (see status). */
enum json_kind json_peek(struct json_cursor *c);

/* Checks one value of any kind whole and gives its bytes. 0, ERR_BAD_JSON. out may be NULL for json_skip. */
int json_take(struct json_cursor *c, struct json_value *out);
int json_skip(struct json_cursor *c);

/* Enters an object; ERR_BAD_JSON where the next value is none ("expected an object"). */
int json_object_begin(struct json_cursor *c);
/* The next member's name (raw, with quotes); false at the end of the object (which is then left) or on an error. */
bool json_object_next(struct json_cursor *c, struct slice *name);

int json_array_begin(struct json_cursor *c);
bool json_array_next(struct json_cursor *c);

/* Only blanks may follow. 0, or the first error of the walk. */
int json_end(struct json_cursor *c);

/* Bytes from the start of the document to the place of the cursor. */
size_t json_offset(const struct json_cursor *c);

/* Sets an error of the caller's at a value, for "expected a number" and the like. Gives ERR_BAD_JSON. */
int json_refuse(struct json_cursor *c, struct json_value value, const char *what);

/* ---- values ---- */

/* True where the raw string (with quotes) says exactly this text, escapes undone. */
bool json_name_is(struct slice raw, const char *text);

/*
 * The characters of a raw string (with quotes). Without escapes the result is
 * borrowed from the document, else it is in the arena. 0; ERR_BAD_JSON where an
 * escape is half a surrogate pair; ERR_NOMEM.
 */
int json_text(struct slice raw, struct arena *arena, struct slice *out);

/*
 * Numbers, strictly: 0, or ERR_BAD_JSON where the value is no number, or does
 * not fit. Integers are written without fraction and exponent ("1.0" is none).
 * json_double gives the nearest double; ERR_BAD_JSON past its range.
 */
int json_i64(struct json_value v, int64_t *out);
int json_u64(struct json_value v, uint64_t *out);
int json_double(struct json_value v, double *out);

/* 0 and *out, or ERR_BAD_JSON where it is neither true nor false. */
int json_bool(struct json_value v, bool *out);

#endif
