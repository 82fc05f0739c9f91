/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_FETCHER_INNER_H
#define WEIR_NET_FETCHER_INNER_H

#include "base/buf.h"
#include "base/table.h"
#include "net/fetcher.h"
#include "net/multi.h"
#include "proto/coding/unpacker.h"

/* What fetcher.c (libcurl and the loop) and fetcher_call.c (one request) share. */

#define FETCHER_SCRATCH_BYTES 65536u

/* As many calls to one host as it may have connections run; the rest wait here, and libcurl does not know of them. */
#define FETCHER_HOST_CALLS_MAX 32u

struct fetcher_host {
	struct table_node node; /* first */
	uint32_t calls, running;
	struct fetcher_call *waiting, **waiting_end;
	char origin[];
};

struct fetcher {
	struct loop_guest guest; /* first */
	struct loop *loop;
	struct multi multi;
	struct loop_turn turn;
	struct fetcher_call *todo;  /* asked for something at the end of the turn, newest first */
	struct fetcher_call *calls; /* all that are under way */
	struct table hosts;         /* of the calls under way */
	CURL *spare[16];            /* handles to be used again */
	uint32_t spare_count;
	uint32_t call_count;
	uint64_t sockets;
	uint8_t *scratch; /* where bodies are unpacked to */
};

enum call_state {
	CALL_WAITING,  /* for the end of the turn, to begin, or for its host */
	CALL_RUNNING,  /* libcurl has it */
	CALL_DRAINING, /* libcurl is done, the rest of the body waits for a resume */
	CALL_OVER,     /* on_done was called, or will not be */
};

struct fetcher_call {
	struct fetcher *fetcher;
	struct fetcher_call *next, **prev; /* of fetcher->calls */
	struct fetcher_call *todo_next;
	struct fetcher_host *host;                         /* of its first URL */
	struct fetcher_call *waiting_next, **waiting_prev; /* prev NULL: it does not wait for the host */
	bool holds;                                        /* one of those that run */
	CURL *easy;
	struct curl_slist *list; /* the fields as libcurl has them */
	const struct fetcher_handler *handler;
	void *ctx;
	guard_fn *guard;
	void *guard_ctx;
	struct loop_timer deadline;
	struct fetcher_limits limits;
	struct unpacker *unpacker;
	struct buf held; /* of the body as it came: not unpacked yet */
	struct fault fault;
	enum fetcher_class class; /* with fault.err */
	CURLcode code;            /* CALL_DRAINING: how libcurl ended */
	char *method, *url;
	struct fetcher_field *fields; /* copies, in one block */
	uint32_t field_count;
	uint32_t redirects, redirects_max;
	enum fetcher_follow follow;
	enum call_state state;
	uint64_t wire_bytes, plain_bytes, discarded;
	uint32_t head_bytes;
	char snippet[160]; /* the begin of a body that is not given */
	uint32_t snippet_len;
	char error[CURL_ERROR_SIZE];
	bool queued;  /* in fetcher->todo */
	bool added;   /* to the multi handle */
	bool paused;  /* by the owner */
	bool stalled; /* libcurl was told to wait */
	bool resume;  /* asked for */
	bool begun;   /* the first byte of the body has come, or the head was told */
	bool discard;
	bool bodies;
	bool pending; /* the unpacker has more to give */
	bool drop_secrets;
	bool denied; /* the guard refused an address */
	bool has_body;
};

/* A new call with its handle; the caller fills in the rest. ERR_NOMEM. */
int call_new(struct fetcher *f, const struct fetcher_options *options, struct fetcher_call **out,
	     struct fault *fault);

/* At the end of a turn: begins, resumes or frees. */
void call_turn(struct fetcher_call *c);

/* libcurl has ended it. */
void call_ended(struct fetcher_call *c, CURLcode code);

/* Ends a call that runs, with on_done. Not inside libcurl. */
void call_fail(struct fetcher_call *c, int err, enum fetcher_class class, const char *why);

/* Gives the handle and all memory back. */
void call_free(struct fetcher_call *c);

/* What one of libcurl's errors is to us. */
void fetcher_classify(CURLcode code, int *err, enum fetcher_class *class);

/* TLS 1.2 at least, and what the options say. */
CURLcode fetcher_set_tls(CURL *easy, const struct fetcher_tls *tls);

/* Asks for call_turn. */
void fetcher_queue(struct fetcher_call *c);

/* A handle without options, from the spare ones; NULL without memory. */
CURL *fetcher_take_handle(struct fetcher *f);
void fetcher_give_handle(struct fetcher *f, CURL *easy);

#endif
