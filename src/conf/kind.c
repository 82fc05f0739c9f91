/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kind of source as its room declares it: its structure with its defaults, and its own checks, whose problems are told
 * where the key stands.
 */
#include "conf/kind.h"

#include <stdarg.h>
#include <stdio.h>

__attribute__((format(printf, 4, 0))) static void tell_check(struct conf_check *check, const char *path,
							     bool warning, const char *format, va_list args)
{
	uint32_t row = walk_find_row(check->walk, slice_str(path));
	struct conf_mark at = check->item->at;
	char full[WALK_PATH_BYTES], what[900], text[1400];

	if (row < walk_row_count(check->walk) && check->walk->marks[row].line)
		at = check->walk->marks[row];
	walk_path(check->walk, path, full);
	vsnprintf(what, sizeof(what), format, args);
	load_print(text, sizeof(text), "%s: %s", full, what);
	load_problem(check->loader,
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
	uint32_t row = walk_find_row(check->walk, slice_str(path));

	return row < walk_row_count(check->walk) && check->walk->marks[row].line > 0;
}

void *kind_object_new(struct loader *l, const struct conf_kind *kind)
{
	void *object = arena_zalloc(l->store, 1, kind->settings_bytes ? kind->settings_bytes : 1);

	if (!object || setting_table_defaults(kind->settings, kind->setting_count, object, l->store)) {
		l->err = ERR_NOMEM;
		return NULL;
	}
	return object;
}

const struct conf_kind *conf_kinds_find(const struct conf_kinds *kinds, const char *name)
{
	for (uint32_t i = 0; kinds && i < kinds->count; i++)
		if (strcmp(kinds->list[i]->name, name) == 0)
			return kinds->list[i];
	return NULL;
}

void kind_check(struct loader *l, const struct walk *w, const struct yaml_node *item, uint32_t errors_before)
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
	*settings = w.kind_object = kind_object_new(&l, kind);
	err = l.err ? l.err : yaml_read(text, &l.arena, &root, &at, &why);
	if (err == ERR_BAD_CONFIG)
		load_tell(&l, at, NULL, "%s", why);
	l.cover.root = root;
	if (!err) {
		walk_map(&l, &w, root ? root : &nothing);
		walk_required(&l, &w, root ? root : &nothing);
		kind_check(&l, &w, root ? root : &nothing, errors_before);
		err = l.err ? l.err : problems->errors > errors_before ? ERR_BAD_CONFIG : 0;
	}
	conf_problems_sort(problems);
	arena_fini(&l.arena);
	return err;
}
