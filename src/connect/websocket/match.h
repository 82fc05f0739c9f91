/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_WEBSOCKET_MATCH_H
#define WEIR_CONNECT_WEBSOCKET_MATCH_H

#include "base/arena.h"
#include "base/slice.h"

/*
 * Which messages are meant: "/event=price" (a JSON pointer, and what stands there: the text of a string, anything else as it
 * is written), or "/event" alone (anything but null stands there). Pure text.
 */

/* A pointer, up to the first '=' or the end. */
bool match_valid(struct slice text);

/* True where the document, which is well formed, is meant. The arena gets texts with escapes; without room they are not meant. */
bool match_holds(struct slice text, struct slice doc, struct arena *arena);

#endif
