/* SPDX-License-Identifier: Apache-2.0 */
#include "json/ndjson.h"

#include <string.h>

#include "json/json_scan.h"

void ndjson_init(struct ndjson *n, struct slice body)
{
	*n = (struct ndjson){.at = body.ptr, .end = body.len ? body.ptr + body.len : body.ptr};
}

/* The next line that holds more than blanks, without its newline. False at the end. */
static bool next_line(struct ndjson *n, struct slice *line)
{
	while (n->at < n->end) {
		const uint8_t *newline = memchr(n->at, '\n', (size_t)(n->end - n->at));
		const uint8_t *stop = newline ? newline : n->end;
		const uint8_t *begin = json_scan_blanks(n->at, stop);
		n->at = newline ? newline + 1 : n->end;
		n->line++;
		if (begin < stop) {
			*line = slice_make(begin, (size_t)(stop - begin));
			return true;
		}
	}
	return false;
}

int ndjson_next(struct ndjson *n, struct slice *doc, struct json_error *error)
{
	struct json_scan s;
	struct slice line;
	int rc;

	if (!next_line(n, &line))
		return 0;
	s.start = line.ptr;
	s.end = line.ptr + line.len;
	s.utf8_end = n->end;
	s.depth = 0;
	s.utf8 = n->utf8;
	rc = json_scan_document(&s, doc);
	n->utf8 = s.utf8;
	if (rc) {
		*doc = line;
		*error = s.error;
		return rc;
	}
	return 1;
}
