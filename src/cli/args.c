/* SPDX-License-Identifier: Apache-2.0 */
/*
 * getopt_long was the alternative: it keeps its state in globals, takes
 * prefixes, prints by itself and cannot name the nearest option.
 */
#include "cli/args.h"

#include <stdio.h>
#include <string.h>

#include "conf/value.h"

#define NAMES_MAX 64u

struct parser {
	const struct command *const *table;
	struct args *args;
	struct fault *fault;
	const char **argv;
	int argc;
	int at;
	bool only_operands;
};

/* ---- tables ---- */

/* Calls for each option that the command takes, own ones first. */
static const struct cli_option *option_at(const struct command *c, uint32_t *table, uint32_t *row)
{
	for (; *table < 3; (*table)++, *row = 0) {
		const struct cli_option *options =
			*table == 0 ? (c ? c->options : NULL) :
			*table == 1 ? (c && c->client ? cli_options_client : NULL) :
				      cli_options_common;
		if (options && options[*row].name)
			return &options[(*row)++];
	}
	return NULL;
}

static const struct cli_option *find_name(const struct command *c, struct slice name)
{
	uint32_t table = 0, row = 0;
	const struct cli_option *o;

	while ((o = option_at(c, &table, &row)))
		if (slice_eq_str(name, o->name))
			return o;
	return NULL;
}

static const struct cli_option *find_letter(const struct command *c, char letter)
{
	uint32_t table = 0, row = 0;
	const struct cli_option *o;

	while ((o = option_at(c, &table, &row)))
		if (o->letter == letter)
			return o;
	return NULL;
}

/* "topic list" or "tail". */
static const char *full_name(const struct command *c, char out[64])
{
	if (!c)
		return "weir";
	snprintf(out, 64, "weir %s%s%s", c->parent ? c->parent->name : "", c->parent ? " " : "", c->name);
	return out;
}

/* ---- refusals ---- */

static int refuse_option(struct parser *p, struct slice name)
{
	const char *names[NAMES_MAX];
	uint32_t table = 0, row = 0, count = 0;
	const struct cli_option *o;
	char command[64];

	while (count < NAMES_MAX && (o = option_at(p->args->command, &table, &row)))
		names[count++] = o->name;
	const char *nearest = conf_nearest(name, names, count);
	full_name(p->args->command, command);
	if (nearest)
		return fault_set(p->fault, ERR_BAD_PARAMETER, "unknown option --%.*s: did you mean --%s?",
				 (int)(name.len < 80 ? name.len : 80), (const char *)name.ptr, nearest);
	return fault_set(p->fault, ERR_BAD_PARAMETER, "unknown option --%.*s: see %s --help",
			 (int)(name.len < 80 ? name.len : 80), (const char *)name.ptr,
			 full_name(p->args->command, command));
}

static int refuse_command(struct parser *p, const struct command *const *table, const char *word)
{
	const char *names[NAMES_MAX];
	uint32_t count = 0;
	char list[400] = "", command[64];
	size_t at = 0;

	for (uint32_t i = 0; table[i] && count < NAMES_MAX; i++) {
		if (table[i]->hidden)
			continue;
		names[count++] = table[i]->name;
		if (at < sizeof(list) - 40)
			at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", at ? ", " : "",
					       table[i]->name);
	}
	const char *nearest = conf_nearest(slice_str(word), names, count);
	full_name(p->args->command, command);
	if (nearest)
		return fault_set(p->fault, ERR_BAD_PARAMETER,
				 "unknown command \"%.80s\": did you mean \"%s\"?", word, nearest);
	return fault_set(p->fault, ERR_BAD_PARAMETER, "unknown command \"%.80s\": expected one of %s", word,
			 list);
}

/* ---- options ---- */

static int give(struct parser *p, const struct cli_option *o, const char *value)
{
	struct args *a = p->args;

	if (strcmp(o->name, "help") == 0) {
		a->help = true;
		return 0;
	}
	if (!o->repeats && args_has(a, o->name))
		return fault_set(p->fault, ERR_BAD_PARAMETER, "--%s is given twice", o->name);
	if (a->given_count == ARGS_OPTIONS_MAX)
		return fault_set(p->fault, ERR_BAD_PARAMETER, "more than %u options", ARGS_OPTIONS_MAX);
	a->given[a->given_count].option = o;
	a->given[a->given_count].value = value;
	a->given_count++;
	return 0;
}

/* The word behind an option. */
static int next_value(struct parser *p, const struct cli_option *o, const char **out)
{
	if (p->at == p->argc)
		return fault_set(p->fault, ERR_BAD_PARAMETER, "--%s needs a value: --%s %s", o->name, o->name,
				 o->value);
	*out = p->argv[p->at++];
	return 0;
}

static int take_long(struct parser *p, const char *word)
{
	const char *equals = strchr(word, '=');
	struct slice name = slice_make(word, equals ? (size_t)(equals - word) : strlen(word));
	const char *value = equals ? equals + 1 : NULL;

	const struct cli_option *o = find_name(p->args->command, name);
	if (!o)
		return refuse_option(p, name);
	if (!o->value && value)
		return fault_set(p->fault, ERR_BAD_PARAMETER, "--%s takes no value", o->name);
	if (o->value && !value) {
		int err = next_value(p, o, &value);
		if (err)
			return err;
	}
	return give(p, o, value);
}

/* -n5, -n 5, -fq: letters until one takes a value. */
static int take_letters(struct parser *p, const char *word)
{
	while (*word) {
		const struct cli_option *o = find_letter(p->args->command, *word);
		const char *value = NULL;
		char command[64];
		if (!o)
			return fault_set(p->fault, ERR_BAD_PARAMETER, "unknown option -%c: see %s --help",
					 *word > ' ' && *word < 127 ? *word : '?',
					 full_name(p->args->command, command));
		word++;
		if (o->value && *word) {
			value = word;
			word = "";
		} else if (o->value) {
			int err = next_value(p, o, &value);
			if (err)
				return err;
		}
		int err = give(p, o, value);
		if (err)
			return err;
	}
	return 0;
}

/* ---- operands and commands ---- */

static const struct command *find_command(const struct command *const *table, const char *word)
{
	for (uint32_t i = 0; table[i]; i++)
		if (strcmp(table[i]->name, word) == 0)
			return table[i];
	return NULL;
}

static int take_operand(struct parser *p, const char *word)
{
	struct args *a = p->args;
	const struct command *const *table = !a->command ? p->table : a->command->children;

	if (!table) {
		p->argv[1 + a->operand_count++] = word;
		return 0;
	}
	const struct command *c = find_command(table, word);
	if (!c)
		return refuse_command(p, table, word);
	a->command = c;
	return 0;
}

static int take_word(struct parser *p)
{
	const char *word = p->argv[p->at++];

	if (p->only_operands || word[0] != '-' || word[1] == 0)
		return take_operand(p, word);
	if (word[1] != '-')
		return take_letters(p, word + 1);
	if (word[2] == 0) {
		p->only_operands = true;
		return 0;
	}
	return take_long(p, word + 2);
}

static int check_operands(struct parser *p)
{
	const struct args *a = p->args;
	const struct command *c = a->command;
	char command[64];

	if (!c || a->help)
		return 0;
	if (c->children)
		return fault_set(p->fault, ERR_BAD_PARAMETER, "%s needs a command: see %s --help",
				 full_name(c, command), full_name(c, command));
	if (a->operand_count < c->operands_min)
		return fault_set(p->fault, ERR_BAD_PARAMETER, "expected %s %s", full_name(c, command),
				 c->synopsis);
	if (a->operand_count > c->operands_max)
		return fault_set(p->fault, ERR_BAD_PARAMETER, "unexpected \"%.80s\": expected %s %s",
				 a->operands[c->operands_max], full_name(c, command), c->synopsis);
	return 0;
}

int args_parse(const struct command *const *table, int argc, const char **argv, struct args *args,
	       struct fault *fault)
{
	struct parser p = {.table = table, .args = args, .fault = fault, .argv = argv, .argc = argc, .at = 1};
	int err = 0;

	memset(args, 0, sizeof(*args));
	args->operands = argv + 1;
	while (!err && p.at < argc)
		err = take_word(&p);
	return err ? err : check_operands(&p);
}

/* ---- asking ---- */

const char *args_next(const struct args *args, const char *name, uint32_t *at)
{
	for (; *at < args->given_count; (*at)++) {
		if (strcmp(args->given[*at].option->name, name) == 0)
			return args->given[(*at)++].value;
	}
	return NULL;
}

const char *args_value(const struct args *args, const char *name)
{
	const char *value = NULL, *next;
	uint32_t at = 0;

	while ((next = args_next(args, name, &at)))
		value = next;
	return value;
}

bool args_has(const struct args *args, const char *name)
{
	for (uint32_t i = 0; i < args->given_count; i++)
		if (strcmp(args->given[i].option->name, name) == 0)
			return true;
	return false;
}

int args_number(const struct args *args, const char *name, uint64_t min, uint64_t max, uint64_t *out,
		struct fault *fault)
{
	const char *text = args_value(args, name);
	uint64_t value;

	if (!text)
		return 0;
	if (!slice_to_u64(slice_str(text), &value) || value < min || value > max)
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "--%s \"%.80s\": expected a whole number from %llu to %llu", name, text,
				 (unsigned long long)min, (unsigned long long)max);
	*out = value;
	return 0;
}

int args_duration(const struct args *args, const char *name, int64_t *out, struct fault *fault)
{
	const char *text = args_value(args, name);

	if (text && !conf_parse_duration(slice_str(text), out))
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "--%s \"%.80s\": expected a duration, such as 30s or 5m", name, text);
	return 0;
}
