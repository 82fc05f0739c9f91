/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources, each with the table of its kind beside that of all: the list of the file, and the one that a body of the HTTP
 * API gives. A source has an arena of its own, for it outlives the file that named it.
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "conf/item.h"
#include "conf/kind.h"
#include "conf/value.h"

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
	load_tell(l, item->at, w->label,
		  "%s: this version of weir serves no sources yet: take it out, and send to "
		  "/v1/topics/TOPIC/records instead",
		  w->label);
}

/* Where none is served, one problem for each says so; what stands inside is not looked at. */
static void refuse_sources(struct loader *l, const struct yaml_node *list)
{
	struct walk w = {.scope = SETTING_SOURCE};
	uint32_t i = 0;

	for (const struct yaml_node *n = list->child; n && !load_gave_up(l); n = n->next, i++) {
		item_label(&w, "sources", n, i);
		tell_no_sources(l, &w, n);
	}
}

/* The kind that an item names, or NULL and told. */
static const struct conf_kind *find_kind(struct loader *l, const struct walk *w, const struct yaml_node *item)
{
	const struct conf_kinds *kinds = l->world->kinds;
	const struct yaml_node *type = item->kind == YAML_MAP ? yaml_find(item, "type") : NULL;
	const char *names[32];
	char name[68], list[600] = "";
	uint32_t count = 0;
	size_t at = 0;

	if (!type || type->kind != YAML_SCALAR) {
		load_tell(l, item->at, w->label, "%s.type: missing", w->label);
		return NULL;
	}
	if (slice_eq_str(type->text, "webhook")) {
		load_tell(l, type->at, w->label,
			  "%s.type: this version of weir serves no webhooks yet: take it out, and send to "
			  "/v1/topics/TOPIC/records instead",
			  w->label);
		return NULL;
	}
	load_print(name, sizeof(name), "%.*s", CONF_SHOWN(type->text));
	if (conf_kinds_find(kinds, name))
		return conf_kinds_find(kinds, name);
	for (; count < kinds->count && count < 32; count++) {
		names[count] = kinds->list[count]->name;
		at += load_print(list + at, sizeof(list) - at, "%s%s", count ? ", " : "", names[count]);
	}
	const char *nearest = conf_nearest(type->text, names, count);
	load_tell(l, type->at, w->label, "%s.type: \"%s\": expected %s%s%s%s", w->label, name, list,
		  nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
	return NULL;
}

/* What stands in an item, once its kind is known. */
static void load_source_keys(struct loader *l, struct walk *w, struct conf_source *source,
			     const struct yaml_node *item)
{
	struct conf_check check = {.loader = l, .walk = w, .item = item};
	uint32_t errors_before = l->problems->errors;
	struct arena *store = l->store;

	l->store = &source->arena;
	source->kind = w->kind;
	source->settings = w->kind_object = kind_object_new(l, w->kind);
	if (!l->err) {
		walk_map(l, w, item);
		walk_required(l, w, item);
		kind_check(l, w, item, errors_before);
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

	item_label(&w, "sources", item, index);
	w.kind = find_kind(l, &w, item);
	if (!w.kind)
		return;
	load_source_keys(l, &w, source, item);
	row = walk_find_row(&w, SLICE_LIT("name"));
	*name_at = w.marks[row];
}

void load_sources(struct loader *l, const struct yaml_node *list)
{
	uint32_t count = item_count(l, list, "sources"), named_count = 0;
	bool none = !l->world->kinds || l->world->kinds->count == 0;
	struct item_name *names;

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
	for (const struct yaml_node *n = list->child; n && !load_gave_up(l); n = n->next) {
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
	item_unique(l, "sources", names, named_count);
}

/* ---- a source alone ---- */

/* The name stands in the path of the request: what has none in the body is given it, what has another is refused. */
static void name_source(struct loader *l, struct yaml_node *root, const char *name)
{
	const struct yaml_node *there = yaml_find(root, "name");
	struct yaml_node *node;

	if (there) {
		if (there->kind != YAML_SCALAR || !slice_eq_str(there->text, name))
			load_tell(l, there->at, "name",
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
		load_tell(l, (struct conf_mark){0}, NULL, "expected a mapping with the keys of a source");
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
		load_tell(&l, (struct conf_mark){0}, NULL, "not UTF-8, or with a NUL byte: expected text");
	else
		err = yaml_read(text, &l.arena, &root, &at, &why);
	if (err == ERR_BAD_CONFIG)
		load_tell(&l, at, NULL, "%s", why);
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
