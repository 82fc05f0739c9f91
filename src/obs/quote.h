/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_OBS_QUOTE_H
#define WEIR_OBS_QUOTE_H

#include "base/slice.h"

/*
 * Escapes text for a JSON string, which logfmt reads alike: quotes, backslashes
 * and control characters are escaped, bytes that are not UTF-8 become U+FFFD.
 * Writes at most `room` bytes, without the quotes, no NUL, and never half an
 * escape or character. Gives the bytes written; *cut is set true where text was
 * left out (untouched otherwise).
 */
size_t quote_escape(char *out, size_t room, struct slice text, bool *cut);

#endif
