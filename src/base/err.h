/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_ERR_H
#define WEIR_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Functions give 0 or one of these. err.def declares each once, with its
 * HTTP status, Kafka code and sentence; the reference page comes from there.
 */
enum err_index {
#define ERR(name, code, http, kafka, retry, sentence) ERR_INDEX_##name,
#include "base/err.def"
#undef ERR
	ERR_COUNT
};

enum err {
	ERR_NONE = 0,
#define ERR(name, code, http, kafka, retry, sentence) ERR_##name = -1 - (int)ERR_INDEX_##name,
#include "base/err.def"
#undef ERR
};

struct err_row {
	const char *name; /* "NOMEM" */
	const char *code; /* "out_of_memory" */
	int http_status;
	int kafka_code;
	bool retryable;
	const char *sentence; /* "There is no memory for this request" */
};

/* The row of an error; ERR_INTERNAL's for a number that is none. */
const struct err_row *err_row(int err);

/*
 * Detail text of one failure, for cold paths: the caller owns it, the callee
 * fills it in with what was wrong and what would be right.
 */
struct fault {
	int err;
	char text[504];
};

/* Sets the text, gives err back, so that `return fault_set(f, ERR_IO, ...)` reads well. f may be NULL. */
int fault_set(struct fault *f, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
