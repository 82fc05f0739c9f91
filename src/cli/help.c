/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Help, reference page, manual page and completions from the table of
 * commands. A command with children is described by them.
 */
#include "cli/help.h"

#include <stdio.h>
#include <string.h>

#include "base/troff.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/say.h"
#include "conf/value.h"

static int run_help(const struct args *args);

const struct command command_help = {
	.name = "help",
	.synopsis = "[COMMAND [COMMAND]]",
	.summary = "Tells what a command does and which options it takes.",
	.operands_max = 2,
	.run = run_help,
	.complete = CLI_COMPLETE_WORDS,
	.words = "serve check topic produce tail version help completion",
};

#define FOR_EACH_OPTION(o, table) for (const struct cli_option *o = (table); o && o->name; o++)

/* "weir topic list" */
static void append_name(const struct command *c, struct buf *out)
{
	buf_append_str(out, "weir");
	if (c && c->parent)
		buf_appendf(out, " %s", c->parent->name);
	if (c)
		buf_appendf(out, " %s", c->name);
}

static void append_usage(const struct command *c, struct buf *out)
{
	append_name(c, out);
	if (!c || c->children)
		buf_append_str(out, " COMMAND");
	buf_append_str(out, " [OPTIONS]");
	if (c && c->synopsis && *c->synopsis)
		buf_appendf(out, " %s", c->synopsis);
}

/* ---- terminal ---- */

/* Words in lines of at most 78 characters, `indent` before each. Paragraphs stay. */
static void append_wrapped(const char *text, uint32_t indent, uint32_t column, struct buf *out)
{
	while (*text) {
		size_t n = strcspn(text, " \n");
		bool fits = column + n <= 78 || column <= indent;
		if (!fits) {
			buf_appendf(out, "\n%*s", (int)indent, "");
			column = indent;
		}
		buf_append(out, text, n);
		column += (uint32_t)n;
		text += n;
		if (text[0] == '\n') {
			buf_append_str(out, "\n");
			while (*text == '\n') {
				if (text[1] == '\n')
					buf_append_str(out, "\n");
				text++;
			}
			buf_appendf(out, "%*s", *text ? (int)indent : 0, "");
			column = indent;
		} else if (*text == ' ') {
			text++;
			if (column + 1 + strcspn(text, " \n") <= 78)
				buf_append_byte(out, ' ');
			column++;
		}
	}
	buf_append_byte(out, '\n');
}

/* Two columns; a left side that is too wide has its line for itself. */
static void append_row(const char *left, const char *right, uint32_t width, struct buf *out)
{
	buf_appendf(out, "  %-*s", (int)width, left);
	if (strlen(left) >= width)
		buf_appendf(out, "\n%*s", (int)width + 2, "");
	append_wrapped(right, width + 2, width + 2, out);
}

static void option_left(const struct cli_option *o, char left[64])
{
	snprintf(left, 64, "%s%c%s--%s%s%s", o->letter ? "-" : "  ", o->letter ? o->letter : ' ',
		 o->letter ? ", " : " ", o->name, o->value ? " " : "", o->value ? o->value : "");
}

static void append_options(const struct cli_option *table, struct buf *out)
{
	char left[64];

	FOR_EACH_OPTION(o, table)
	{
		option_left(o, left);
		append_row(left, o->doc, 28, out);
	}
}

static void append_commands(const struct command *const *table, struct buf *out)
{
	char left[64];

	for (uint32_t i = 0; table[i]; i++) {
		if (table[i]->hidden)
			continue;
		snprintf(left, sizeof(left), "%s", table[i]->name);
		append_row(left, table[i]->summary, 12, out);
	}
}

static int weir_text(struct buf *out)
{
	buf_append_str(out,
		       "weir takes events in, keeps them in a durable log, and hands them out.\n\nUsage: ");
	append_usage(NULL, out);
	buf_append_str(out, "\n\nCommands:\n");
	append_commands(commands, out);
	buf_append_str(out, "\nweir help COMMAND, or weir COMMAND --help, tells more.\n"
			    "Exit codes: 0 done, 1 the operation failed, 2 usage or configuration error.\n");
	return buf_status(out);
}

int help_text(const struct command *c, struct buf *out)
{
	if (!c)
		return weir_text(out);
	buf_append_str(out, "Usage: ");
	append_usage(c, out);
	buf_append_str(out, "\n\n");
	append_wrapped(c->summary, 0, 0, out);
	if (c->about) {
		buf_append_byte(out, '\n');
		append_wrapped(c->about, 0, 0, out);
	}
	if (c->examples)
		buf_append_str(out, "\nExamples:\n");
	for (const struct cli_example *e = c->examples; e && e->line; e++)
		buf_appendf(out, "  %s\n      %s\n", e->line, e->doc);
	if (c->children) {
		buf_append_str(out, "\nCommands:\n");
		append_commands(c->children, out);
	}
	buf_append_str(out, "\nOptions:\n");
	append_options(c->options, out);
	if (c->client)
		append_options(cli_options_client, out);
	append_options(cli_options_common, out);
	return buf_status(out);
}

int help_show(const struct command *c, bool complain)
{
	struct buf out;

	buf_init(&out, 1u << 20);
	help_text(c, &out);
	if (!complain)
		return cli_print(&out);
	if (out.len > 0)
		fwrite(out.ptr, 1, out.len, stderr);
	buf_fini(&out);
	return CLI_USAGE;
}

/* ---- Markdown ---- */

static void markdown_options(const struct cli_option *table, struct buf *out)
{
	FOR_EACH_OPTION(o, table)
	{
		buf_append_str(out, "| `");
		if (o->letter)
			buf_appendf(out, "-%c`, `", o->letter);
		buf_appendf(out, "--%s%s%s` | %s%s |\n", o->name, o->value ? " " : "",
			    o->value ? o->value : "", o->doc,
			    o->repeats ? "; may be given more than once" : "");
	}
}

static void markdown_command(const struct command *c, struct buf *out)
{
	if (c->hidden)
		return;
	for (uint32_t i = 0; c->children && c->children[i]; i++)
		markdown_command(c->children[i], out);
	if (c->children)
		return;
	buf_append_str(out, "\n## ");
	append_name(c, out);
	buf_append_str(out, "\n\n```\n");
	append_usage(c, out);
	buf_appendf(out, "\n```\n\n%s\n", c->summary);
	if (c->about)
		buf_appendf(out, "\n%s\n", c->about);
	buf_append_str(out, "\n| option | meaning |\n|---|---|\n");
	markdown_options(c->options, out);
	if (c->client)
		markdown_options(cli_options_client, out);
	markdown_options(cli_options_common, out);
	for (const struct cli_example *e = c->examples; e && e->line; e++)
		buf_appendf(out, "%s* `%s`: %s\n", e == c->examples ? "\n" : "", e->line, e->doc);
}

int help_markdown(struct buf *out)
{
	buf_append_str(
		out,
		"# Commands\n\n<!-- Generated by `weir doc commands`; change src/cli instead. -->\n\n"
		"Data goes to stdout, messages to stderr. Exit codes: 0 done, 1 the operation failed, 2 usage or\n"
		"configuration error. `NO_COLOR` switches colours off; `WEIR_SERVER` names the daemon for client commands.\n");
	for (uint32_t i = 0; commands[i]; i++)
		markdown_command(commands[i], out);
	return buf_status(out);
}

/* ---- manual page ---- */

static void troff(const char *text, struct buf *out)
{
	troff_append(out, text);
	buf_append_byte(out, '\n');
}

static void man_options(const struct cli_option *table, struct buf *out)
{
	char left[64];

	FOR_EACH_OPTION(o, table)
	{
		option_left(o, left);
		buf_append_str(out, ".TP\n.B ");
		troff(left + strspn(left, " "), out);
		troff(o->doc, out);
	}
}

static void man_command(const struct command *c, struct buf *out)
{
	struct buf usage;

	if (c->hidden)
		return;
	for (uint32_t i = 0; c->children && c->children[i]; i++)
		man_command(c->children[i], out);
	if (c->children)
		return;
	buf_init(&usage, 1000);
	append_usage(c, &usage);
	buf_append_byte(&usage, 0);
	buf_append_str(out, ".SS ");
	troff(usage.ptr ? (const char *)usage.ptr : c->name, out);
	buf_fini(&usage);
	troff(c->summary, out);
	if (c->about) {
		buf_append_str(out, ".PP\n");
		troff(c->about, out);
	}
	man_options(c->options, out);
	if (c->client)
		man_options(cli_options_client, out);
	for (const struct cli_example *e = c->examples; e && e->line; e++) {
		buf_append_str(out, ".PP\n.nf\n");
		troff(e->line, out);
		buf_append_str(out, ".fi\n");
		troff(e->doc, out);
	}
}

int help_man(struct buf *out, const char *version)
{
	buf_appendf(
		out,
		".TH WEIR 1 \"" WEIR_DATE "\" \"weir %s\" \"weir\"\n.SH NAME\n"
		"weir \\- takes events in, keeps them in a durable log, and hands them out\n"
		".SH SYNOPSIS\n.B weir\n.I COMMAND\n[\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n"
		"One daemon with a durable log: pushed to and pulled from over HTTP, WebSocket and server\\-sent events.\n"
		"Every command prints its help with\n.BR \\-\\-help .\n.SH COMMANDS\n",
		version);
	for (uint32_t i = 0; commands[i]; i++)
		man_command(commands[i], out);
	buf_append_str(out,
		       ".SH EXIT STATUS\n0 done, 1 the operation failed, 2 usage or configuration error.\n"
		       ".SH ENVIRONMENT\n.TP\n.B WEIR_SERVER\nThe daemon for client commands.\n"
		       ".TP\n.B NO_COLOR\nSwitches colours off.\n.SH SEE ALSO\n.BR weir.yaml (5)\n");
	return buf_status(out);
}

/* ---- the command ---- */

static const struct command *find(const struct command *const *table, const char *name)
{
	for (uint32_t i = 0; table && table[i]; i++)
		if (strcmp(table[i]->name, name) == 0)
			return table[i];
	return NULL;
}

static int unknown_command(const struct command *const *table, const char *name)
{
	const char *names[64];
	uint32_t count = 0;

	for (uint32_t i = 0; table && table[i] && count < 64; i++)
		if (!table[i]->hidden)
			names[count++] = table[i]->name;
	const char *nearest = conf_nearest(slice_str(name), names, count);
	if (nearest)
		return cli_misuse("unknown command \"%.80s\": did you mean \"%s\"?", name, nearest);
	return cli_misuse("unknown command \"%.80s\": see weir help", name);
}

static int run_help(const struct args *args)
{
	const struct command *const *table = commands;
	const struct command *c = NULL;

	for (uint32_t i = 0; i < args->operand_count; i++) {
		c = find(table, args->operands[i]);
		if (!c)
			return unknown_command(table, args->operands[i]);
		table = c->children;
	}
	return help_show(c, false);
}
