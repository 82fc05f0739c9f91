/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single values from text after loading (the command line, the HTTP API), and
 * what differs between two configurations.
 */
#include "conf/conf.h"

#include <stdio.h>

#include "base/check.h"
#include "conf/setting.h"
#include "conf/value.h"

/* ---- single values ---- */

static int refuse_value(const struct setting *s, struct slice value, int err, struct fault *fault)
{
	struct buf expected;

	buf_init(&expected, 400);
	setting_expected(s, &expected);
	const char *nearest = setting_nearest(s, value);
	fault_set(fault, err, "%s: \"%.*s\": expected %.*s%s%s%s", s->path, CONF_SHOWN(value),
		  (int)expected.len, expected.ptr ? (const char *)expected.ptr : "",
		  nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
	buf_fini(&expected);
	return err;
}

int conf_set(struct conf *c, const char *path, struct slice value, struct fault *fault)
{
	const struct setting *s = setting_find(SETTING_FILE, slice_str(path));

	if (!s)
		return fault_set(fault, ERR_BAD_CONFIG, "there is no setting %.100s", path);
	int err = setting_store(s, c, value, &c->arena);
	if (err == ERR_BAD_CONFIG)
		return refuse_value(s, value, err, fault);
	return err ? fault_set(fault, err, "no memory") : 0;
}

void conf_topic_init(struct conf_topic *topic)
{
	*topic = (struct conf_topic){0};
	CHECK(setting_defaults(SETTING_TOPIC, topic, NULL) == 0);
}

static bool is_api_key(const struct setting *s)
{
	return s->scope == SETTING_TOPIC && !(s->flags & (SETTING_DEFAULTS_ONLY | SETTING_ITEM_ONLY));
}

static int refuse_key(struct slice key, struct fault *fault)
{
	const char *names[24];
	char list[400] = "";
	uint32_t count = 0;

	for (uint32_t i = 0, at = 0; i < setting_count && count < 24; i++) {
		if (!is_api_key(&setting_table[i]))
			continue;
		names[count++] = setting_table[i].path;
		at += (uint32_t)snprintf(list + at, sizeof(list) - at, "%s%s", at ? ", " : "",
					 setting_table[i].path);
		CHECK(at < sizeof(list));
	}
	const char *nearest = conf_nearest(key, names, count);
	return fault_set(fault, ERR_BAD_TOPIC_CONFIG, "unknown key \"%.*s\": %s%s%s", CONF_SHOWN(key),
			 nearest ? "did you mean \"" : "expected one of ", nearest ? nearest : list,
			 nearest ? "\"?" : "");
}

int conf_topic_set(struct conf_topic *topic, struct slice key, struct slice value, struct fault *fault)
{
	const struct setting *s = setting_find(SETTING_TOPIC, key);

	if (!s || !is_api_key(s))
		return refuse_key(key, fault);
	if (setting_store(s, topic, value, NULL) != 0)
		return refuse_value(s, value, ERR_BAD_TOPIC_CONFIG, fault);
	return 0;
}

/* A row's value as JSON: numbers and booleans bare, the rest quoted (words of ours, nothing to escape). */
static void append_member(const struct setting *s, const char *name, const struct conf_topic *topic,
			  struct buf *out)
{
	bool quoted = s->type != SETTING_INT && s->type != SETTING_BOOL;

	buf_appendf(out, "\"%s\":%s", name, quoted ? "\"" : "");
	setting_text(s, topic, out);
	buf_append_str(out, quoted ? "\"" : "");
}

int conf_topic_json(const struct conf_topic *topic, struct buf *out)
{
	struct slice section = slice_null();
	bool first = true;

	for (uint32_t i = 0; i < setting_count; i++) {
		const struct setting *s = &setting_table[i];
		if (!is_api_key(s))
			continue;
		const char *dot = strchr(s->path, '.');
		struct slice in = dot ? slice_make(s->path, (size_t)(dot - s->path)) : slice_null();
		bool same = dot && slice_eq(in, section);
		if (section.len && !same)
			buf_append_byte(out, '}');
		if (!first)
			buf_append_byte(out, ',');
		if (dot && !same)
			buf_appendf(out, "\"%.*s\":{", (int)in.len, (const char *)in.ptr);
		append_member(s, dot ? dot + 1 : s->path, topic, out);
		section = in;
		first = false;
	}
	if (section.len)
		buf_append_byte(out, '}');
	return buf_status(out);
}

/* ---- differences ---- */

#define CHANGES_MAX 10000u

static const char *copy_buf(struct arena *a, struct buf *b)
{
	buf_append_byte(b, 0);
	struct slice copy = buf_status(b) ? slice_null() : arena_copy(a, buf_slice(b));
	buf_clear(b);
	return (const char *)copy.ptr;
}

static int add_change(struct conf_changes *out, const char *label, const struct setting *s,
		      const void *before, const void *after)
{
	struct buf text;

	if (out->count == CHANGES_MAX)
		return 0;
	if ((out->count & (out->count - 1)) == 0) {
		size_t room = out->count ? (size_t)out->count * 2 : 1;
		struct conf_change *list = arena_zalloc(&out->arena, room, sizeof(*list));
		if (!list)
			return ERR_NOMEM;
		if (out->count)
			memcpy(list, out->list, out->count * sizeof(*list));
		out->list = list;
	}
	struct conf_change *c = &out->list[out->count];
	*c = (struct conf_change){.restart = s && (s->flags & SETTING_RESTART)};
	buf_init(&text, 1u << 20);
	buf_appendf(&text, "%s%s%s", label, *label && s ? "." : "", s ? s->path : "");
	c->path = copy_buf(&out->arena, &text);
	if (before && s)
		setting_text(s, before, &text);
	c->before = before ? copy_buf(&out->arena, &text) : NULL;
	if (after && s)
		setting_text(s, after, &text);
	c->after = after ? copy_buf(&out->arena, &text) : NULL;
	buf_fini(&text);
	if (!c->path || (before && !c->before) || (after && !c->after))
		return ERR_NOMEM;
	out->count++;
	out->restart_count += c->restart;
	return 0;
}

static int diff_scope(struct conf_changes *out, enum setting_scope scope, const char *label,
		      const void *before, const void *after)
{
	int err = 0;

	for (uint32_t i = 0; i < setting_count && !err; i++) {
		const struct setting *s = &setting_table[i];
		if (s->scope == scope && !setting_same(s, before, after))
			err = add_change(out, label, s, before, after);
	}
	return err;
}

/* Topics usually stand in the same order: looks at the same place first. */
static const struct conf_topic *find_topic(const struct conf *c, const char *name, uint32_t hint)
{
	if (hint < c->topic_count && strcmp(c->topics[hint].name, name) == 0)
		return &c->topics[hint];
	for (uint32_t i = 0; i < c->topic_count; i++)
		if (strcmp(c->topics[i].name, name) == 0)
			return &c->topics[i];
	return NULL;
}

static int diff_topics(const struct conf *before, const struct conf *after, struct conf_changes *out)
{
	char label[300];
	int err = 0;

	for (uint32_t i = 0; i < after->topic_count && !err; i++) {
		const struct conf_topic *old = find_topic(before, after->topics[i].name, i);
		snprintf(label, sizeof(label), "topics[%s]", after->topics[i].name);
		err = old ? diff_scope(out, SETTING_TOPIC, label, old, &after->topics[i]) :
			    add_change(out, label, NULL, NULL, &after->topics[i]);
	}
	for (uint32_t i = 0; i < before->topic_count && !err; i++) {
		if (find_topic(after, before->topics[i].name, i))
			continue;
		snprintf(label, sizeof(label), "topics[%s]", before->topics[i].name);
		err = add_change(out, label, NULL, &before->topics[i], NULL);
	}
	return err;
}

int conf_diff(const struct conf *before, const struct conf *after, struct conf_changes *out)
{
	*out = (struct conf_changes){0};
	arena_init(&out->arena, 4096, 64u << 20);
	int err = diff_scope(out, SETTING_FILE, "", before, after);
	if (!err)
		err = diff_scope(out, SETTING_TOPIC, "topic_defaults", &before->topic_defaults,
				 &after->topic_defaults);
	if (!err)
		err = diff_topics(before, after, out);
	if (err)
		conf_changes_fini(out);
	return err;
}

void conf_changes_fini(struct conf_changes *c)
{
	arena_fini(&c->arena);
	*c = (struct conf_changes){0};
}

struct giving {
	void (*fn)(void *ctx, const char *path, struct slice text);
	void *ctx;
	int err;
};

static void give(struct giving *g, const struct setting *s, const void *object, const void *plain)
{
	struct buf text;

	if (setting_same(s, object, plain))
		return;
	buf_init(&text, 1u << 20);
	if (setting_text(s, object, &text))
		g->err = ERR_NOMEM;
	else
		g->fn(g->ctx, s->path, buf_slice(&text));
	buf_fini(&text);
}

int conf_source_each(const struct conf_source *source,
		     void (*fn)(void *ctx, const char *path, struct slice text), void *ctx)
{
	const struct conf_kind *kind = source->kind;
	struct giving g = {.fn = fn, .ctx = ctx};
	struct conf_source *plain;
	struct arena arena;
	void *settings;

	arena_init(&arena, 1024, 8u << 20);
	plain = arena_zalloc(&arena, 1, sizeof(*plain));
	settings = arena_zalloc(&arena, 1, kind->settings_bytes + 1);
	if (!plain || !settings || setting_defaults(SETTING_SOURCE, plain, &arena) ||
	    setting_table_defaults(kind->settings, kind->setting_count, settings, &arena))
		g.err = ERR_NOMEM;
	for (uint32_t i = 0; g.err == 0 && i < setting_count; i++)
		if (setting_table[i].scope == SETTING_SOURCE)
			give(&g, &setting_table[i], source, plain);
	for (uint32_t i = 0; g.err == 0 && i < kind->setting_count; i++)
		give(&g, &kind->settings[i], source->settings, settings);
	arena_fini(&arena);
	return g.err;
}
