/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One map of the file against the rows of its scope: a key is a row's, a section's (other rows begin with it), or
 * unknown. The walk never stops at a problem: it tells it and goes on with the next key.
 *
 * Which keys there are comes from the table alone; the lists topics and sources, which no row can say, are let
 * through here and read by their own files.
 */
#include "conf/walk.h"

#include "conf/expand.h"

/* ---- rows ---- */

uint32_t walk_row_count(const struct walk *w)
{
	return setting_count + (w->kind ? w->kind->setting_count : 0);
}

const struct setting *walk_row(const struct walk *w, uint32_t i)
{
	const struct setting *s;

	if (i >= setting_count)
		return &w->kind->settings[i - setting_count];
	s = &setting_table[i];
	return s->scope == w->scope && !(s->flags & w->excluded) ? s : NULL;
}

static void *object_of(const struct walk *w, const struct setting *s)
{
	return s->scope == SETTING_KIND ? w->kind_object : w->object;
}

uint32_t walk_find_row(const struct walk *w, struct slice path)
{
	uint32_t i = 0;

	while (i < walk_row_count(w) && !(walk_row(w, i) && slice_eq_str(path, walk_row(w, i)->path)))
		i++;
	return i;
}

void walk_path(const struct walk *w, const char *path, char out[WALK_PATH_BYTES])
{
	load_print(out, WALK_PATH_BYTES, "%s%s%s", w->label, *w->label && *path ? "." : "", path);
}

bool walk_row_below(const struct setting *s, const char *section)
{
	size_t n = strlen(section);

	if (!s)
		return false;
	return n == 0 || (strncmp(s->path, section, n) == 0 && s->path[n] == '.');
}

/* ---- values ---- */

#define VALUE_BYTES 81u

/* As it may be shown: what a row says is secret is not. */
static const char *shown_value(const struct setting *s, const struct yaml_node *n, char out[VALUE_BYTES])
{
	cover_value(n->text, s->flags & SETTING_SECRET, out, VALUE_BYTES);
	return out;
}

static void bad_value(struct loader *l, const struct setting *s, const char *path, const struct yaml_node *n,
		      bool expanded, struct slice value)
{
	char text[1400], shown[VALUE_BYTES];
	struct buf expected;
	const char *nearest = expanded ? NULL : setting_nearest(s, value);

	buf_init(&expected, 1000);
	setting_expected(s, &expected);
	load_print(text, sizeof(text), "%s: \"%s\"%s: expected %.*s%s%s%s", path, shown_value(s, n, shown),
		   expanded ? " (once replaced)" : "", (int)expected.len, (const char *)expected.ptr,
		   nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
	load_problem(l, (struct conf_problem){.at = n->at, .key = path, .text = text, .nearest = nearest});
	buf_fini(&expected);
}

static void wrong_kind(struct loader *l, const struct setting *s, const char *path, const struct yaml_node *n)
{
	static const char *const found[] = {"nothing", "a value", "a mapping", "a list"};
	struct buf expected;

	buf_init(&expected, 1000);
	setting_expected(s, &expected);
	buf_append_byte(&expected, 0);
	load_tell(l, n->at, path, "%s: found %s: expected %s", path, found[n->kind],
		  expected.ptr ? (const char *)expected.ptr : "another");
	buf_fini(&expected);
}

static int store(struct loader *l, struct walk *w, const struct setting *s, struct slice name,
		 struct slice value)
{
	if (s->type == SETTING_MAP)
		return setting_store_pair(s, object_of(w, s), name, value, l->store);
	return setting_store(s, object_of(w, s), value, l->store);
}

/* name: of a map's pair. */
static void set_scalar(struct loader *l, struct walk *w, const struct setting *s, const char *path,
		       struct slice name, const struct yaml_node *n)
{
	struct expand_result result;
	char shown[VALUE_BYTES];
	struct fault fault;
	struct buf value;

	buf_init(&value, EXPAND_BYTES_MAX);
	int err = expand(n->text, l->world, &value, &result, &fault);
	if (err == ERR_BAD_CONFIG)
		load_tell(l, n->at, path, "%s: \"%s\": %s", path, shown_value(s, n, shown), fault.text);
	if (*result.warning) {
		char text[800];
		load_print(text, sizeof(text), "%s: %s", path, result.warning);
		load_problem(l,
			     (struct conf_problem){.at = n->at, .warning = true, .key = path, .text = text});
	}
	if (!err) {
		err = store(l, w, s, name, buf_slice(&value));
		if (err == ERR_BAD_CONFIG)
			bad_value(l, s, path, n, result.changed, buf_slice(&value));
	}
	if (err == ERR_NOMEM)
		l->err = err;
	buf_fini(&value);
}

static void set_pairs(struct loader *l, struct walk *w, const struct setting *s, const char *path,
		      const struct yaml_node *map)
{
	char pair_path[WALK_PATH_BYTES + 96];

	for (const struct yaml_node *n = map->child; n && !load_gave_up(l); n = n->next) {
		load_print(pair_path, sizeof(pair_path), "%s.%.*s", path, CONF_SHOWN(n->key));
		if (n->kind == YAML_SCALAR)
			set_scalar(l, w, s, pair_path, n->key, n);
		else
			wrong_kind(l, s, pair_path, n);
	}
}

static void set_value(struct loader *l, struct walk *w, const struct setting *s, const struct yaml_node *n)
{
	char path[WALK_PATH_BYTES], item_path[WALK_PATH_BYTES + 16];
	uint32_t i = 0;

	walk_path(w, s->path, path);
	if (n->kind == YAML_SCALAR && s->type != SETTING_MAP) {
		set_scalar(l, w, s, path, slice_null(), n);
		return;
	}
	if (s->type == SETTING_MAP && (n->kind == YAML_MAP || n->kind == YAML_EMPTY)) {
		set_pairs(l, w, s, path, n);
		return;
	}
	if (s->type != SETTING_LIST || n->kind != YAML_LIST) {
		wrong_kind(l, s, path, n);
		return;
	}
	for (const struct yaml_node *item = n->child; item && !load_gave_up(l); item = item->next, i++) {
		load_print(item_path, sizeof(item_path), "%s[%u]", path, i);
		if (item->kind == YAML_SCALAR)
			set_scalar(l, w, s, item_path, slice_null(), item);
		else
			wrong_kind(l, s, item_path, item);
	}
}

/* ---- maps ---- */

/* False, and told, where an earlier sibling has the same key. */
static bool is_first(struct loader *l, const char *path, const struct yaml_node *map,
		     const struct yaml_node *n)
{
	for (const struct yaml_node *other = map->child; other != n; other = other->next) {
		if (!slice_eq(other->key, n->key))
			continue;
		load_tell(l, n->key_at, path, "%s: given twice, first on line %u", path, other->key_at.line);
		return false;
	}
	return true;
}

static bool is_section(const struct walk *w, const char *path)
{
	for (uint32_t i = 0; i < walk_row_count(w); i++)
		if (walk_row_below(walk_row(w, i), path))
			return true;
	return false;
}

static bool is_special(const struct walk *w, const char *section, const struct yaml_node *n)
{
	if (w->scope != SETTING_FILE || *section)
		return false;
	return slice_eq_str(n->key, "topics") || slice_eq_str(n->key, "topic_defaults") ||
	       slice_eq_str(n->key, "sources");
}

static void walk_section(struct loader *l, struct walk *w, const char *section, const struct yaml_node *map);

static void walk_key(struct loader *l, struct walk *w, const char *section, const struct yaml_node *map,
		     const struct yaml_node *n)
{
	char path[WALK_PATH_BYTES], full[WALK_PATH_BYTES];

	/* A key with a dot or of any length cannot be a row's. */
	if (n->key.len == 0 || n->key.len > 64 || memchr(n->key.ptr, '.', n->key.len) ||
	    memchr(n->key.ptr, 0, n->key.len)) {
		walk_unknown_key(l, w, section, n);
		return;
	}
	load_print(path, sizeof(path), "%s%s%.*s", section, *section ? "." : "", CONF_SHOWN(n->key));
	walk_path(w, path, full);
	uint32_t row = walk_find_row(w, slice_str(path));
	const struct setting *s = row < walk_row_count(w) ? walk_row(w, row) : NULL;
	/* `every: 10s` and `every: {min: 1s, max: 10m}`: a row may have rows below it. */
	bool section_here = (!s || (n->kind == YAML_MAP && s->type != SETTING_MAP)) && is_section(w, path);
	if (!s && !section_here && !is_special(w, section, n)) {
		walk_unknown_key(l, w, section, n);
		return;
	}
	if (!is_first(l, full, map, n))
		return;
	if (section_here) {
		walk_section(l, w, path, n);
	} else if (s) {
		w->marks[row] = n->at;
		set_value(l, w, s, n);
	}
}

static void walk_section(struct loader *l, struct walk *w, const char *section, const struct yaml_node *map)
{
	char full[WALK_PATH_BYTES];

	if (map->kind == YAML_EMPTY)
		return;
	if (map->kind != YAML_MAP) {
		walk_path(w, section, full);
		load_tell(l, map->at, full, "%s%sexpected a mapping of settings, KEY: VALUE", full,
			  *full ? ": " : "");
		return;
	}
	for (const struct yaml_node *n = map->child; n && !load_gave_up(l); n = n->next)
		walk_key(l, w, section, map, n);
}

void walk_required(struct loader *l, const struct walk *w, const struct yaml_node *map)
{
	char path[WALK_PATH_BYTES];

	for (uint32_t i = 0; i < walk_row_count(w); i++) {
		const struct setting *s = walk_row(w, i);
		if (!s || !(s->flags & SETTING_REQUIRED) || w->marks[i].line)
			continue;
		walk_path(w, s->path, path);
		load_tell(l, map->at, path, "%s: missing", path);
	}
}

void walk_map(struct loader *l, struct walk *w, const struct yaml_node *map)
{
	walk_section(l, w, "", map);
}
