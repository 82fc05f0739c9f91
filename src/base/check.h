/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_CHECK_H
#define WEIR_BASE_CHECK_H

/*
 * CHECK states what the programmer holds to be true. It stays on in release:
 * a broken belief ends the process with file, line and text on stderr, and the
 * log is recovered at the next start. Bytes from network or disk are never
 * subject to CHECK: what they break is an error, not a belief.
 */
#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, __func__, #cond))

/* Writes one line to stderr and aborts. */
_Noreturn void check_failed(const char *file, int line, const char *func, const char *cond);

#endif
