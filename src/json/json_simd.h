/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_JSON_JSON_SIMD_H
#define WEIR_JSON_JSON_SIMD_H

#include <stdbool.h>
#include <stddef.h>

/*
 * What this folder takes from C++: simdjson's UTF-8 check, and the standard
 * library's conversions of doubles, which know no locale. For json.c and its
 * neighbours only.
 */
#ifdef __cplusplus
extern "C" {
#endif

bool json_simd_utf8(const void *bytes, size_t n);

/* A number that is JSON already; false where no finite double is near. */
bool json_double_parse(const void *text, size_t n, double *out);

/* The shortest text of a finite double; gives its length, at most 32. */
size_t json_double_print(double value, char text[32]);

/* For tests alone: simdjson's opinion of a document that has 64 readable bytes behind it. */
bool json_simd_accepts(const void *bytes, size_t n);

#ifdef __cplusplus
}
#endif

#endif
