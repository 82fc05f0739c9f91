/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_TEXT_WHEN_H
#define WEIR_CONNECT_TEXT_WHEN_H

#include "base/slice.h"

/* Moments that systems are asked for, and tell: milliseconds since 1970, and their RFC 3339 text in UTC. */

/* RFC 3339 with any offset, or milliseconds since 1970. */
bool when_parse(struct slice text, int64_t *ms);

/* "2026-01-31T00:00:00.000Z", with a NUL. Gives its length. */
#define WHEN_BYTES 32u
size_t when_text(int64_t ms, char out[WHEN_BYTES]);

#endif
