/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_VALUE_H
#define WEIR_CONF_VALUE_H

#include "base/buf.h"
#include "base/slice.h"

/*
 * The words of settings: sizes, durations and names, to numbers and back. Used
 * by the file, the command line and the HTTP API alike. Strict: one spelling
 * for one thing, no sign, no blanks but around the whole.
 */

/*
 * Durations: digits, at most one fraction, a unit of ms, s, m, h, d, w; several
 * in falling order may follow each other (1h30m). "0" needs no unit.
 * Milliseconds; false where it is anything else or past 10 000 years.
 */
bool conf_parse_duration(struct slice text, int64_t *ms);

/*
 * Sizes: digits with B, KiB, MiB, GiB, TiB or kB, MB, GB, TB (decimal), or
 * digits alone (bytes); a fraction is taken where it makes whole bytes. Case of the unit does not matter.
 * False where it is anything else or past 2^62.
 */
bool conf_parse_size(struct slice text, int64_t *bytes);

/* Appends the shortest text that parses to the same: "7d", "90s", "64MiB". */
int conf_format_duration(struct buf *out, int64_t ms);
int conf_format_size(struct buf *out, int64_t bytes);

/* Damerau-Levenshtein distance (restricted), or `max + 1` where it is above max. Cost is bounded by 64 bytes a side. */
uint32_t conf_distance(struct slice a, struct slice b, uint32_t max);

/*
 * The name that somebody probably meant: the nearest within a third of its
 * length (1 to 3 edits), case, `-` and `_` not counted; else the only one that
 * begins with it. NULL where none is near. Names are borrowed.
 */
const char *conf_nearest(struct slice text, const char *const *names, size_t count);

/* Shapes of text; true where it fits. */
bool conf_is_address(struct slice text);     /* HOST:PORT, [v6]:PORT, :PORT, *:PORT; port 0-65535 */
bool conf_is_origin(struct slice text);      /* scheme://host[:port], "*" or "null" */
bool conf_is_peer(struct slice text);        /* HOST:PORT or [v6]:PORT, both there, the port not 0 */
bool conf_is_user(struct slice text);        /* NAME:PASSWORD, both there */
bool conf_is_host(struct slice text);        /* name, IPv4 or [v6], with or without a port */
bool conf_is_topic_name(struct slice text);  /* [a-zA-Z0-9._-]{1,249}, not "." nor ".." */
bool conf_is_header_name(struct slice text); /* an RFC 9110 token */

#endif
