/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_TROFF_H
#define WEIR_BASE_TROFF_H

#include "base/buf.h"

/*
 * Text for a manual page: a backslash, a hyphen, and a dot or a quote at the beginning have meanings there, and an empty line begins a
 * paragraph.
 */
void troff_append(struct buf *out, const char *text);

#endif
