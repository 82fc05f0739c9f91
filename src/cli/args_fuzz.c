/* SPDX-License-Identifier: Apache-2.0 */
/* Any words, NUL between them, against the commands of weir. Held: no crash; a refusal has a text; operands are words that were given. */
#include "base/check.h"
#include "base/mem.h"
#include "cli/args.h"
#include "cli/client.h"

#define WORDS_MAX 100

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

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
	if (argc > 1)
		(void)client_url_parse(argv[1], &url, &fault);
	mem_free(text);
	return 0;
}
