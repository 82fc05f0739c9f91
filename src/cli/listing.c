/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/listing.h"

#include <stdio.h>
#include <unistd.h>

#include "cli/reply.h"
#include "cli/say.h"

#define AFTER_BYTES_MAX 8192u /* of the place where the next page begins */

struct printing {
	const struct listing *what;
	struct buf next; /* the page to ask for; empty: the first, or none */
	uint32_t printed;
	bool json;
};

static void print_item(struct printing *p, struct json_cursor *c)
{
	struct json_value value;

	if (!p->json)
		p->what->print_row(c);
	else if (json_take(c, &value) == 0)
		printf("%s%.*s", p->printed ? "," : "", (int)value.raw.len, (const char *)value.raw.ptr);
	p->printed++;
}

static int print_page(struct printing *p, struct slice content)
{
	struct json_value value;
	struct json_cursor c;
	struct slice name;

	buf_clear(&p->next);
	json_cursor_init(&c, content);
	json_object_begin(&c);
	while (json_object_next(&c, &name)) {
		if (json_name_is(name, "next") && json_take(&c, &value) == 0) {
			if (value.kind == JSON_STRING || value.kind == JSON_NUMBER)
				buf_append_slice(&p->next, reply_bare(value));
		} else if (json_name_is(name, p->what->member) && json_peek(&c) == JSON_ARRAY) {
			json_array_begin(&c);
			while (json_array_next(&c))
				print_item(p, &c);
		} else {
			json_skip(&c);
		}
	}
	return json_end(&c) == 0 ? CLI_DONE :
				   cli_fail("the server's answer is not a list of %s", p->what->member);
}

static int ask_page(const struct args *args, struct printing *p, bool first)
{
	struct client_reply r;
	struct buf target;

	buf_init(&target, 64u << 10);
	buf_append_str(&target, p->what->target);
	if (!first)
		client_query(&target, "after", buf_slice(&p->next));
	int code = reply_call(args, HTTP_GET, buf_slice(&target), slice_null(), &r);
	if (!code && first && p->json)
		printf("{\"%s\":[", p->what->member);
	else if (!code && first && isatty(STDOUT_FILENO))
		printf("%s\n", p->what->head);
	if (!code)
		code = print_page(p, buf_slice(&r.content));
	client_reply_fini(&r);
	buf_fini(&target);
	return code;
}

int listing_run(const struct args *args, const struct listing *what)
{
	struct printing p = {.what = what, .json = args_has(args, "json")};

	buf_init(&p.next, AFTER_BYTES_MAX);
	int code = ask_page(args, &p, true);
	while (code == CLI_DONE && p.next.len > 0)
		code = ask_page(args, &p, false);
	if (code == CLI_DONE && p.json)
		printf("],\"next\":null}\n");
	buf_fini(&p.next);
	return code || cli_flush() ? code : CLI_FAILED;
}
