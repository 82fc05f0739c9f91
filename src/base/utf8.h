/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_UTF8_H
#define WEIR_BASE_UTF8_H

#include "base/slice.h"

/* True where all bytes are well-formed UTF-8 (no surrogates, no overlong forms, at most U+10FFFF). */
bool utf8_valid(struct slice s);

/*
 * Validation in pieces. Start with state 0; feed slices; 0 at the end means
 * whole, UTF8_BAD means wrong, anything else a sequence cut short.
 */
#define UTF8_BAD 0xffu
uint32_t utf8_feed(uint32_t state, struct slice s);

#endif
