/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_INTAKE_H
#define WEIR_SERVE_HTTP_INTAKE_H

#include "serve/http/server.h"

/*
 * What a session reads: the bytes of its peer become requests, and whole ones run.
 *
 *	HEAD ──head──► BODY ──whole──► handler, back to HEAD
 *	  │              └──refused──► SKIP ──rest of the body──► HEAD
 *	  └──malformed, or nothing more is wanted──► ENDING (everything is discarded)
 */
enum intake_phase {
	INTAKE_HEAD,   /* between requests, or within a head */
	INTAKE_BODY,   /* `coming` gets its body */
	INTAKE_SKIP,   /* the rest of a refused body is dropped */
	INTAKE_ENDING, /* no further request is taken; what comes is discarded */
};

struct intake {
	struct exchange *coming; /* the last of the queue, while its body is on its way */
	int64_t since_ns;        /* when what is waited for began */
	struct http_body body;
	struct http_scan scan;
	uint32_t backlog; /* bytes left with the connection; UINT32_MAX: more */
	uint8_t phase;
	bool fresh;   /* no request yet */
	bool blocked; /* something was left because of a bound */
	bool ended;   /* the peer will send no more */
};

struct session;

void intake_init(struct intake *in, int64_t now);

/* Takes what it can of the bytes. Gives their number. The session may have lost its connection inside. */
size_t intake_take(struct session *s, struct slice bytes);

/* No further request is taken. */
void intake_stop(struct intake *in);

/* Before a request is refused whose body is not whole: the rest is dropped, or the connection ends with the answer. */
void intake_drop_body(struct intake *in, struct exchange *x);

/* No part of a request has come. */
static inline bool intake_is_idle(const struct intake *in)
{
	return in->phase == INTAKE_HEAD && in->backlog == 0;
}

/* The first of the queue has gone: time begins anew, what was held back for it goes on. */
void intake_go_on(struct session *s);

/* Asks for the bytes again that were left because of a bound, once there is room. */
void intake_resume(struct session *s);

/* When what is waited for must be there; 0: nothing is waited for. */
int64_t intake_deadline(const struct session *s);

/* It was not: answers 408, or closes. */
void intake_expire(struct session *s);

/* The peer has ended: a request that is not whole never will be. */
void intake_end(struct session *s);

#endif
