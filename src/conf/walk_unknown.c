/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key that no row has: what is said of it. The nearest name of its level first; then a key of that name in another
 * place, with its whole path; else all that the level takes.
 */
#include "base/check.h"
#include "conf/value.h"
#include "conf/walk.h"

#define NAMES_MAX 64u

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

	for (uint32_t i = 0; i < walk_row_count(w); i++) {
		const struct setting *s = walk_row(w, i);
		if (!walk_row_below(s, section))
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
static const char *elsewhere(const struct walk *w, struct slice key, char out[WALK_PATH_BYTES])
{
	for (uint32_t i = 0; i < walk_row_count(w); i++) {
		const struct setting *s = walk_row(w, i);
		const char *dot = s ? strrchr(s->path, '.') : NULL;
		if (!s || !slice_eq_str(key, dot ? dot + 1 : s->path))
			continue;
		walk_path(w, s->path, out);
		return out;
	}
	const struct setting *topic = w->scope == SETTING_FILE ? setting_find(SETTING_TOPIC, key) : NULL;
	if (!topic || (topic->flags & SETTING_ITEM_ONLY))
		return NULL;
	load_print(out, WALK_PATH_BYTES, "topic_defaults.%s", topic->path);
	return out;
}

void walk_unknown_key(struct loader *l, const struct walk *w, const char *section, const struct yaml_node *n)
{
	char path[WALK_PATH_BYTES], place[WALK_PATH_BYTES], other[WALK_PATH_BYTES];
	char list[1024] = "", text[1600];
	const char *names[NAMES_MAX];
	char room[NAMES_MAX][48];
	uint32_t count = level_names(w, section, names, room);

	walk_path(w, section, place);
	load_print(path, sizeof(path), "%s%s%.*s", place, *place ? "." : "", CONF_SHOWN(n->key));
	const char *nearest = conf_nearest(n->key, names, count);
	if (!nearest)
		nearest = elsewhere(w, n->key, other);
	size_t at = 0;
	for (uint32_t i = 0; i < count; i++)
		at += load_print(list + at, sizeof(list) - at, "%s%s", i ? ", " : "", names[i]);
	load_print(text, sizeof(text), "unknown key \"%.*s\"%s%s: %s%s%s", CONF_SHOWN(n->key),
		   *place ? " in " : "", place, nearest ? "did you mean \"" : "expected one of ",
		   nearest ? nearest : list, nearest ? "\"?" : "");
	load_problem(l,
		     (struct conf_problem){.at = n->key_at, .key = path, .text = text, .nearest = nearest});
}
