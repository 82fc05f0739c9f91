/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_WS_WS_DEFLATE_H
#define WEIR_PROTO_WS_WS_DEFLATE_H

#include "base/buf.h"

/*
 * permessage-deflate (RFC 7692) without context takeover: every message is
 * compressed by itself. An inflater therefore lives only while a compressed
 * message is arriving, and one deflater serves all connections of a loop, whose
 * subscribers can share the compressed frame.
 */

/*
 * The window of weir's own compressor, 4 KiB: small enough for peers that ask
 * for small windows, so that all of them can be given the same bytes.
 */
#define WS_DEFLATE_BITS 12

struct ws_inflater;
struct ws_deflater;

/* Returns owned in *out. window_bits 9 to 15, at least what the peer uses. ERR_NOMEM. */
int ws_inflater_new(int window_bits, struct ws_inflater **out);

/* Takes; NULL is allowed. */
void ws_inflater_free(struct ws_inflater *f);

/*
 * Inflates a piece of a message behind what `out` holds. What was inflated before
 * the fault stands in `out` also on an error. Errors: ERR_LIMIT where the message
 * would pass out->bytes_max, ERR_MALFORMED, ERR_NOMEM. After an error only free it.
 */
int ws_inflater_feed(struct ws_inflater *f, struct slice piece, struct buf *out);

/* The message has ended; errors as above, ERR_MALFORMED also where it is cut short. */
int ws_inflater_end(struct ws_inflater *f, struct buf *out);

/* Returns owned in *out. level 1 to 9. About 40 KiB. ERR_NOMEM. */
int ws_deflater_new(int level, struct ws_deflater **out);

/* Takes; NULL is allowed. */
void ws_deflater_free(struct ws_deflater *d);

/*
 * Appends the compressed payload of one whole message, ready to stand in a frame
 * with WS_DEFLATED. Errors: ERR_LIMIT, ERR_NOMEM (then `out` holds a part).
 */
int ws_deflater_message(struct ws_deflater *d, struct slice message, struct buf *out);

#endif
