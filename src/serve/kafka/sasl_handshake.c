/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SaslHandshake: the choice of a mechanism. After version 0 the tokens come bare,
 * a length and bytes, which kafka-python 2.0.2 still does.
 */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/session.h"

static void run_sasl_handshake(struct kafka_call *call)
{
	const struct kafka_sasl_handshake_request *in = call->request;
	struct kafka_sasl_handshake_response *out = kafka_call_response(call);
	struct kafka_session *s = call->session;

	out->mechanisms = login_mechanisms + LOGIN_PLAIN;
	out->mechanisms_count = LOGIN_COUNT - LOGIN_PLAIN;
	if (!s->ctx->server->login)
		out->error_code = KAFKA_ILLEGAL_SASL_STATE;
	else if (!login_choose(&s->login, in->mechanism))
		out->error_code = KAFKA_UNSUPPORTED_SASL_MECHANISM;
	else
		s->login.raw = call->header.version == 0;
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_sasl_handshake = {.run = run_sasl_handshake, .anybody = true};
