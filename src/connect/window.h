/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_WINDOW_H
#define WEIR_CONNECT_WINDOW_H

#include "connect/source.h"

/*
 * A window as a user gives it (`weir source run NAME --from … --to …`), for types to read: its bounds as they are, and as moments
 * where they are times, RFC 3339 or @ and milliseconds. Bare digits are none: they may be a key. ptr NULL: open. The bounds are copied
 * to memory, of from.len + to.len bytes, which lives as long as the window.
 */
void window_set(struct source_window *w, struct slice from, struct slice to, char *memory);

#endif
