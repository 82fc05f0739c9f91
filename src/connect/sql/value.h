/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SQL_VALUE_H
#define WEIR_CONNECT_SQL_VALUE_H

#include "base/buf.h"
#include "connect/sql/driver.h"

/*
 * A value of a row as JSON, exactly: no digit of a number is lost, no time is moved.
 *
 *	integers, doubles  numbers as the database writes them; NaN and the infinities are strings
 *	decimals           strings, as readers of JSON numbers would round them; numbers where `numbers` is set
 *	timestamps         RFC 3339 in UTC: "2026-01-31T12:00:00.25Z"; without zone the same without the Z.
 *	                   What that cannot say (BC, infinity, 0000-00-00) stays the database's text
 *	bytes              base64, standard alphabet, padded
 *	json               as it is;  arrays: arrays;  NULL: null;  everything else: strings
 *
 * 0, or ERR_BAD_ENCODING where a text is not UTF-8, ERR_MALFORMED where an array's text is not one.
 * ERR_LIMIT and ERR_NOMEM are the buffer's.
 */
int sql_put_value(struct buf *out, enum sql_kind kind, const struct sql_column *column, struct slice value,
		  bool numbers);

/* The text of a key: the one value as it is, or a JSON array of several. */
int sql_put_key(struct buf *out, const struct sql_column *columns, const enum sql_kind *kinds,
		const struct slice *values, const uint32_t *which, uint32_t count);

#endif
