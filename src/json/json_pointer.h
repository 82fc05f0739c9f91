/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_JSON_JSON_POINTER_H
#define WEIR_JSON_JSON_POINTER_H

#include "json/json.h"

/* JSON pointers (RFC 6901), as they are written in JSON strings: "", "/a/0/b~1c". */

/* 0, or ERR_BAD_PARAMETER with *fault: it neither is empty nor begins with '/', or a '~' is not followed by 0 or 1. */
int json_pointer_check(struct slice pointer, struct fault *fault);

/*
 * The value that a pointer (checked) names in a document: 1 and *out (borrowed from it); 0 where it names
 * none; ERR_BAD_JSON where the document is broken in front of it, ERR_NOMEM. Of members of one name the
 * first counts. Walks the document up to the value once; `arena` is for names with escapes.
 */
int json_pointer_find(struct slice doc, struct slice pointer, struct arena *arena, struct json_value *out);

#endif
