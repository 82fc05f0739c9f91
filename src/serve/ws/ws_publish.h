/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_WS_WS_PUBLISH_H
#define WEIR_SERVE_WS_WS_PUBLISH_H

#include "serve/ws/ws_session.h"

/*
 * The publishing half of a WebSocket: a message becomes a request at the door
 * in, its result an answer, in the order of the messages.
 */

/* NULL without memory. The topic's name has been checked. */
struct ws_publisher *ws_publisher_new(struct slice topic, const struct ws_ask *ask);
/* Nothing may be in flight. NULL is allowed. */
void ws_publisher_free(struct ws_publisher *p);

/* Takes one message in. What is wrong with it is answered, in its turn. */
void ws_publish(struct ws *s, enum ws_opcode opcode, struct slice bytes);

/* True where no further message may be taken at present. */
bool ws_publisher_full(const struct ws_publisher *p);

/* Messages that are not answered yet. NULL is allowed. */
uint32_t ws_publisher_in_flight(const struct ws_publisher *p);

/* Frees the messages that wait to be used again. */
void ws_messages_free(struct ws_loop *l);

#endif
