/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_SCRAM_H
#define WEIR_SERVE_KAFKA_SCRAM_H

#include "base/buf.h"

/*
 * The server's side of SCRAM (RFC 5802, RFC 7677), without channel binding: texts
 * in, texts out; hashes by OpenSSL.
 */
enum scram_hash { SCRAM_SHA_256, SCRAM_SHA_512 };

#define SCRAM_HASH_MAX 64u
#define SCRAM_SALT_BYTES 16u
#define SCRAM_ITERATIONS 4096u

/* What the server keeps of a password. */
struct scram_secret {
	enum scram_hash hash;
	uint32_t iterations;
	uint8_t salt[SCRAM_SALT_BYTES];
	uint8_t stored_key[SCRAM_HASH_MAX];
	uint8_t server_key[SCRAM_HASH_MAX];
};

/* Some milliseconds of work. 0 or ERR_NOMEM. */
int scram_derive(enum scram_hash hash, struct slice password, const uint8_t salt[SCRAM_SALT_BYTES],
		 uint32_t iterations, struct scram_secret *out);

/* An exchange. NULL: no memory. */
struct scram;
struct scram *scram_new(void);
void scram_free(struct scram *s);

/*
 * The client's first message. Gives the user that it names (unescaped, a view into the
 * exchange), so that the caller can find its secret. 0, ERR_MALFORMED, ERR_LIMIT.
 */
int scram_first(struct scram *s, struct slice message, struct slice *user);

/* The server's first message, appended: `random` are 18 bytes or more. Keeps a copy of the secret. */
int scram_challenge(struct scram *s, const struct scram_secret *secret, struct slice random, struct buf *out);

/* The client's last message: 0 with the server's last one appended; ERR_UNAUTHORIZED, ERR_MALFORMED. */
int scram_last(struct scram *s, struct slice message, struct buf *out);

#endif
