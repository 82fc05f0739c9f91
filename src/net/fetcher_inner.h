/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_FETCHER_INNER_H
#define WEIR_NET_FETCHER_INNER_H

#include "base/buf.h"
#include "base/table.h"
#include "net/fetcher.h"
#include "net/multi.h"
#include "proto/coding/unpacker.h"

/* What fetcher.c (libcurl and the loop) and fetcher_call.c, fetcher_request.c, fetcher_body.c (one request) share. */

#define FETCHER_SCRATCH_BYTES 65536u
#define FETCHER_URL_BYTES_MAX 16384u

/* As many calls to one host as it may have connections run; the rest wait here, and libcurl does not know of them. */
#define FETCHER_HOST_CALLS_MAX 32u

struct fetcher_host {
	struct table_node node; /* first */
	uint32_t calls, running;
	struct fetcher_call *waiting, **waiting_end;
	char origin[];
};

/* From libcurl's asking for it until it closes it. */
struct fetcher_socket {
	struct fetcher_socket *next;
	int fd;
	bool shut; /* libcurl finds out when it would use it again */
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
	struct fetcher_socket *open; /* sockets that are; without memory one is not among them */
	uint8_t *scratch;            /* where bodies are unpacked to */
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

/* The calls to an origin that are under way; NULL: none. */
struct fetcher_host *fetcher_find_host(const struct fetcher *f, const char *origin);

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

/* ---- a call's parts ---- */

/* Why it fails. The first reason counts: what follows is its consequence. */
void call_note(struct fetcher_call *c, int err, enum fetcher_class class, const char *why);

/* Of the last answer; 0: there is none. */
int call_status(const struct fetcher_call *c);

static inline bool call_is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* ---- fetcher_request.c ---- */

int call_check_options(const struct fetcher_options *o, struct fault *fault);

/* May it be the value of a field? */
bool call_is_value(struct slice s);

/* Copies the fields, with what the options add to them, into c->fields and the bytes behind them. */
int call_copy_fields(struct fetcher_call *c, const struct fetcher_options *o);

/* Scheme, host and port of a URL, for comparison. "" for what is no http or https, or has credentials. */
void call_origin(const char *url, char out[512]);

/* The fields of this hop. False without memory. */
bool call_set_fields(struct fetcher_call *c);

/* All of the request, as libcurl wants it. */
CURLcode call_set_up(struct fetcher_call *c, const struct fetcher_options *options);

/* ---- fetcher_body.c: libcurl's callbacks, and what is theirs ---- */

size_t call_on_bytes(char *bytes, size_t size, size_t count, void *ctx);
size_t call_on_head_line(char *bytes, size_t size, size_t count, void *ctx);

/* The first byte of the body, or its absence: how it is taken. 0, or an error that was noted. */
int call_begin_body(struct fetcher_call *c);

/* Gives what can be given of *in (moves it on). 0, or an error that was noted. */
int call_deliver(struct fetcher_call *c, struct slice *in);

#endif
