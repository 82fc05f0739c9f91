/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_JSON_POINTER_H
#define WEIR_JSON_POINTER_H

#include "base/buf.h"
#include "json/json.h"

/*
 * JSON Pointer (RFC 6901): "" is the whole document, "/a/0/b" a member of an item of a member.
 * The text form alone, not that of URI fragments.
 */

/* "" or '/' first, and each '~' before 0 or 1. */
bool json_pointer_valid(struct slice pointer);

/*
 * The value at a pointer. 1 and *out; 0 where there is none; ERR_BAD_JSON where what was passed on the
 * way is not well formed (what stands behind the value is not looked at: json_valid first). Of members with the
 * same name the first counts.
 */
int json_pointer_find(struct slice doc, struct slice pointer, struct json_value *out);

/*
 * Appends why there is none: "at '/data' is an object with items, next; no 'rows'". For messages; a few
 * names of members at most. The document is well formed.
 */
void json_pointer_explain(struct slice doc, struct slice pointer, struct buf *out);

#endif
