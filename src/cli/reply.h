/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_REPLY_H
#define WEIR_CLI_REPLY_H

#include "cli/client.h"
#include "json/json.h"

/* What the commands share that ask the server something and print what it says. */

/* A call whose refusal is told. CLI_DONE with a 2xx answer in *r; *r is to be ended in any case. */
int reply_call(const struct args *args, enum http_method method, struct slice target, struct slice body,
	       struct client_reply *r);

/* The server's JSON with --json, else a line a member. CLI_DONE, CLI_FAILED. */
int reply_print(const struct args *args, struct slice content);

/* A scalar without its quotes; text with escapes stays as it was written. */
struct slice reply_bare(struct json_value v);

/*
 * What reply_bare gave, for a person: quotes and backslashes as they were meant; what a terminal might obey stays escaped.
 * In `room` where there was anything to change; the rest is cut there.
 */
struct slice reply_plain(struct slice bare, char *room, size_t n);

/*
 * Takes the object that is next: the members of these names (ended by NULL) as text, in their order: "?" for
 * one that is not there, "-" for one that is a list or an object.
 */
void reply_members(struct json_cursor *c, const char *const *names, struct slice *text);

/* Inits target: "/v1/topics/", the name encoded, "/trim". The caller ends it. */
void reply_target(struct buf *target, const char *before, const char *name, const char *behind);

/* A question about what the first operand names. */
struct reply_question {
	enum http_method method;
	const char *before, *behind; /* of the target: "/v1/topics/", "/trim" */
	struct slice body;           /* JSON; ptr NULL: none */
	int (*print)(const struct args *args,
		     struct slice content); /* of an answer with content; NULL: nothing */
};

/* Asks, tells a refusal, prints. CLI_DONE, or how it failed. */
int reply_ask(const struct args *args, const struct reply_question *question);

/*
 * Asks who deletes a `kind` ("topic"), and `what` ("all its records") with it, to type its name. On a terminal only:
 * a script has said what it wants. So has --yes.
 */
bool reply_is_sure(const struct args *args, const char *kind, const char *what);

#endif
