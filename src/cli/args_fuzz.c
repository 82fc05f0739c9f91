/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any words, NUL between them, against the commands of weir. Held: no crash; a
 * refusal has a text; operands are words that were given, and a value that is
 * asked for by its name is the last one.
 */
#include "base/check.h"
#include "base/mem.h"
#include "cli/args.h"
#include "cli/client.h"

#define WORDS_MAX 100

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void ask_for(const struct args *args, const char *name)
{
	struct fault fault = {0};
	const char *value = args_value(args, name);
	int64_t ns;
	uint64_t number = 5;
	int rc = args_number(args, name, 2, 1000, &number, &fault);

	CHECK(rc ? fault.text[0] && number == 5 : number >= 2 && number <= 1000);
	if (value == NULL)
		CHECK(rc == 0 && args_duration(args, name, &ns, &fault) == 0);
	else
		(void)args_duration(args, name, &ns, &fault);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	const char *argv[WORDS_MAX + 1] = {"weir"};
	struct client_url url;
	struct args args;
	struct fault fault = {0};
	int argc = 1;

	char *text = mem_strndup(bytes, n);
	CHECK(text);
	memcpy(text, bytes, n);
	for (size_t at = 0; at < n && argc < WORDS_MAX; at += strlen(text + at) + 1)
		argv[argc++] = text + at;
	int err = args_parse(commands, argc, argv, &args, &fault);
	CHECK(err == 0 || (err == ERR_BAD_PARAMETER && fault.text[0]));
	for (uint32_t i = 0; i < args.operand_count; i++)
		CHECK(args.operands[i] >= text && args.operands[i] <= text + n);
	for (uint32_t i = 0; i < args.given_count; i++)
		CHECK((args.given[i].option->value != NULL) == (args.given[i].value != NULL));
	for (uint32_t i = 0; err == 0 && i < args.given_count; i++)
		if (args.given[i].value)
			ask_for(&args, args.given[i].option->name);
	if (err == 0)
		ask_for(&args, "no-such-option");
	if (argc > 1)
		(void)client_url_parse(argv[1], &url, &fault);
	mem_free(text);
	return 0;
}
