/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A YAML tree against the settings table. The walk never stops at a problem: it
 * tells it and goes on with the next key, so that one run finds them all. Only
 * CONF_PROBLEMS_MAX errors end it early, for then nobody reads on, and hostile
 * files cost no more than that.
 *
 * Order: the settings of the file and topic_defaults first, wherever they
 * stand; topics next, as they start from the defaults; then sources, each with the table of its
 * kind beside that of all; checks between settings last.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/topic_name.h"
#include "base/utf8.h"
#include "conf/conf.h"
#include "conf/cover.h"
#include "conf/expand.h"
#include "conf/setting.h"
#include "conf/value.h"
#include "conf/yaml.h"
#include "sys/sys.h"

#define FILE_BYTES_MAX (8u << 20)
#define ROWS_MAX 256u
#define PATH_MAX_BYTES 400u
#define NAMES_MAX 64u

struct loader {
	struct conf *conf;
	struct conf_problems *problems;
	const struct conf_world *world;
	const char *name;
	struct slice text;
	struct cover cover;  /* of what is shown of it */
	struct arena arena;  /* of the tree */
	struct arena *store; /* where strings are kept */
	int err;             /* ERR_NOMEM, once */
};

/*
 * One object on its way from a map to a structure, or, for a source, to two: what all
 * sources have, and what its kind has. Rows are numbered through both tables.
 */
struct walk {
	enum setting_scope scope;
	uint32_t excluded; /* rows with these flags are not keys here */
	void *object;
	const struct conf_kind *kind; /* NULL: none */
	void *kind_object;
	char label[PATH_MAX_BYTES];       /* "topic_defaults", "topics[orders]"; empty for the file */
	struct conf_mark marks[ROWS_MAX]; /* where each row was set; line 0: it was not */
};

static uint32_t row_count(const struct walk *w)
{
	return setting_count + (w->kind ? w->kind->setting_count : 0);
}

/* The row of a number where it is a key here, else NULL. */
static const struct setting *row_at(const struct walk *w, uint32_t i)
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

/* The number of the row with this path; row_count where there is none. */
static uint32_t find_row(const struct walk *w, struct slice path)
{
	uint32_t i = 0;

	while (i < row_count(w) && !(row_at(w, i) && slice_eq_str(path, row_at(w, i)->path)))
		i++;
	return i;
}

/* ---- telling ---- */

/* snprintf where cutting is what is wanted. Gives the bytes that are there now. */
__attribute__((format(printf, 3, 4))) static size_t print_to(char *out, size_t room, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int n = vsnprintf(out, room, format, args);
	va_end(args);
	return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

/* As it may be shown: secrets are known by their rows. */
static void add_problem(struct loader *l, struct conf_problem problem)
{
	char line[204], text[1700];

	problem.file = l->name;
	problem.column = problem.at.column;
	if (cover_line(&l->cover, problem.at.line, line, sizeof(line), &problem.column))
		problem.source = line;
	print_to(text, sizeof(text), "%s", problem.text);
	(void)cover_sentence(&l->cover, problem.at.line, text, strlen(text));
	problem.text = text;
	conf_problems_add(l->problems, &problem);
}

__attribute__((format(printf, 4, 5))) static void tell(struct loader *l, struct conf_mark at, const char *key,
						       const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	add_problem(l, (struct conf_problem){.at = at, .key = key, .text = text});
}

static bool gave_up(const struct loader *l)
{
	return l->err || l->problems->errors >= CONF_PROBLEMS_MAX;
}

/* Offending text, cut to what a line can hold. */
#define SHOWN(s) (int)((s).len > 80 ? 80 : (s).len), (const char *)((s).ptr ? (const char *)(s).ptr : "")

static void full_path(const struct walk *w, const char *path, char out[PATH_MAX_BYTES])
{
	print_to(out, PATH_MAX_BYTES, "%s%s%s", w->label, *w->label && *path ? "." : "", path);
}

/* The same of a value, without what is secret in it. */
#define VALUE_BYTES 81u

static const char *shown_value(const struct setting *s, const struct yaml_node *n, char out[VALUE_BYTES])
{
	cover_value(n->text, s->flags & SETTING_SECRET, out, VALUE_BYTES);
	return out;
}

/* ---- names of a level ---- */

/* True where the row is a key here, and below the section (its path without the last dot; "" is the top). */
static bool row_below(const struct setting *s, const char *section)
{
	size_t n = strlen(section);

	if (!s)
		return false;
	return n == 0 || (strncmp(s->path, section, n) == 0 && s->path[n] == '.');
}

static bool add_name(const char *names[NAMES_MAX], uint32_t *count, const char *name)
{
	for (uint32_t i = 0; i < *count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	if (*count == NAMES_MAX)
		return false;
	names[(*count)++] = name;
	return true;
}

/* The keys that a level takes; `room` holds the cut ones. */
static uint32_t level_names(const struct walk *w, const char *section, const char *names[NAMES_MAX],
			    char room[NAMES_MAX][48])
{
	uint32_t count = 0;
	size_t skip = *section ? strlen(section) + 1 : 0;

	for (uint32_t i = 0; i < row_count(w); i++) {
		const struct setting *s = row_at(w, i);
		if (!row_below(s, section))
			continue;
		size_t n = strcspn(s->path + skip, ".");
		CHECK(n < 48 && count < NAMES_MAX);
		memcpy(room[count], s->path + skip, n);
		room[count][n] = 0;
		add_name(names, &count, room[count]);
	}
	if (w->scope == SETTING_FILE && !*section) {
		add_name(names, &count, "topic_defaults");
		add_name(names, &count, "topics");
		add_name(names, &count, "sources");
	}
	return count;
}

/* A key that is right elsewhere: its whole path, or NULL. */
static const char *elsewhere(const struct walk *w, struct slice key, char out[PATH_MAX_BYTES])
{
	for (uint32_t i = 0; i < row_count(w); i++) {
		const struct setting *s = row_at(w, i);
		const char *dot = s ? strrchr(s->path, '.') : NULL;
		if (!s || !slice_eq_str(key, dot ? dot + 1 : s->path))
			continue;
		full_path(w, s->path, out);
		return out;
	}
	const struct setting *topic = w->scope == SETTING_FILE ? setting_find(SETTING_TOPIC, key) : NULL;
	if (!topic || (topic->flags & SETTING_ITEM_ONLY))
		return NULL;
	print_to(out, PATH_MAX_BYTES, "topic_defaults.%s", topic->path);
	return out;
}

static void unknown_key(struct loader *l, const struct walk *w, const char *section,
			const struct yaml_node *n)
{
	char path[PATH_MAX_BYTES], place[PATH_MAX_BYTES], other[PATH_MAX_BYTES], list[1024] = "", text[1600];
	const char *names[NAMES_MAX];
	char room[NAMES_MAX][48];
	uint32_t count = level_names(w, section, names, room);

	full_path(w, section, place);
	print_to(path, sizeof(path), "%s%s%.*s", place, *place ? "." : "", SHOWN(n->key));
	const char *nearest = conf_nearest(n->key, names, count);
	if (!nearest)
		nearest = elsewhere(w, n->key, other);
	size_t at = 0;
	for (uint32_t i = 0; i < count; i++)
		at += print_to(list + at, sizeof(list) - at, "%s%s", i ? ", " : "", names[i]);
	print_to(text, sizeof(text), "unknown key \"%.*s\"%s%s: %s%s%s", SHOWN(n->key), *place ? " in " : "",
		 place, nearest ? "did you mean \"" : "expected one of ", nearest ? nearest : list,
		 nearest ? "\"?" : "");
	add_problem(l, (struct conf_problem){.at = n->key_at, .key = path, .text = text, .nearest = nearest});
}

/* ---- values ---- */

static void bad_value(struct loader *l, const struct setting *s, const char *path, const struct yaml_node *n,
		      bool expanded, struct slice value)
{
	char text[1400], shown[VALUE_BYTES];
	struct buf expected;
	const char *nearest = expanded ? NULL : setting_nearest(s, value);

	buf_init(&expected, 1000);
	setting_expected(s, &expected);
	print_to(text, sizeof(text), "%s: \"%s\"%s: expected %.*s%s%s%s", path, shown_value(s, n, shown),
		 expanded ? " (once replaced)" : "", (int)expected.len, (const char *)expected.ptr,
		 nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
	add_problem(l, (struct conf_problem){.at = n->at, .key = path, .text = text, .nearest = nearest});
	buf_fini(&expected);
}

static void wrong_kind(struct loader *l, const struct setting *s, const char *path, const struct yaml_node *n)
{
	static const char *const found[] = {"nothing", "a value", "a mapping", "a list"};
	struct buf expected;

	buf_init(&expected, 1000);
	setting_expected(s, &expected);
	buf_append_byte(&expected, 0);
	tell(l, n->at, path, "%s: found %s: expected %s", path, found[n->kind],
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
		tell(l, n->at, path, "%s: \"%s\": %s", path, shown_value(s, n, shown), fault.text);
	if (*result.warning) {
		char text[800];
		print_to(text, sizeof(text), "%s: %s", path, result.warning);
		add_problem(l,
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
	char pair_path[PATH_MAX_BYTES + 96];

	for (const struct yaml_node *n = map->child; n && !gave_up(l); n = n->next) {
		print_to(pair_path, sizeof(pair_path), "%s.%.*s", path, SHOWN(n->key));
		if (n->kind == YAML_SCALAR)
			set_scalar(l, w, s, pair_path, n->key, n);
		else
			wrong_kind(l, s, pair_path, n);
	}
}

static void set_value(struct loader *l, struct walk *w, const struct setting *s, const struct yaml_node *n)
{
	char path[PATH_MAX_BYTES], item_path[PATH_MAX_BYTES + 16];
	uint32_t i = 0;

	full_path(w, s->path, path);
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
	for (const struct yaml_node *item = n->child; item && !gave_up(l); item = item->next, i++) {
		print_to(item_path, sizeof(item_path), "%s[%u]", path, i);
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
		tell(l, n->key_at, path, "%s: given twice, first on line %u", path, other->key_at.line);
		return false;
	}
	return true;
}

static bool is_section(const struct walk *w, const char *path)
{
	for (uint32_t i = 0; i < row_count(w); i++)
		if (row_below(row_at(w, i), path))
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

static void walk_map(struct loader *l, struct walk *w, const char *section, const struct yaml_node *map);

static void walk_key(struct loader *l, struct walk *w, const char *section, const struct yaml_node *map,
		     const struct yaml_node *n)
{
	char path[PATH_MAX_BYTES], full[PATH_MAX_BYTES];

	/* A key with a dot or of any length cannot be a row's. */
	if (n->key.len == 0 || n->key.len > 64 || memchr(n->key.ptr, '.', n->key.len) ||
	    memchr(n->key.ptr, 0, n->key.len)) {
		unknown_key(l, w, section, n);
		return;
	}
	print_to(path, sizeof(path), "%s%s%.*s", section, *section ? "." : "", SHOWN(n->key));
	full_path(w, path, full);
	uint32_t row = find_row(w, slice_str(path));
	const struct setting *s = row < row_count(w) ? row_at(w, row) : NULL;
	/* `every: 10s` and `every: {min: 1s, max: 10m}`: a row may have rows below it. */
	bool section_here = (!s || (n->kind == YAML_MAP && s->type != SETTING_MAP)) && is_section(w, path);
	if (!s && !section_here && !is_special(w, section, n)) {
		unknown_key(l, w, section, n);
		return;
	}
	if (!is_first(l, full, map, n))
		return;
	if (section_here) {
		walk_map(l, w, path, n);
	} else if (s) {
		w->marks[row] = n->at;
		set_value(l, w, s, n);
	}
}

static void walk_map(struct loader *l, struct walk *w, const char *section, const struct yaml_node *map)
{
	char full[PATH_MAX_BYTES];

	if (map->kind == YAML_EMPTY)
		return;
	if (map->kind != YAML_MAP) {
		full_path(w, section, full);
		tell(l, map->at, full, "%s%sexpected a mapping of settings, KEY: VALUE", full,
		     *full ? ": " : "");
		return;
	}
	for (const struct yaml_node *n = map->child; n && !gave_up(l); n = n->next)
		walk_key(l, w, section, map, n);
}

static void check_required(struct loader *l, const struct walk *w, const struct yaml_node *map)
{
	char path[PATH_MAX_BYTES];

	for (uint32_t i = 0; i < row_count(w); i++) {
		const struct setting *s = row_at(w, i);
		if (!s || !(s->flags & SETTING_REQUIRED) || w->marks[i].line)
			continue;
		full_path(w, s->path, path);
		tell(l, map->at, path, "%s: missing", path);
	}
}

/* ---- topics and sources ---- */

static const struct yaml_node *find_key(const struct yaml_node *map, const char *key)
{
	for (const struct yaml_node *n = map ? map->child : NULL; n; n = n->next)
		if (slice_eq_str(n->key, key))
			return n;
	return NULL;
}

/* "topics[orders]", or "topics[3]" where the name is not usable. */
static void label_item(struct walk *w, const char *list, const struct yaml_node *item, uint32_t index)
{
	const struct yaml_node *name = item->kind == YAML_MAP ? find_key(item, "name") : NULL;

	if (name && name->kind == YAML_SCALAR && conf_is_topic_name(name->text))
		print_to(w->label, sizeof(w->label), "%s[%.*s]", list, (int)name->text.len,
			 (const char *)name->text.ptr);
	else
		print_to(w->label, sizeof(w->label), "%s[%u]", list, index);
}

struct named {
	const char *name;
	uint32_t index;
	struct conf_mark at;
};

static int compare_named(const void *left, const void *right)
{
	const struct named *a = left, *b = right;
	int order = strcmp(a->name, b->name);

	return order ? order : a->index < b->index ? -1 : 1;
}

/* Tells every name that stands more than once. Sorts the array. */
static void check_unique(struct loader *l, const char *list, struct named *names, uint32_t count)
{
	if (count > 1)
		qsort(names, count, sizeof(*names), compare_named);
	for (uint32_t i = 1, first = 0; i < count; i++) {
		if (strcmp(names[i].name, names[first].name) != 0) {
			first = i;
			continue;
		}
		tell(l, names[i].at, list, "%s: \"%s\" is named twice, first on line %u", list, names[i].name,
		     names[first].at.line);
	}
}

static uint32_t count_items(struct loader *l, const struct yaml_node *list, const char *what)
{
	uint32_t count = 0;

	if (!list || list->kind == YAML_EMPTY)
		return 0;
	if (list->kind != YAML_LIST) {
		tell(l, list->at, what, "%s: expected a list, each item a mapping: - { name: NAME }", what);
		return 0;
	}
	for (const struct yaml_node *n = list->child; n; n = n->next)
		count++;
	return count;
}

static void load_topic(struct loader *l, struct conf_topic *topic, const struct yaml_node *item,
		       uint32_t index, struct conf_mark *name_at)
{
	struct walk w = {.scope = SETTING_TOPIC, .excluded = SETTING_DEFAULTS_ONLY, .object = topic};
	const struct setting *name = setting_find(SETTING_TOPIC, SLICE_LIT("name"));

	label_item(&w, "topics", item, index);
	walk_map(l, &w, "", item);
	check_required(l, &w, item);
	*name_at = w.marks[name - setting_table];
	if (topic->name && topic_name_is_reserved(slice_str(topic->name)))
		tell(l, *name_at, w.label,
		     "%s: \"%s\": names that begin with __weir or as Kafka's own topics do are kept", w.label,
		     topic->name);
}

static void load_topics(struct loader *l, const struct yaml_node *list)
{
	uint32_t count = count_items(l, list, "topics"), named_count = 0;

	if (count == 0)
		return;
	struct conf_topic *topics = arena_zalloc(&l->conf->arena, count, sizeof(*topics));
	struct named *names = arena_zalloc(&l->arena, count, sizeof(*names));
	if (!topics || !names) {
		l->err = ERR_NOMEM;
		return;
	}
	l->conf->topics = topics;
	for (const struct yaml_node *n = list->child; n && !gave_up(l); n = n->next) {
		uint32_t i = l->conf->topic_count++;
		topics[i] = l->conf->topic_defaults;
		load_topic(l, &topics[i], n, i, &names[named_count].at);
		names[named_count].name = topics[i].name;
		names[named_count].index = i;
		named_count += topics[i].name != NULL;
	}
	check_unique(l, "topics", names, named_count);
}

/* ---- kinds of sources ---- */

struct conf_check {
	struct loader *loader;
	const struct walk *walk;
	const struct yaml_node *item;
};

__attribute__((format(printf, 4, 0))) static void tell_check(struct conf_check *check, const char *path,
							     bool warning, const char *format, va_list args)
{
	uint32_t row = find_row(check->walk, slice_str(path));
	struct conf_mark at = check->item->at;
	char full[PATH_MAX_BYTES], what[900], text[1400];

	if (row < row_count(check->walk) && check->walk->marks[row].line)
		at = check->walk->marks[row];
	full_path(check->walk, path, full);
	vsnprintf(what, sizeof(what), format, args);
	print_to(text, sizeof(text), "%s: %s", full, what);
	add_problem(check->loader,
		    (struct conf_problem){.at = at, .warning = warning, .key = full, .text = text});
}

void conf_check_fail(struct conf_check *check, const char *path, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	tell_check(check, path, false, format, args);
	va_end(args);
}

void conf_check_warn(struct conf_check *check, const char *path, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	tell_check(check, path, true, format, args);
	va_end(args);
}

bool conf_check_given(const struct conf_check *check, const char *path)
{
	uint32_t row = find_row(check->walk, slice_str(path));

	return row < row_count(check->walk) && check->walk->marks[row].line > 0;
}

/* A kind's structure with its defaults. */
static void *new_kind_object(struct loader *l, const struct conf_kind *kind)
{
	void *object = arena_zalloc(l->store, 1, kind->settings_bytes ? kind->settings_bytes : 1);

	if (!object || setting_table_defaults(kind->settings, kind->setting_count, object, l->store)) {
		l->err = ERR_NOMEM;
		return NULL;
	}
	return object;
}

/* ---- sources ---- */

const struct conf_kind *conf_kinds_find(const struct conf_kinds *kinds, const char *name)
{
	for (uint32_t i = 0; kinds && i < kinds->count; i++)
		if (strcmp(kinds->list[i]->name, name) == 0)
			return kinds->list[i];
	return NULL;
}

struct conf_source *conf_source_ref(struct conf_source *source)
{
	atomic_fetch_add(&source->refs, 1);
	return source;
}

void conf_source_unref(struct conf_source *source)
{
	if (!source || atomic_fetch_sub(&source->refs, 1) > 1)
		return;
	arena_fini(&source->arena);
	mem_free(source);
}

bool conf_source_same(const struct conf_source *a, const struct conf_source *b)
{
	if (a->kind != b->kind || a->guarded != b->guarded)
		return false;
	for (uint32_t i = 0; i < setting_count; i++)
		if (setting_table[i].scope == SETTING_SOURCE && !setting_same(&setting_table[i], a, b))
			return false;
	for (uint32_t i = 0; i < a->kind->setting_count; i++)
		if (!setting_same(&a->kind->settings[i], a->settings, b->settings))
			return false;
	return true;
}

static struct conf_source *source_new(struct loader *l)
{
	struct conf_source *source = mem_zalloc(1, sizeof(*source));

	if (!source) {
		l->err = ERR_NOMEM;
		return NULL;
	}
	source->refs = 1;
	arena_init(&source->arena, 1024, 8u << 20);
	if (setting_defaults(SETTING_SOURCE, source, &source->arena)) {
		conf_source_unref(source);
		l->err = ERR_NOMEM;
		return NULL;
	}
	return source;
}

static void tell_no_sources(struct loader *l, const struct walk *w, const struct yaml_node *item)
{
	tell(l, item->at, w->label,
	     "%s: this version of weir serves no sources yet: take it out, and send to "
	     "/v1/topics/TOPIC/records instead",
	     w->label);
}

/* Where none is served, one problem for each says so; what stands inside is not looked at. */
static void refuse_sources(struct loader *l, const struct yaml_node *list)
{
	struct walk w = {.scope = SETTING_SOURCE};
	uint32_t i = 0;

	for (const struct yaml_node *n = list->child; n && !gave_up(l); n = n->next, i++) {
		label_item(&w, "sources", n, i);
		tell_no_sources(l, &w, n);
	}
}

/* The kind that an item names, or NULL and told. */
static const struct conf_kind *find_kind(struct loader *l, const struct walk *w, const struct yaml_node *item)
{
	const struct conf_kinds *kinds = l->world->kinds;
	const struct yaml_node *type = item->kind == YAML_MAP ? find_key(item, "type") : NULL;
	const char *names[32];
	char name[68], list[600] = "";
	uint32_t count = 0;
	size_t at = 0;

	if (!type || type->kind != YAML_SCALAR) {
		tell(l, item->at, w->label, "%s.type: missing", w->label);
		return NULL;
	}
	if (slice_eq_str(type->text, "webhook")) {
		tell(l, type->at, w->label,
		     "%s.type: this version of weir serves no webhooks yet: take it out, and send to "
		     "/v1/topics/TOPIC/records instead",
		     w->label);
		return NULL;
	}
	print_to(name, sizeof(name), "%.*s", SHOWN(type->text));
	if (conf_kinds_find(kinds, name))
		return conf_kinds_find(kinds, name);
	for (; count < kinds->count && count < 32; count++) {
		names[count] = kinds->list[count]->name;
		at += print_to(list + at, sizeof(list) - at, "%s%s", count ? ", " : "", names[count]);
	}
	const char *nearest = conf_nearest(type->text, names, count);
	tell(l, type->at, w->label, "%s.type: \"%s\": expected %s%s%s%s", w->label, name, list,
	     nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
	return NULL;
}

static void check_kind(struct loader *l, const struct walk *w, const struct yaml_node *item,
		       uint32_t errors_before);

/* What stands in an item, once its kind is known. */
static void load_source_keys(struct loader *l, struct walk *w, struct conf_source *source,
			     const struct yaml_node *item)
{
	struct conf_check check = {.loader = l, .walk = w, .item = item};
	uint32_t errors_before = l->problems->errors;
	struct arena *store = l->store;

	l->store = &source->arena;
	source->kind = w->kind;
	source->settings = w->kind_object = new_kind_object(l, w->kind);
	if (!l->err) {
		walk_map(l, w, "", item);
		check_required(l, w, item);
		check_kind(l, w, item, errors_before);
		if (l->world->kinds->check && l->problems->errors == errors_before)
			l->world->kinds->check(source, &check);
	}
	l->store = store;
}

static void load_source(struct loader *l, struct conf_source *source, const struct yaml_node *item,
			uint32_t index, struct conf_mark *name_at)
{
	struct walk w = {.scope = SETTING_SOURCE, .object = source};
	uint32_t row;

	label_item(&w, "sources", item, index);
	w.kind = find_kind(l, &w, item);
	if (!w.kind)
		return;
	load_source_keys(l, &w, source, item);
	row = find_row(&w, SLICE_LIT("name"));
	*name_at = w.marks[row];
}

static void load_sources(struct loader *l, const struct yaml_node *list)
{
	uint32_t count = count_items(l, list, "sources"), named_count = 0;
	bool none = !l->world->kinds || l->world->kinds->count == 0;
	struct named *names;

	if (count == 0)
		return;
	if (none) {
		refuse_sources(l, list);
		return;
	}
	l->conf->sources = arena_zalloc(&l->conf->arena, count, sizeof(*l->conf->sources));
	names = arena_zalloc(&l->arena, count, sizeof(*names));
	if (!l->conf->sources || !names) {
		l->err = ERR_NOMEM;
		return;
	}
	for (const struct yaml_node *n = list->child; n && !gave_up(l); n = n->next) {
		struct conf_source *source = source_new(l);
		uint32_t i = l->conf->source_count;
		if (!source)
			return;
		l->conf->sources[l->conf->source_count++] = source;
		load_source(l, source, n, i, &names[named_count].at);
		names[named_count].name = source->name;
		names[named_count].index = i;
		named_count += source->name != NULL;
	}
	check_unique(l, "sources", names, named_count);
}

/* The checks that only make sense where every value is right by itself. */
static void check_kind(struct loader *l, const struct walk *w, const struct yaml_node *item,
		       uint32_t errors_before)
{
	struct conf_check check = {.loader = l, .walk = w, .item = item};

	if (w->kind->check && l->problems->errors == errors_before)
		w->kind->check(w->kind_object, &check);
}

int conf_kind_load(const struct conf_kind *kind, struct slice text, const struct conf_world *world,
		   struct arena *arena, void **settings, struct conf_problems *problems)
{
	struct loader l = {
		.problems = problems, .world = world, .name = kind->name, .text = text, .store = arena};
	struct walk w = {.scope = SETTING_KIND, .kind = kind};
	const struct yaml_node nothing = {.kind = YAML_EMPTY};
	uint32_t errors_before = problems->errors;
	struct yaml_node *root = NULL;
	struct conf_mark at;
	const char *why;
	int err;

	l.cover = (struct cover){.kinds = world->kinds, .kind = kind, .text = text};
	arena_init(&l.arena, 16384, 256u << 20);
	*settings = w.kind_object = new_kind_object(&l, kind);
	err = l.err ? l.err : yaml_read(text, &l.arena, &root, &at, &why);
	if (err == ERR_BAD_CONFIG)
		tell(&l, at, NULL, "%s", why);
	l.cover.root = root;
	if (!err) {
		walk_map(&l, &w, "", root ? root : &nothing);
		check_required(&l, &w, root ? root : &nothing);
		check_kind(&l, &w, root ? root : &nothing, errors_before);
		err = l.err ? l.err : problems->errors > errors_before ? ERR_BAD_CONFIG : 0;
	}
	conf_problems_sort(problems);
	arena_fini(&l.arena);
	return err;
}

/* The name stands in the path of the request: what has none in the body is given it, what has another is refused. */
static void name_source(struct loader *l, struct yaml_node *root, const char *name)
{
	const struct yaml_node *there = find_key(root, "name");
	struct yaml_node *node;

	if (there) {
		if (there->kind != YAML_SCALAR || !slice_eq_str(there->text, name))
			tell(l, there->at, "name",
			     "name: the body names another source than the path, which says %s", name);
		return;
	}
	node = arena_zalloc(&l->arena, 1, sizeof(*node));
	if (!node) {
		l->err = ERR_NOMEM;
		return;
	}
	*node = (struct yaml_node){.kind = YAML_SCALAR,
				   .at = root->at,
				   .key = SLICE_LIT("name"),
				   .key_at = root->at,
				   .text = slice_str(name),
				   .next = root->child};
	root->child = node;
}

static struct conf_source *load_one(struct loader *l, struct yaml_node *root, const char *name)
{
	struct conf_source *source = source_new(l);
	struct conf_mark at;

	if (!source)
		return NULL;
	if (!root || root->kind != YAML_MAP)
		tell(l, (struct conf_mark){0}, NULL, "expected a mapping with the keys of a source");
	else
		name_source(l, root, name);
	if (!l->err && l->problems->errors == 0)
		load_source(l, source, root, 0, &at);
	return source;
}

int conf_source_load(struct slice text, const char *name, const struct conf_world *world,
		     struct conf_source **out, struct conf_problems *problems)
{
	struct loader l = {.problems = problems, .world = world, .name = "body", .text = text};
	struct conf_source *source = NULL;
	struct yaml_node *root = NULL;
	struct conf_mark at;
	const char *why;
	int err = 0;

	*out = NULL;
	l.cover = (struct cover){.kinds = world->kinds, .item = true, .text = text};
	arena_init(&l.arena, 16384, 16u << 20);
	if (!utf8_valid(text) || (text.len && memchr(text.ptr, 0, text.len)))
		tell(&l, (struct conf_mark){0}, NULL, "not UTF-8, or with a NUL byte: expected text");
	else
		err = yaml_read(text, &l.arena, &root, &at, &why);
	if (err == ERR_BAD_CONFIG)
		tell(&l, at, NULL, "%s", why);
	l.cover.root = root;
	if (problems->errors == 0 && err == 0)
		source = load_one(&l, root, name);
	if (err != ERR_NOMEM)
		err = l.err ? l.err : problems->errors ? ERR_BAD_CONFIG : 0;
	conf_problems_sort(problems);
	arena_fini(&l.arena);
	if (err) {
		conf_source_unref(source);
		return err;
	}
	*out = source;
	return 0;
}

/* ---- checks between settings ---- */

/* low must not be above high; told where one of the two stands. */
static void check_order(struct loader *l, const struct walk *w, const char *low_path, const char *high_path)
{
	const struct setting *low = setting_find(SETTING_FILE, slice_str(low_path));
	const struct setting *high = setting_find(SETTING_FILE, slice_str(high_path));
	struct buf a, b;

	CHECK(low && high);
	int64_t low_value = *(const int64_t *)((const char *)l->conf + low->offset);
	int64_t high_value = *(const int64_t *)((const char *)l->conf + high->offset);
	if (low_value <= high_value)
		return;
	buf_init(&a, 64);
	buf_init(&b, 64);
	setting_number_text(low, low_value, &a);
	setting_number_text(high, high_value, &b);
	struct conf_mark at = w->marks[low - setting_table];
	if (at.line == 0)
		at = w->marks[high - setting_table];
	tell(l, at, low_path, "%s: \"%.*s\": expected at most %s, which is %.*s", low_path,
	     SHOWN(buf_slice(&a)), high_path, SHOWN(buf_slice(&b)));
	buf_fini(&a);
	buf_fini(&b);
}

static bool picks_port(const char *address)
{
	const char *colon = strrchr(address, ':');

	return colon && strcmp(colon, ":0") == 0;
}

static void check_between(struct loader *l, const struct walk *w)
{
	const struct conf *c = l->conf;
	const struct setting *cors = setting_find(SETTING_FILE, SLICE_LIT("http.cors"));
	const struct setting *kafka = setting_find(SETTING_FILE, SLICE_LIT("kafka.listen"));
	const struct setting *http = setting_find(SETTING_FILE, SLICE_LIT("http.listen"));
	struct conf_mark listen_at = w->marks[kafka - setting_table];

	if (listen_at.line == 0)
		listen_at = w->marks[http - setting_table];
	check_order(l, w, "http.record_bytes_max", "http.body_bytes_max");
	check_order(l, w, "http.record_bytes_max", "log.group_bytes");
	check_order(l, w, "log.group_bytes", "log.entered_bytes");
	check_order(l, w, "log.group_bytes", "log.pinned_bytes");
	check_order(l, w, "log.group_bytes", "log.journal_bytes");
	check_order(l, w, "log.journal_file_bytes", "log.journal_bytes");
	check_order(l, w, "http.body_bytes_max", "memory");
	if (c->kafka.listen && strcmp(c->http.listen, c->kafka.listen) == 0 && !picks_port(c->http.listen))
		tell(l, listen_at, "kafka.listen",
		     "kafka.listen: \"%s\": http.listen has this address already", c->kafka.listen);
	if (c->http.cors && c->http.allowed_origins.count == 0)
		add_problem(l,
			    (struct conf_problem){
				    .at = w->marks[cors - setting_table],
				    .warning = true,
				    .key = "http.cors",
				    .text = "http.cors: has no effect while http.allowed_origins is empty"});
}

/* ---- the whole ---- */

static void load_tree(struct loader *l, const struct yaml_node *root)
{
	struct walk file = {.scope = SETTING_FILE, .object = l->conf};
	struct walk defaults = {.scope = SETTING_TOPIC,
				.excluded = SETTING_ITEM_ONLY,
				.object = &l->conf->topic_defaults,
				.label = "topic_defaults"};
	const struct yaml_node *section;

	CHECK(setting_count <= ROWS_MAX);
	if (root)
		walk_map(l, &file, "", root);
	if (root && root->kind != YAML_MAP)
		root = NULL;
	section = find_key(root, "topic_defaults");
	if (section)
		walk_map(l, &defaults, "", section);
	load_topics(l, find_key(root, "topics"));
	load_sources(l, find_key(root, "sources"));
	check_between(l, &file);
}

/* The place of the first byte that is not UTF-8. */
static struct conf_mark find_bad_byte(struct slice text)
{
	struct conf_mark at = {.line = 1, .column = 1};
	uint32_t state = 0;

	for (size_t i = 0; i < text.len; i++) {
		state = utf8_feed(state, slice_make(text.ptr + i, 1));
		if (state == UTF8_BAD)
			return at;
		if (text.ptr[i] == '\n')
			at = (struct conf_mark){.line = at.line + 1, .column = 1};
		else if ((text.ptr[i] & 0xc0) != 0x80)
			at.column++;
	}
	return at;
}

static int load_text(struct loader *l)
{
	struct yaml_node *root;
	struct conf_mark at;
	const char *why;

	if (!utf8_valid(l->text)) {
		tell(l, find_bad_byte(l->text), NULL, "not UTF-8: expected a text file");
		return ERR_BAD_CONFIG;
	}
	const uint8_t *zero = l->text.len ? memchr(l->text.ptr, 0, l->text.len) : NULL;
	if (zero) {
		tell(l, (struct conf_mark){0}, NULL, "holds a NUL byte: expected a text file");
		return ERR_BAD_CONFIG;
	}
	int err = yaml_read(l->text, &l->arena, &root, &at, &why);
	if (err == ERR_BAD_CONFIG)
		tell(l, at, NULL, "%s", why);
	if (err == ERR_NOMEM)
		return err;
	l->cover.root = root;
	load_tree(l, root);
	conf_problems_sort(l->problems);
	return l->err ? l->err : l->problems->errors > 0 ? ERR_BAD_CONFIG : 0;
}

static int conf_new(const char *name, struct conf **out)
{
	struct conf *c = mem_zalloc(1, sizeof(*c));

	if (!c)
		return ERR_NOMEM;
	arena_init(&c->arena, 8192, 64u << 20);
	*out = c;
	int err = setting_defaults(SETTING_FILE, c, &c->arena);
	if (!err)
		err = setting_defaults(SETTING_TOPIC, &c->topic_defaults, &c->arena);
	if (!err && name) {
		struct slice copy = arena_copy(&c->arena, slice_make(name, strlen(name) + 1));
		c->path = (const char *)copy.ptr;
		err = copy.ptr ? 0 : ERR_NOMEM;
	}
	return err;
}

int conf_load_text(struct slice text, const char *name, const struct conf_world *world, struct conf **out,
		   struct conf_problems *problems)
{
	struct loader l = {.problems = problems, .world = world, .name = name, .text = text};
	uint32_t errors_before = problems->errors;

	*out = NULL;
	l.cover = (struct cover){.kinds = world->kinds, .text = text};
	arena_init(&l.arena, 16384, 256u << 20);
	problems->errors = 0;
	int err = conf_new(name, &l.conf);
	if (!err) {
		l.store = &l.conf->arena;
		err = load_text(&l);
	}
	problems->errors += errors_before;
	arena_fini(&l.arena);
	if (err)
		conf_free(l.conf);
	else
		*out = l.conf;
	return err;
}

int conf_load(const char *path, const struct conf_kinds *kinds, struct conf **out,
	      struct conf_problems *problems)
{
	struct conf_world process = *conf_world_process();
	const struct conf_world *world = &process;
	struct buf text;
	uint32_t mode;
	char why[400];

	process.kinds = kinds;
	*out = NULL;
	if (!path)
		return conf_load_text(slice_null(), NULL, world, out, problems);
	buf_init(&text, FILE_BYTES_MAX + 1);
	int failed = world->file(world->self, path, FILE_BYTES_MAX, &text, &mode);
	if (failed) {
		print_to(why, sizeof(why), "cannot be read: %.300s",
			 failed == -EFBIG ? "longer than 8 MiB" : sys_error_text(failed));
		conf_problems_add(problems, &(struct conf_problem){.file = path, .text = why});
		buf_fini(&text);
		return failed == -ENOENT ? ERR_NOT_FOUND : failed == -ENOMEM ? ERR_NOMEM : ERR_IO;
	}
	int err = conf_load_text(buf_slice(&text), path, world, out, problems);
	buf_fini(&text);
	return err;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < c->source_count; i++)
		conf_source_unref(c->sources[i]);
	arena_fini(&c->arena);
	mem_free(c);
}
