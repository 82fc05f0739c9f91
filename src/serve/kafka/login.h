/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_LOGIN_H
#define WEIR_SERVE_KAFKA_LOGIN_H

#include "base/err.h"
#include "serve/kafka/scram.h"
#include "serve/kafka/server.h"

/*
 * Logging in with SASL: PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 against the users
 * of the configuration. One table of users for all loops; a state for each
 * connection. Only after the last token was right is somebody logged in.
 */
struct login;
struct kafka_call;

struct login_state {
	const char *user;    /* who is logged in, or ""; borrowed from the table */
	struct scram *scram; /* an exchange that is under way; owned */
	uint8_t mechanism;   /* enum login_mechanism, of the last handshake */
	bool done;           /* logged in */
	bool raw;            /* after SaslHandshake 0: tokens come without headers */
};

enum login_mechanism { LOGIN_NONE, LOGIN_PLAIN, LOGIN_SCRAM_256, LOGIN_SCRAM_512, LOGIN_COUNT };

/* As SASL names them, from 1 on. */
extern const struct slice login_mechanisms[LOGIN_COUNT];

/* Copies the users. ERR_NOMEM, ERR_IO (no random bytes), with *fault. */
int login_new(const struct sys *sys, const struct kafka_user *users, uint32_t count, struct login **out,
	      struct fault *fault);
void login_free(struct login *l);

void login_state_fini(struct login_state *state);

/* Begins with a mechanism: whoever was logged in is not any more. False where it is not one of ours. */
bool login_choose(struct login_state *state, struct slice mechanism);

/*
 * A token of the client. 0 with the answer in *out (bounded, appended), state->done
 * once it was the last one; ERR_UNAUTHORIZED with *detail, which tells nothing of which part was
 * wrong; ERR_NOMEM. Any thread, one at a time for a state.
 */
int login_step(struct login *l, struct login_state *state, struct slice token, struct buf *out,
	       const char **detail);

/* A token that came in a frame of its own, without a header (SaslHandshake 0). Ends the call. */
void login_raw_token(struct kafka_call *call);

#endif
