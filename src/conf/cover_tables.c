/* SPDX-License-Identifier: Apache-2.0 */
/* What the tables of settings say is secret: a name by itself, and values that stand in a line, where there is a tree. */
#include "conf/cover_tables.h"

#include <stdio.h>
#include <string.h>

#include "conf/setting.h"
#include "conf/value.h"

#define PATH_BYTES 400u
#define NODES_MAX 20000u /* that are looked at for a line */

/* ---- names ---- */

/* What the tables say of a name, as a part of some path. */
enum named { NAME_UNKNOWN, NAME_SECRET, NAME_SHOWN, NAME_EITHER };

static enum named look_in_row(const struct setting *s, struct slice name)
{
	for (const char *at = s->path;; at++) {
		size_t n = strcspn(at, ".");
		bool leaf = at[n] == 0;
		if (slice_eq_nocase(name, slice_make(at, n)))
			return leaf && s->flags & SETTING_SECRET ? NAME_SECRET : NAME_SHOWN;
		if (leaf)
			return NAME_UNKNOWN;
		at += n;
	}
}

static void add_named(enum named *all, enum named one)
{
	*all = *all == NAME_UNKNOWN || *all == one ? one : one == NAME_UNKNOWN ? *all : NAME_EITHER;
}

static enum named look_up(const struct cover *c, struct slice name)
{
	enum named all = NAME_UNKNOWN;

	for (uint32_t i = 0; i < setting_count; i++)
		add_named(&all, look_in_row(&setting_table[i], name));
	for (uint32_t k = 0; c->kinds && k < c->kinds->count; k++)
		for (uint32_t i = 0; i < c->kinds->list[k]->setting_count; i++)
			add_named(&all, look_in_row(&c->kinds->list[k]->settings[i], name));
	for (uint32_t i = 0; c->kind && i < c->kind->setting_count; i++)
		add_named(&all, look_in_row(&c->kind->settings[i], name));
	return all;
}

/* Is it a secret row's name, misspelt? */
static bool is_near_secret(struct slice name, const struct setting *rows, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const char *dot = strrchr(rows[i].path, '.');
		const char *leaf = dot ? dot + 1 : rows[i].path;
		if (rows[i].flags & SETTING_SECRET && conf_nearest(name, &leaf, 1))
			return true;
	}
	return false;
}

bool cover_is_secret_name(const struct cover *c, struct slice name)
{
	enum named is = look_up(c, name);

	if (is != NAME_UNKNOWN)
		return is == NAME_SECRET;
	if (redact_is_name(name) || is_near_secret(name, setting_table, setting_count) ||
	    (c->kind && is_near_secret(name, c->kind->settings, c->kind->setting_count)))
		return true;
	for (uint32_t k = 0; c->kinds && k < c->kinds->count; k++)
		if (is_near_secret(name, c->kinds->list[k]->settings, c->kinds->list[k]->setting_count))
			return true;
	return false;
}

/* ---- what the tree says of a line ---- */

bool cover_is_reference(struct slice text)
{
	bool known = slice_starts(text, SLICE_LIT("${env:")) || slice_starts(text, SLICE_LIT("${file:"));

	return known && memchr(text.ptr, '}', text.len) == text.ptr + text.len - 1;
}

struct gathering {
	const struct cover *cover;
	struct redact_found *found;
	uint32_t line, left; /* of nodes */
};

static const struct setting *find_row(const struct conf_kind *kind, const char *path)
{
	for (uint32_t i = 0; kind && i < kind->setting_count; i++)
		if (strcmp(kind->settings[i].path, path) == 0)
			return &kind->settings[i];
	for (uint32_t i = 0; i < setting_count; i++)
		if (strcmp(setting_table[i].path, path) == 0)
			return &setting_table[i];
	return NULL;
}

static const struct conf_kind *kind_of(const struct cover *c, const struct yaml_node *item)
{
	char name[64];

	for (const struct yaml_node *n = item->child; n && item->kind == YAML_MAP; n = n->next)
		if (slice_eq_str(n->key, "type") && n->kind == YAML_SCALAR && n->text.len < sizeof(name)) {
			(void)snprintf(name, sizeof(name), "%.*s", (int)n->text.len,
				       (const char *)n->text.ptr);
			return conf_kinds_find(c->kinds, name);
		}
	return NULL;
}

/* Does the value stand in the line, as far as the tree tells? It has the place of the first one alone. */
static bool stands_in(const struct yaml_node *n, uint32_t line)
{
	uint32_t lines = 0;

	if (n->at.line > line || n->kind != YAML_SCALAR)
		return false;
	if (n->at.line == line)
		return true;
	for (size_t i = 0; i < n->text.len; i++)
		lines += n->text.ptr[i] == '\n';
	return lines > 0 && line <= n->at.line + lines + 1;
}

static void gather_text(struct gathering *g, bool secret, const struct yaml_node *n)
{
	struct slice rest = n->text;

	if (!stands_in(n, g->line) || (secret && cover_is_reference(n->text)))
		return;
	redact_look_at(g->found, secret, slice_null(), n->text);
	while (secret && rest.len) { /* a text of several lines, line by line */
		const uint8_t *end = memchr(rest.ptr, '\n', rest.len);
		size_t len = end ? (size_t)(end - rest.ptr) : rest.len;
		redact_look_at(g->found, true, slice_null(), slice_make(rest.ptr, len));
		rest = slice_from(rest, end ? len + 1 : len);
	}
}

static uint32_t first_line(const struct yaml_node *n)
{
	return n->key.ptr ? n->key_at.line : n->at.line;
}

/* Nothing of it stands in the line: what comes after it begins before. */
static bool is_before(const struct yaml_node *n, uint32_t line)
{
	return n->next && first_line(n->next) < line;
}

/* Its one place is behind the line. What an alias stands for keeps its places, so that of a collection nothing can be said. */
static bool is_behind(const struct yaml_node *n, uint32_t line)
{
	return n->kind != YAML_MAP && n->kind != YAML_LIST && n->at.line > line;
}

static void gather(struct gathering *g, const struct yaml_node *n, const struct conf_kind *kind,
		   const char *path, bool secret)
{
	char below[PATH_BYTES];

	if (n->kind == YAML_SCALAR)
		gather_text(g, secret, n);
	for (const struct yaml_node *child = n->child; child; child = child->next) {
		const struct setting *row;
		if (is_before(child, g->line) || is_behind(child, g->line) || g->left == 0)
			continue;
		g->left--;
		bool item = n->kind == YAML_LIST && strcmp(path, "sources") == 0;
		if (n->kind == YAML_LIST) {
			gather(g, child, item ? kind_of(g->cover, child) : kind, item ? "" : path, secret);
			continue;
		}
		(void)snprintf(below, sizeof(below), "%s%s%.*s", path, *path ? "." : "",
			       (int)(child->key.len > 64 ? 64 : child->key.len),
			       (const char *)child->key.ptr);
		row = find_row(kind, below);
		gather(g, child, kind, below,
		       secret || (row ? (row->flags & SETTING_SECRET) != 0 :
					cover_is_secret_name(g->cover, child->key)));
	}
}

void cover_gather(const struct cover *c, uint32_t line, struct redact_found *found)
{
	struct gathering g = {.cover = c, .found = found, .line = line, .left = NODES_MAX};

	if (c->root && line)
		gather(&g, c->root, c->item ? kind_of(c, c->root) : c->kind, "", false);
}
