/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_SLICE_H
#define WEIR_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * A slice is a view of bytes that somebody else keeps alive. It is passed by
 * value, is never NUL terminated, and knows nothing of who owns the bytes.
 * An absent value (a null key) is told from an empty one by ptr == NULL.
 */
struct slice {
	const uint8_t *ptr;
	size_t len;
};

static inline struct slice slice_make(const void *ptr, size_t len)
{
	return (struct slice){.ptr = ptr, .len = len};
}

/* Views a NUL terminated string; NULL gives the null slice. */
static inline struct slice slice_str(const char *text)
{
	return (struct slice){.ptr = (const uint8_t *)text, .len = text ? strlen(text) : 0};
}

static inline struct slice slice_null(void)
{
	return (struct slice){.ptr = NULL, .len = 0};
}

/* A slice of a string literal, usable in initialisers. */
#define SLICE_LIT(text) ((struct slice){.ptr = (const uint8_t *)(text), .len = sizeof(text) - 1})

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_eq_str(struct slice a, const char *text)
{
	return slice_eq(a, slice_str(text));
}

/* The part from `from` on; past the end gives an empty slice. */
static inline struct slice slice_from(struct slice s, size_t from)
{
	if (from > s.len)
		from = s.len;
	return (struct slice){.ptr = s.ptr ? s.ptr + from : NULL, .len = s.len - from};
}

/* ASCII case-insensitive equality, for header names and tokens. */
bool slice_eq_nocase(struct slice a, struct slice b);

/* True where `s` begins with `prefix`. */
bool slice_starts(struct slice s, struct slice prefix);

/* Without leading and trailing spaces and tabs. */
struct slice slice_trim(struct slice s);

/* What stands before the first such byte; *rest is what follows it, null where there is none. rest may be the slice itself. */
struct slice slice_cut(struct slice s, char at, struct slice *rest);

/*
 * Parses an unsigned decimal number: digits only, at least one, no sign, no
 * blanks. False where it is anything else or does not fit; *out untouched.
 */
bool slice_to_u64(struct slice s, uint64_t *out);

/* The same with an optional leading minus. */
bool slice_to_i64(struct slice s, int64_t *out);

/* Orders as memcmp does, the shorter first where one is a prefix. */
int slice_cmp(struct slice a, struct slice b);

#endif
