/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/problem.h"

#include <stdlib.h>

#include "base/mem.h"

#define TEXT_BYTES_MAX (1u << 20)

void conf_problems_init(struct conf_problems *p)
{
	*p = (struct conf_problems){0};
	arena_init(&p->arena, 4096, TEXT_BYTES_MAX);
}

void conf_problems_fini(struct conf_problems *p)
{
	mem_free(p->list);
	arena_fini(&p->arena);
	*p = (struct conf_problems){0};
}

/* A NUL terminated copy, or NULL for NULL. Control bytes become '?': the text goes to terminals. */
static const char *copy_text(struct arena *a, const char *text)
{
	size_t n = text ? strlen(text) : 0;
	char *copy = text ? arena_alloc(a, n + 1) : NULL;

	if (!copy)
		return NULL;
	for (size_t i = 0; i <= n; i++) {
		bool control = (uint8_t)text[i] < 0x20 || text[i] == 0x7f;
		copy[i] = control && text[i] != '\t' && i < n ? '?' : text[i];
	}
	return copy;
}

static bool make_room(struct conf_problems *p)
{
	if (p->count >= CONF_PROBLEMS_MAX)
		return false;
	if (p->list)
		return true;
	p->list = mem_zalloc(CONF_PROBLEMS_MAX, sizeof(*p->list));
	return p->list != NULL;
}

void conf_problems_add(struct conf_problems *p, const struct conf_problem *problem)
{
	if (problem->warning)
		p->warnings++;
	else
		p->errors++;
	if (!make_room(p))
		return;
	struct conf_problem copy = {
		.file = copy_text(&p->arena, problem->file),
		.at = problem->at,
		.warning = problem->warning,
		.key = copy_text(&p->arena, problem->key),
		.text = copy_text(&p->arena, problem->text),
		.nearest = copy_text(&p->arena, problem->nearest),
		.source = copy_text(&p->arena, problem->source),
		.column = problem->column,
	};
	if (!copy.text)
		copy.text = "no memory to say what is wrong here";
	p->list[p->count++] = copy;
}

static int compare(const void *left, const void *right)
{
	const struct conf_problem *a = left, *b = right;

	if (a->at.line != b->at.line)
		return a->at.line < b->at.line ? -1 : 1;
	if (a->at.column != b->at.column)
		return a->at.column < b->at.column ? -1 : 1;
	return 0;
}

void conf_problems_sort(struct conf_problems *p)
{
	if (p->count > 1)
		qsort(p->list, p->count, sizeof(*p->list), compare);
}

/* The line and a caret; tabs before the caret stay tabs, so that it stands below its character. */
static void append_source(const struct conf_problem *p, struct buf *out)
{
	uint32_t column = 1, place = p->column ? p->column : p->at.column;

	buf_appendf(out, "    %s\n    ", p->source);
	for (const char *c = p->source; *c && column < place; c++) {
		if (((uint8_t)*c & 0xc0) == 0x80)
			continue;
		buf_append_byte(out, *c == '\t' ? '\t' : ' ');
		column++;
	}
	buf_append_str(out, "^\n");
}

int conf_problems_text(const struct conf_problems *p, bool with_source, struct buf *out)
{
	for (uint32_t i = 0; i < p->count; i++) {
		const struct conf_problem *one = &p->list[i];
		if (one->file)
			buf_append_str(out, one->file);
		if (one->file && one->at.line > 0)
			buf_appendf(out, ":%u:%u", one->at.line, one->at.column);
		buf_appendf(out, "%s%s%s\n", one->file ? ": " : "", one->warning ? "warning: " : "",
			    one->text);
		if (with_source && one->source && one->at.line > 0)
			append_source(one, out);
	}
	if (p->errors + p->warnings > p->count)
		buf_appendf(out, "and %u more\n", p->errors + p->warnings - p->count);
	return buf_status(out);
}

static void append_json_string(const char *text, struct buf *out)
{
	if (!text) {
		buf_append_str(out, "null");
		return;
	}
	buf_append_byte(out, '"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			buf_append_byte(out, '\\');
		if (*text == '\t')
			buf_append_str(out, "\\t");
		else
			buf_append_byte(out, (uint8_t)*text);
	}
	buf_append_byte(out, '"');
}

int conf_problems_json(const struct conf_problems *p, struct buf *out)
{
	buf_append_byte(out, '[');
	for (uint32_t i = 0; i < p->count; i++) {
		const struct conf_problem *one = &p->list[i];
		buf_appendf(out, "%s{\"file\":", i ? "," : "");
		append_json_string(one->file, out);
		buf_appendf(out, ",\"line\":%u,\"column\":%u,\"severity\":\"%s\",\"key\":", one->at.line,
			    one->at.column, one->warning ? "warning" : "error");
		append_json_string(one->key, out);
		buf_append_str(out, ",\"message\":");
		append_json_string(one->text, out);
		buf_append_str(out, ",\"nearest\":");
		append_json_string(one->nearest, out);
		buf_append_byte(out, '}');
	}
	return buf_append_byte(out, ']');
}
