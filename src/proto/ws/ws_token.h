/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_WS_WS_TOKEN_H
#define WEIR_PROTO_WS_WS_TOKEN_H

#include "base/slice.h"

/*
 * Comma-separated lists in header values (RFC 9110 section 5.6), and within them
 * the extensions of RFC 6455 section 9.1:
 *
 *     name *( ";" param [ "=" ( token / quoted-string ) ] )
 *
 * A reader walks over a value and gives one piece a call. What is not of that
 * form sets `bad`, and everything after it reads as the end.
 */
struct ws_token_reader {
	const uint8_t *at;
	const uint8_t *end;
	bool bad;
};

struct ws_token_reader ws_token_reader_make(struct slice value);

/* The next element of a list of tokens (empty ones are passed over); false at the end. Borrows. */
bool ws_token_next(struct ws_token_reader *r, struct slice *token);

/* The name of the next extension; its parameters must be read to their end before the next. */
bool ws_token_extension(struct ws_token_reader *r, struct slice *name);

struct ws_token_param {
	struct slice name;
	struct slice value; /* null where there is none; the inside of a quoted string */
};

/* The next parameter of the extension just named; false where there is no more. */
bool ws_token_param(struct ws_token_reader *r, struct ws_token_param *param);

#endif
