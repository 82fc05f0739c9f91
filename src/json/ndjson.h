/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_JSON_NDJSON_H
#define WEIR_JSON_NDJSON_H

#include "json/json.h"

/*
 * Newline-delimited JSON: one document a line, LF or CRLF, lines of blanks
 * alone are skipped, the last line may lack its newline.
 *
 * A body is split and checked line by line; a bad line gives its error and the
 * next call goes on behind it, so that a caller may refuse all or skip some.
 */
struct ndjson {
	const uint8_t *at, *end;
	uint64_t line; /* of the document given last, from 1 */
	uint8_t utf8;  /* as in json_scan.h, for the rest of the body */
};

void ndjson_init(struct ndjson *n, struct slice body);

/*
 * The next document, without blanks around it. 1, 0 at the end, or
 * ERR_BAD_JSON with *error (at: in *doc, which is the bad line).
 */
int ndjson_next(struct ndjson *n, struct slice *doc, struct json_error *error);

#endif
