/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libfyaml's events to a small tree in an arena. Its own document tree was the
 * alternative: it does not tell the place of a node in the packaged version,
 * and it stops at the first duplicate key, which is for the checks to report
 * beside everything else.
 */
#include "conf/yaml.h"

#include <libfyaml.h>
#include <stdio.h>

#include "base/err.h"

struct anchor {
	struct slice name;
	struct yaml_node *node;
	struct anchor *next;
};

/* A collection that is open: where its next child goes. */
struct level {
	struct yaml_node *node;
	struct yaml_node **tail;
	struct anchor *anchor; /* takes effect when the collection is whole */
	struct slice key;      /* of the value that comes next */
	struct conf_mark key_at;
	bool has_key;
};

struct reader {
	struct fy_parser *parser;
	struct arena *arena;
	struct anchor *anchors;
	struct level levels[YAML_DEPTH_MAX];
	uint32_t depth;
	uint32_t nodes;
	struct yaml_node *root;
	bool done; /* one document was read */
	struct conf_mark at;
	const char *why;
};

/* An empty value has no place of its own: then it is its key's. */
static struct conf_mark mark_of(const struct reader *r, struct fy_event *event)
{
	const struct fy_mark *m = fy_event_start_mark(event);

	if (!m || (event->type == FYET_SCALAR && !event->scalar.value)) {
		if (r->depth > 0 && r->levels[r->depth - 1].has_key)
			return r->levels[r->depth - 1].key_at;
		return (struct conf_mark){.line = 1, .column = 1};
	}
	return (struct conf_mark){.line = (uint32_t)m->line + 1, .column = (uint32_t)m->column + 1};
}

static int fail(struct reader *r, struct conf_mark at, const char *why)
{
	r->at = at;
	r->why = why;
	return ERR_BAD_CONFIG;
}

static int token_text(struct reader *r, struct fy_token *token, struct slice *out)
{
	size_t len = 0;
	const char *text = token ? fy_token_get_text(token, &len) : NULL;

	*out = arena_copy(r->arena, slice_make(text ? text : "", text ? len : 0));
	return out->ptr ? 0 : ERR_NOMEM;
}

static struct yaml_node *node_new(struct reader *r, enum yaml_kind kind, struct conf_mark at)
{
	struct yaml_node *n = arena_zalloc(r->arena, 1, sizeof(*n));

	if (n) {
		n->kind = kind;
		n->at = at;
	}
	return n;
}

/* Puts a whole node where it belongs. The anchor of an alias has its own place, so the node is copied. */
static int place(struct reader *r, struct yaml_node *n)
{
	if (r->depth == 0) {
		r->root = n;
		return 0;
	}
	struct level *l = &r->levels[r->depth - 1];
	n->key = l->key;
	n->key_at = l->key_at;
	l->has_key = false;
	n->next = NULL;
	*l->tail = n;
	l->tail = &n->next;
	return 0;
}

static int anchor_new(struct reader *r, struct fy_token *token, struct anchor **out)
{
	*out = NULL;
	if (!token)
		return 0;
	struct anchor *a = arena_zalloc(r->arena, 1, sizeof(*a));
	if (!a)
		return ERR_NOMEM;
	int err = token_text(r, token, &a->name);
	if (err)
		return err;
	*out = a;
	return 0;
}

static void anchor_set(struct reader *r, struct anchor *a, struct yaml_node *n)
{
	if (!a)
		return;
	a->node = n;
	a->next = r->anchors;
	r->anchors = a;
}

static bool wants_key(const struct reader *r)
{
	if (r->depth == 0)
		return false;
	const struct level *l = &r->levels[r->depth - 1];
	return l->node->kind == YAML_MAP && !l->has_key;
}

static bool is_quoted(struct fy_token *value)
{
	enum fy_scalar_style style = fy_token_scalar_style(value);

	return style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED;
}

static int on_scalar(struct reader *r, struct fy_event *event)
{
	struct conf_mark at = mark_of(r, event);
	struct fy_token *value = event->scalar.value;
	struct anchor *anchor;
	struct slice text;

	if (event->scalar.tag)
		return fail(r, at, "tags are not supported here: leave the ! word out");
	int err = token_text(r, value, &text);
	if (err)
		return err;
	if (wants_key(r)) {
		struct level *l = &r->levels[r->depth - 1];
		l->key = text;
		l->key_at = at;
		l->has_key = true;
		return 0;
	}
	err = anchor_new(r, event->scalar.anchor, &anchor);
	if (err)
		return err;
	bool plain = !value || fy_token_scalar_style(value) == FYSS_PLAIN;
	bool empty = plain && (text.len == 0 || slice_eq_str(text, "~") || slice_eq_str(text, "null"));
	struct yaml_node *n = node_new(r, empty ? YAML_EMPTY : YAML_SCALAR, at);
	if (!n)
		return ERR_NOMEM;
	n->text = text;
	/* libfyaml's place of quoted text is behind the quote. */
	if (!plain && is_quoted(value) && n->at.column > 1)
		n->at.column--;
	anchor_set(r, anchor, n);
	return place(r, n);
}

static int on_alias(struct reader *r, struct fy_event *event)
{
	struct slice name;

	int err = token_text(r, event->alias.anchor, &name);
	if (err)
		return err;
	if (wants_key(r))
		return fail(r, mark_of(r, event), "an alias cannot be a key");
	for (struct anchor *a = r->anchors; a; a = a->next) {
		if (!slice_eq(a->name, name))
			continue;
		struct yaml_node *n = node_new(r, a->node->kind, mark_of(r, event));
		if (!n)
			return ERR_NOMEM;
		n->text = a->node->text;
		n->child = a->node->child;
		return place(r, n);
	}
	return fail(r, mark_of(r, event), "the alias has no anchor before it");
}

static int on_start(struct reader *r, struct fy_event *event, enum yaml_kind kind, struct fy_token *anchor,
		    struct fy_token *tag)
{
	struct conf_mark at = mark_of(r, event);

	if (tag)
		return fail(r, at, "tags are not supported here: leave the ! word out");
	if (wants_key(r))
		return fail(r, at, "a key must be text");
	if (r->depth == YAML_DEPTH_MAX)
		return fail(r, at, "nested too deeply");
	struct level *l = &r->levels[r->depth];
	*l = (struct level){.node = node_new(r, kind, at)};
	if (!l->node)
		return ERR_NOMEM;
	l->tail = &l->node->child;
	int err = anchor_new(r, anchor, &l->anchor);
	if (!err)
		r->depth++;
	return err;
}

static int on_end(struct reader *r)
{
	struct level *l = &r->levels[--r->depth];

	anchor_set(r, l->anchor, l->node);
	return place(r, l->node);
}

static int on_event(struct reader *r, struct fy_event *event)
{
	if (++r->nodes > YAML_NODES_MAX)
		return fail(r, mark_of(r, event), "too many nodes");
	switch (event->type) {
	case FYET_SCALAR:
		return on_scalar(r, event);
	case FYET_ALIAS:
		return on_alias(r, event);
	case FYET_MAPPING_START:
		return on_start(r, event, YAML_MAP, event->mapping_start.anchor, event->mapping_start.tag);
	case FYET_SEQUENCE_START:
		return on_start(r, event, YAML_LIST, event->sequence_start.anchor, event->sequence_start.tag);
	case FYET_MAPPING_END:
	case FYET_SEQUENCE_END:
		return on_end(r);
	case FYET_DOCUMENT_START:
		return r->done ? fail(r, mark_of(r, event), "a second document: one file holds one") : 0;
	case FYET_DOCUMENT_END:
		r->done = true;
		return 0;
	default:
		return 0;
	}
}

static int read_events(struct reader *r)
{
	int err = 0;

	while (!err) {
		struct fy_event *event = fy_parser_parse(r->parser);
		if (!event)
			return 0;
		err = on_event(r, event);
		fy_parser_event_free(r->parser, event);
	}
	return err;
}

/* The first thing that libfyaml has to say. */
static int syntax_error(struct reader *r, struct fy_diag *diag)
{
	void *state = NULL;
	struct fy_diag_error *e;

	while ((e = fy_diag_errors_iterate(diag, &state))) {
		struct slice text = arena_copy(r->arena, slice_make(e->msg, strlen(e->msg) + 1));
		struct conf_mark at = {.line = (uint32_t)(e->line > 0 ? e->line : 1),
				       .column = (uint32_t)(e->column > 0 ? e->column : 1)};
		return fail(r, at, text.ptr ? (const char *)text.ptr : "not well-formed YAML");
	}
	return fail(r, (struct conf_mark){.line = 1, .column = 1}, "not well-formed YAML");
}

/* What is open when parsing stops is whole as far as it goes. */
static struct yaml_node *what_was_read(struct reader *r)
{
	while (r->depth > 0) {
		struct level *l = &r->levels[r->depth - 1];
		/* Only the outermost is kept: a section cut short would miss keys that are there. */
		if (r->depth == 1)
			return l->node;
		r->depth--;
	}
	return r->root;
}

int yaml_read(struct slice text, struct arena *arena, struct yaml_node **root, struct conf_mark *at,
	      const char **why)
{
	struct reader r = {.arena = arena};
	struct fy_diag_cfg diag_cfg;

	*root = NULL;
	fy_diag_cfg_default(&diag_cfg);
	diag_cfg.fp = NULL;
	struct fy_diag *diag = fy_diag_create(&diag_cfg);
	if (!diag)
		return ERR_NOMEM;
	fy_diag_set_collect_errors(diag, true);
	struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_JSON_NONE, .diag = diag};
	r.parser = fy_parser_create(&cfg);
	int err = r.parser ? 0 : ERR_NOMEM;
	if (!err && text.len > 0 && fy_parser_set_string(r.parser, (const char *)text.ptr, text.len) != 0)
		err = ERR_NOMEM;
	if (!err && text.len > 0)
		err = read_events(&r);
	if (!err && fy_diag_got_error(diag))
		err = syntax_error(&r, diag);
	*root = what_was_read(&r);
	*at = r.at;
	*why = r.why;
	if (r.parser)
		fy_parser_destroy(r.parser);
	fy_diag_destroy(diag);
	return err;
}

const struct yaml_node *yaml_find(const struct yaml_node *map, const char *key)
{
	for (const struct yaml_node *n = map ? map->child : NULL; n; n = n->next)
		if (slice_eq_str(n->key, key))
			return n;
	return NULL;
}
