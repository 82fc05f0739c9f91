/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SaslAuthenticate: a token of the login, and ours back. Who is refused is told so, and then the connection closes, as
 * Kafka's does: a guess costs a connection and leaves a line in the log.
 */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/session.h"

#define TOKEN_MAX 4096u

static void run_sasl_authenticate(struct kafka_call *call)
{
	const struct kafka_sasl_authenticate_request *in = call->request;
	struct kafka_sasl_authenticate_response *out = kafka_call_response(call);
	struct kafka_session *s = call->session;
	const char *detail = "SaslHandshake with a mechanism comes first";
	struct buf token;
	int rc;

	if (!s->ctx->server->login || s->login.mechanism == LOGIN_NONE || s->login.raw) {
		out->error_code = KAFKA_ILLEGAL_SASL_STATE;
		out->error_message = slice_str(detail);
		kafka_call_answer(call, out);
		return;
	}
	buf_init(&token, TOKEN_MAX);
	rc = login_step(s->ctx->server->login, &s->login, in->auth_bytes, &token, &detail);
	if (rc == 0)
		out->auth_bytes = arena_copy(&call->arena, buf_slice(&token));
	buf_fini(&token);
	if (rc == ERR_NOMEM || (rc == 0 && !out->auth_bytes.ptr)) {
		kafka_call_fail(call, "no memory for a login");
		return;
	}
	if (rc) {
		out->error_code = KAFKA_SASL_AUTHENTICATION_FAILED;
		out->error_message = slice_str(detail);
		kafka_session_refuse(s, "a login was refused");
	}
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_sasl_authenticate = {.run = run_sasl_authenticate, .anybody = true};
