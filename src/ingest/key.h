/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_KEY_H
#define WEIR_INGEST_KEY_H

#include "base/arena.h"
#include "base/err.h"

/* Idempotency keys as clients write them. */
#define KEY_BYTES_MAX 256u

/*
 * Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a structured
 * field String in quotes (RFC 8941 section 3.3.3), or bare as many clients send it.
 * Borrowed from the value, or in the arena where a quote was escaped.
 * 0, ERR_BAD_KEY with *fault, ERR_NOMEM.
 */
int key_from_header(struct slice value, struct arena *arena, struct slice *key, struct fault *fault);

/* What any key must be: 1 to 256 bytes of UTF-8 without control characters. 0, ERR_BAD_KEY with *fault. */
int key_check(struct slice key, struct fault *fault);

#endif
