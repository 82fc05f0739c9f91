/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/reply.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/say.h"
#include "json/json.h"

#define PLAIN_BYTES 2000
#define ANSWER_BYTES_MAX (64u << 20)

int reply_call(const struct args *args, enum http_method method, struct slice target, struct slice body,
	       struct client_reply *r)
{
	const struct client_call ask = {
		.method = method,
		.target = target,
		.body = body,
		.content_type = body.ptr ? SLICE_LIT("application/json") : slice_null(),
	};
	struct client_problem problem;
	struct client_url url;
	struct fault fault;

	client_reply_init(r, ANSWER_BYTES_MAX);
	if (client_url_of(args, &url, &fault) != 0)
		return cli_misuse("%s", fault.text);
	if (client_call(&url, &ask, r, &fault) != 0)
		return cli_fail("%s", fault.text);
	if (r->status >= 200 && r->status < 300)
		return CLI_DONE;
	client_problem_of(buf_slice(&r->content), &problem);
	return cli_fail("%d %s: %s", r->status, *problem.code ? problem.code : http_reason(r->status),
			problem.detail);
}

void reply_target(struct buf *target, const char *before, const char *name, const char *behind)
{
	buf_init(target, 64u << 10);
	buf_append_str(target, before);
	http_percent_append(target, slice_str(name));
	buf_append_str(target, behind);
}

int reply_ask(const struct args *args, const struct reply_question *question)
{
	struct client_reply r;
	struct buf target;

	reply_target(&target, question->before, args->operands[0], question->behind);
	int code = reply_call(args, question->method, buf_slice(&target), question->body, &r);
	if (!code && question->print && r.content.len > 0)
		code = question->print(args, buf_slice(&r.content));
	client_reply_fini(&r);
	buf_fini(&target);
	return code;
}

bool reply_is_sure(const struct args *args, const char *kind, const char *what)
{
	const char *name = args->operands[0];
	char answer[1100] = "";

	if (args_has(args, "yes") || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return true;
	fprintf(stderr, "This deletes %s %s with %s. Type its name to go on: ", kind, name, what);
	if (!fgets(answer, sizeof(answer), stdin))
		return false;
	answer[strcspn(answer, "\r\n")] = 0;
	return strcmp(answer, name) == 0;
}

static int print_raw(struct slice content)
{
	fwrite(content.ptr, 1, content.len, stdout);
	if (content.len > 0 && content.ptr[content.len - 1] != '\n')
		fputc('\n', stdout);
	return cli_flush() ? CLI_DONE : CLI_FAILED;
}

/* ---- printing JSON for people ---- */

struct slice reply_bare(struct json_value v)
{
	bool quoted = v.kind == JSON_STRING && !memchr(v.raw.ptr, '\\', v.raw.len);

	return quoted ? slice_make(v.raw.ptr + 1, v.raw.len - 2) : v.raw;
}

struct slice reply_plain(struct slice bare, char *room, size_t n)
{
	size_t used = 0;

	if (bare.len < 2 || bare.ptr[0] != '"')
		return bare;
	for (size_t i = 1; i + 1 < bare.len && used < n; i++) {
		if (bare.ptr[i] == '\\' && memchr("\"\\/", bare.ptr[i + 1], 3))
			i++;
		else if (bare.ptr[i] == '\\' && used + 1 < n)
			room[used++] = (char)bare.ptr[i++];
		room[used++] = (char)bare.ptr[i];
	}
	return slice_make(room, used);
}

void reply_members(struct json_cursor *c, const char *const *names, struct slice *text)
{
	struct json_value value;
	struct slice member;

	for (int i = 0; names[i]; i++)
		text[i] = SLICE_LIT("?");
	json_object_begin(c);
	while (json_object_next(c, &member)) {
		if (json_take(c, &value) != 0)
			return;
		for (int i = 0; names[i]; i++)
			if (json_name_is(member, names[i]))
				text[i] = value.kind == JSON_ARRAY || value.kind == JSON_OBJECT ?
						  SLICE_LIT("-") :
						  reply_bare(value);
	}
}

static void print_members(struct json_cursor *c, const char *prefix);

/* An item that is an object, on one line: "offsets[0]: partition 0, start 0, end 4, bytes 349". */
static void print_item(struct json_cursor *c, const char *path)
{
	struct json_value value;
	struct slice name;
	const char *joint = "";
	char room[PLAIN_BYTES];

	printf("%s: ", path);
	json_object_begin(c);
	while (json_object_next(c, &name)) {
		if (json_take(c, &value) != 0)
			break;
		struct slice text = reply_plain(reply_bare(value), room, sizeof(room));
		printf("%s%.*s %.*s", joint, (int)name.len - 2, (const char *)name.ptr + 1, (int)text.len,
		       (const char *)text.ptr);
		joint = ", ";
	}
	printf("\n");
}

/* name.inner: value, a line each; arrays by number. */
static void print_value(struct json_cursor *c, const char *path)
{
	struct json_value value;
	char inner[300], room[PLAIN_BYTES];
	uint32_t i = 0;

	if (json_peek(c) == JSON_OBJECT) {
		print_members(c, path);
	} else if (json_peek(c) == JSON_ARRAY) {
		json_array_begin(c);
		while (json_array_next(c)) {
			snprintf(inner, sizeof(inner), "%.280s[%u]", path, i++);
			if (json_peek(c) == JSON_OBJECT)
				print_item(c, inner);
			else
				print_value(c, inner);
		}
	} else if (json_take(c, &value) == 0) {
		struct slice text = reply_plain(reply_bare(value), room, sizeof(room));
		printf("%s: %.*s\n", path, (int)text.len, (const char *)text.ptr);
	}
}

static void print_members(struct json_cursor *c, const char *prefix)
{
	struct slice name;
	char path[300];

	json_object_begin(c);
	while (json_object_next(c, &name)) {
		snprintf(path, sizeof(path), "%.150s%s%.*s", prefix, *prefix ? "." : "",
			 (int)(name.len > 122 ? 120 : name.len - 2), (const char *)name.ptr + 1);
		print_value(c, path);
	}
}

static int print_object(struct slice content)
{
	struct json_cursor c;

	json_cursor_init(&c, content);
	if (json_peek(&c) == JSON_OBJECT)
		print_members(&c, "");
	if (json_end(&c) != 0)
		return cli_fail("the server's answer is not JSON");
	return cli_flush() ? CLI_DONE : CLI_FAILED;
}

int reply_print(const struct args *args, struct slice content)
{
	return args_has(args, "json") ? print_raw(content) : print_object(content);
}
