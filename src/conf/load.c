/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A YAML tree against the settings table: the whole of it, and how what is wrong is told. Nothing stops at a problem, so
 * that one run finds them all. Only CONF_PROBLEMS_MAX errors end it early, for then nobody reads on, and hostile
 * files cost no more than that.
 *
 * Order: the settings of the file and topic_defaults first, wherever they stand (walk.c); topics next, as they start
 * from the defaults (load_topics.c); then sources (load_sources.c); checks between settings last (load_between.c).
 */
#include "conf/load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "conf/walk.h"
#include "sys/sys.h"

#define FILE_BYTES_MAX (8u << 20)

/* ---- telling ---- */

size_t load_print(char *out, size_t room, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int n = vsnprintf(out, room, format, args);
	va_end(args);
	return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

/* As it may be shown: secrets are known by their rows. */
void load_problem(struct loader *l, struct conf_problem problem)
{
	char line[204], text[1700];

	problem.file = l->name;
	problem.column = problem.at.column;
	if (cover_line(&l->cover, problem.at.line, line, sizeof(line), &problem.column))
		problem.source = line;
	load_print(text, sizeof(text), "%s", problem.text);
	(void)cover_sentence(&l->cover, problem.at.line, text, strlen(text));
	problem.text = text;
	conf_problems_add(l->problems, &problem);
}

void load_tell(struct loader *l, struct conf_mark at, const char *key, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	load_problem(l, (struct conf_problem){.at = at, .key = key, .text = text});
}

bool load_gave_up(const struct loader *l)
{
	return l->err || l->problems->errors >= CONF_PROBLEMS_MAX;
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

	CHECK(setting_count <= WALK_ROWS_MAX);
	if (root)
		walk_map(l, &file, root);
	if (root && root->kind != YAML_MAP)
		root = NULL;
	section = yaml_find(root, "topic_defaults");
	if (section)
		walk_map(l, &defaults, section);
	load_topics(l, yaml_find(root, "topics"));
	load_sources(l, yaml_find(root, "sources"));
	load_between(l, &file);
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
		load_tell(l, find_bad_byte(l->text), NULL, "not UTF-8: expected a text file");
		return ERR_BAD_CONFIG;
	}
	const uint8_t *zero = l->text.len ? memchr(l->text.ptr, 0, l->text.len) : NULL;
	if (zero) {
		load_tell(l, (struct conf_mark){0}, NULL, "holds a NUL byte: expected a text file");
		return ERR_BAD_CONFIG;
	}
	int err = yaml_read(l->text, &l->arena, &root, &at, &why);
	if (err == ERR_BAD_CONFIG)
		load_tell(l, at, NULL, "%s", why);
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
		load_print(why, sizeof(why), "cannot be read: %.300s",
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
