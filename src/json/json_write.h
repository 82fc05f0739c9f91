/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_JSON_JSON_WRITE_H
#define WEIR_JSON_JSON_WRITE_H

#include "base/buf.h"

/*
 * Appends JSON to a buffer. Commas come by themselves: a name or an item is
 * preceded by one unless it is the first of its object or array, which the
 * last byte written tells. Errors stick in the buffer (buf_status).
 *
 *	json_put_open(b, '{');
 *	json_put_name(b, "topic");    json_put_string(b, topic);
 *	json_put_name(b, "offsets");  json_put_open(b, '[');
 *	json_put_item(b);             json_put_i64(b, 41);
 *	json_put_close(b, ']');
 *	json_put_close(b, '}');
 *
 * Objects and arrays that are items need json_put_item before json_put_open.
 * A buffer that already ends in '{', '[' or ':' of something else must not be
 * continued with names or items.
 */

/* '{' or '[' and back. */
void json_put_open(struct buf *b, char bracket);
void json_put_close(struct buf *b, char bracket);

/* The name of a member: a C string that needs no escapes. Any other name: json_put_name_slice. */
void json_put_name(struct buf *b, const char *name);
void json_put_name_slice(struct buf *b, struct slice name);

/* A comma where this is not the first item of its array. */
void json_put_item(struct buf *b);

/* A string with quotes and escapes; the bytes must be UTF-8. */
void json_put_string(struct buf *b, struct slice text);
void json_put_cstr(struct buf *b, const char *text);

/* The same for bytes of any kind (echoed input): what is not UTF-8 becomes U+FFFD. */
void json_put_string_lossy(struct buf *b, struct slice text);

/* Bytes as a string of base64. */
void json_put_base64(struct buf *b, struct slice bytes);

/* A value that is JSON already. */
void json_put_raw(struct buf *b, struct slice json);

void json_put_i64(struct buf *b, int64_t value);
void json_put_u64(struct buf *b, uint64_t value);
void json_put_bool(struct buf *b, bool value);
void json_put_null(struct buf *b);

/* The shortest text that reads back as the same double; null for what JSON cannot say (NaN, infinities). */
void json_put_double(struct buf *b, double value);

/* Name and value in one: members that most answers are made of. */
void json_put_member_string(struct buf *b, const char *name, struct slice text);
void json_put_member_i64(struct buf *b, const char *name, int64_t value);
void json_put_member_u64(struct buf *b, const char *name, uint64_t value);
void json_put_member_bool(struct buf *b, const char *name, bool value);

/* Those that may be unknown, and are null then: a negative number; text of any bytes (as json_put_string_lossy) with ptr NULL. */
void json_put_member_known(struct buf *b, const char *name, int64_t value);
void json_put_member_text(struct buf *b, const char *name, struct slice text);

#endif
