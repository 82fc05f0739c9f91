/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/buf.h"
#include "cli/args.h"
#include "cli/help.h"

static int run_nothing(const struct args *args)
{
	(void)args;
	return 0;
}

static const struct cli_option eat_options[] = {
	{.name = "count", .letter = 'n', .value = "N", .doc = "how many"},
	{.name = "quick", .letter = 'q', .doc = "quickly"},
	{.name = "with", .letter = 'w', .value = "WHAT", .doc = "beside", .repeats = true},
	{0},
};

static const struct command group;
static const struct command eat = {
	.name = "eat",
	.synopsis = "FRUIT [FRUIT]",
	.summary = "Eats.",
	.options = eat_options,
	.operands_min = 1,
	.operands_max = 2,
	.client = true,
	.run = run_nothing,
};
static const struct command one = {
	.name = "one", .parent = &group, .synopsis = "", .summary = "One.", .run = run_nothing};
static const struct command two = {
	.name = "two", .parent = &group, .synopsis = "", .summary = "Two.", .run = run_nothing};
static const struct command *const members[] = {&one, &two, NULL};
static const struct command group = {.name = "group",
				     .synopsis = "",
				     .summary = "A group.",
				     .children = members};
static const struct command *const table[] = {&eat, &group, NULL};

#define WORDS_MAX 12

/* Words with blanks between, as they stand behind `weir`. */
static int parse(const char *line, char room[400], const char *argv[WORDS_MAX + 1], struct args *args,
		 struct fault *fault)
{
	size_t n = strlen(line);
	int argc = 1;

	argv[0] = "weir";
	assert_true(n < 400);
	memcpy(room, line, n + 1);
	for (char *word = room; *word && argc < WORDS_MAX;) {
		char *end = word + strcspn(word, " ");
		bool last = *end == 0;
		*end = 0;
		argv[argc++] = strcmp(word, "EMPTY") == 0 ? "" : word;
		word = last ? end : end + 1;
	}
	memset(fault, 0, sizeof(*fault));
	return args_parse(table, argc, argv, args, fault);
}

static const struct {
	const char *line;
	const char *command, *count;
	uint32_t with, operands;
	bool quick;
} good[] = {
	{"", NULL, NULL, 0, 0, false},
	{"eat apple", "eat", NULL, 0, 1, false},
	{"eat apple pear", "eat", NULL, 0, 2, false},
	{"eat -n 5 apple", "eat", "5", 0, 1, false},
	{"eat apple -n5", "eat", "5", 0, 1, false},
	{"eat apple --count 5", "eat", "5", 0, 1, false},
	{"eat apple --count=5", "eat", "5", 0, 1, false},
	{"eat apple --count=", "eat", "", 0, 1, false},
	{"eat apple --count=a=b", "eat", "a=b", 0, 1, false},
	{"eat -qn5 apple", "eat", "5", 0, 1, true},
	{"eat -q apple -w a -w b --with c", "eat", NULL, 3, 1, true},
	{"eat -- -q", "eat", NULL, 0, 1, false},
	{"eat -", "eat", NULL, 0, 1, false},
	{"eat EMPTY", "eat", NULL, 0, 1, false},
	{"eat apple -n -1", "eat", "-1", 0, 1, false},
	{"eat apple --server http://x", "eat", NULL, 0, 1, false},
	{"group one", "one", NULL, 0, 0, false},
};

static void words_become_options_and_operands(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		const char *argv[WORDS_MAX + 1];
		char room[400];
		struct args args;
		struct fault fault;
		uint32_t at = 0, with = 0;

		int err = parse(good[i].line, room, argv, &args, &fault);
		if (err)
			fail_msg("\"%s\": %s", good[i].line, fault.text);
		assert_string_equal(args.command ? args.command->name : "-",
				    good[i].command ? good[i].command : "-");
		assert_int_equal(args.operand_count, good[i].operands);
		assert_int_equal(args_has(&args, "quick"), good[i].quick);
		const char *count = args_value(&args, "count");
		assert_string_equal(count ? count : "-", good[i].count ? good[i].count : "-");
		while (args_next(&args, "with", &at))
			with++;
		assert_int_equal(with, good[i].with);
	}
}

static const struct {
	const char *line, *text;
} bad[] = {
	{"aet", "unknown command \"aet\": did you mean \"eat\"?"},
	{"sleep", "unknown command \"sleep\": expected one of eat, group"},
	{"eat", "expected weir eat FRUIT [FRUIT]"},
	{"eat a b c", "unexpected \"c\": expected weir eat FRUIT [FRUIT]"},
	{"eat a --quik", "unknown option --quik: did you mean --quick?"},
	{"eat a --zzzzzzzz", "unknown option --zzzzzzzz: see weir eat --help"},
	{"eat a --qui", "unknown option --qui: did you mean --quick?"},
	{"eat a -z", "unknown option -z: see weir eat --help"},
	{"eat a -n", "--count needs a value: --count N"},
	{"eat a --count", "--count needs a value: --count N"},
	{"eat a --quick=yes", "--quick takes no value"},
	{"eat a -n 1 -n 2", "--count is given twice"},
	{"group", "weir group needs a command: see weir group --help"},
	{"group on", "unknown command \"on\": did you mean \"one\"?"},
	{"--sever x", "unknown option --sever: see weir --help"},
};

static void mistakes_are_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *argv[WORDS_MAX + 1];
		char room[400];
		struct args args;
		struct fault fault;

		assert_int_equal(parse(bad[i].line, room, argv, &args, &fault), ERR_BAD_PARAMETER);
		assert_string_equal(fault.text, bad[i].text);
	}
}

static void help_needs_nothing_else(void **state)
{
	static const char *const lines[] = {"--help",       "eat --help",   "eat -h",
					    "group --help", "group two -h", "eat a b c -h"};

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		const char *argv[WORDS_MAX + 1];
		char room[400];
		struct args args;
		struct fault fault;

		assert_int_equal(parse(lines[i], room, argv, &args, &fault), 0);
		assert_true(args.help);
	}
}

static void numbers_and_durations_are_checked(void **state)
{
	const char *argv[WORDS_MAX + 1];
	char room[400];
	struct args args;
	struct fault fault;
	uint64_t n = 7;
	int64_t ms = 7;

	(void)state;
	assert_int_equal(parse("eat a -n 12 -w 30s", room, argv, &args, &fault), 0);
	assert_int_equal(args_number(&args, "quick", 1, 2, &n, &fault), 0);
	assert_int_equal(n, 7);
	assert_int_equal(args_number(&args, "count", 1, 12, &n, &fault), 0);
	assert_int_equal(n, 12);
	assert_int_equal(args_number(&args, "count", 1, 11, &n, &fault), ERR_BAD_PARAMETER);
	assert_string_equal(fault.text, "--count \"12\": expected a whole number from 1 to 11");
	assert_int_equal(args_duration(&args, "with", &ms, &fault), 0);
	assert_int_equal(ms, 30000);
	assert_int_equal(args_duration(&args, "count", &ms, &fault), ERR_BAD_PARAMETER);
}

/* What every command of weir must have to be described. */
static void check_command(const struct command *c)
{
	assert_non_null(c->name);
	assert_non_null(c->synopsis);
	assert_true(c->summary[strlen(c->summary) - 1] == '.');
	assert_true(c->children ? !c->run : c->run != NULL);
	for (const struct cli_option *o = c->options; o && o->name; o++) {
		assert_non_null(o->doc);
		assert_true(strlen(o->name) < 30);
		assert_true(o->complete != CLI_COMPLETE_WORDS || o->words);
		for (const struct cli_option *other = o + 1; other->name; other++) {
			assert_string_not_equal(o->name, other->name);
			assert_true(!o->letter || o->letter != other->letter);
		}
	}
	for (uint32_t i = 0; c->children && c->children[i]; i++) {
		assert_ptr_equal(c->children[i]->parent, c);
		check_command(c->children[i]);
	}
}

static void the_table_of_commands_is_sound(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 1u << 20);
	for (uint32_t i = 0; commands[i]; i++) {
		check_command(commands[i]);
		assert_int_equal(help_text(commands[i], &out), 0);
	}
	/* No line of help is wider than a terminal. */
	size_t width = 0;
	for (size_t i = 0; i < out.len; i++) {
		width = out.ptr[i] == '\n' ? 0 : width + 1;
		assert_true(width <= 80);
	}
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_become_options_and_operands),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(help_needs_nothing_else),
		cmocka_unit_test(numbers_and_durations_are_checked),
		cmocka_unit_test(the_table_of_commands_is_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
