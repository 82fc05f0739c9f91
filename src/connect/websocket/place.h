/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_WEBSOCKET_PLACE_H
#define WEIR_CONNECT_WEBSOCKET_PLACE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

/* How far a feed has been read: the checkpoint, as JSON of version 1. */
#define PLACE_VERSION 1u
#define PLACE_LAST_MAX 4096u

struct place {
	int64_t at_ms;     /* when the last message came that is stored; 0: never */
	struct slice last; /* the value that a new connection goes on behind; ptr NULL: none */
};

/* Texts are in the arena. ERR_CORRUPT with *fault, ERR_NOMEM. Empty bytes: the beginning. */
int place_read(struct slice bytes, struct arena *arena, struct place *out, struct fault *fault);

/* Appends it. 0, ERR_LIMIT, ERR_NOMEM. */
int place_write(const struct place *p, struct buf *out);

#endif
