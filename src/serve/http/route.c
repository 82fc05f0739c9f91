/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/route.h"

#include "base/check.h"
#include "base/mem.h"

/*
 * The rows are compiled into a tree of path segments. A node has its literal
 * children in a list, compared by length first, and at most one child that takes
 * any segment; looking a path up is one step a segment and a few comparisons a
 * step. A hash of the whole path was rejected: parameters stand in the middle.
 *
 *	v1 ─ topics ─ {topic} ┬ records ─ {key}
 *	                      └ sse
 */
struct node {
	struct slice literal; /* null: takes any segment */
	struct node *child;   /* literals, then the one that takes any */
	struct node *next;
	const struct route *by_method[HTTP_METHODS];
	uint32_t methods;
};

struct route_table {
	struct arena arena;
	struct node root;
};

#define ROUTE_TABLE_BYTES_MAX (1u << 20)

static bool is_param(struct slice segment)
{
	return segment.len > 2 && segment.ptr[0] == '{' && segment.ptr[segment.len - 1] == '}';
}

/* The next segment of a pattern; false at its end. */
static bool pattern_next(struct slice *rest, struct slice *segment)
{
	const uint8_t *slash;

	if (rest->len == 0)
		return false;
	*rest = slice_from(*rest, 1);
	slash = rest->len ? memchr(rest->ptr, '/', rest->len) : NULL;
	*segment = slice_make(rest->ptr, slash ? (size_t)(slash - rest->ptr) : rest->len);
	*rest = slice_from(*rest, segment->len);
	return true;
}

/* The child for a segment of a pattern, made where it is missing; NULL without memory. */
static struct node *node_child(struct route_table *t, struct node *parent, struct slice segment)
{
	struct slice literal = is_param(segment) ? slice_null() : segment;
	struct node **at = &parent->child;
	struct node *node;

	for (node = *at; node; at = &node->next, node = *at) {
		if (!node->literal.ptr)
			break;
		if (literal.ptr && slice_eq(node->literal, literal))
			return node;
	}
	if (node && !literal.ptr)
		return node;
	node = arena_zalloc(&t->arena, 1, sizeof(*node));
	if (!node)
		return NULL;
	node->literal = literal;
	node->next = *at;
	*at = node;
	return node;
}

static int check_row(const struct route *r, struct fault *fault)
{
	struct slice rest = slice_str(r->pattern);
	struct slice segment;
	uint32_t params = 0;

	if (rest.len == 0 || rest.ptr[0] != '/' || !r->handle || !r->methods)
		return fault_set(fault, ERR_BAD_PARAMETER, "route '%s': needs a path, a method and a handler",
				 r->pattern);
	while (pattern_next(&rest, &segment))
		params += is_param(segment);
	if (params > ROUTE_PARAMS_MAX)
		return fault_set(fault, ERR_BAD_PARAMETER, "route '%s': more than %u parameters", r->pattern,
				 ROUTE_PARAMS_MAX);
	return 0;
}

static int add_row(struct route_table *t, const struct route *r, struct fault *fault)
{
	struct slice rest = slice_str(r->pattern);
	struct node *node = &t->root;
	uint32_t methods = r->methods | (r->methods & HTTP_BIT(HTTP_GET) ? HTTP_BIT(HTTP_HEAD) : 0);
	struct slice segment;
	int err = check_row(r, fault);

	if (err < 0)
		return err;
	while (node && pattern_next(&rest, &segment))
		node = node_child(t, node, segment);
	if (!node)
		return fault_set(fault, ERR_NOMEM, "no memory for the routes");
	if (node->methods & methods)
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "route '%s': another row has the same path and method", r->pattern);
	node->methods |= methods;
	for (unsigned m = 0; m < HTTP_METHODS; m++)
		if (methods & HTTP_BIT(m))
			node->by_method[m] = r;
	return 0;
}

int route_table_new(const struct route *const *routes, size_t count, struct route_table **out,
		    struct fault *fault)
{
	struct route_table *t = mem_zalloc(1, sizeof(*t));
	int err = 0;

	if (!t)
		return fault_set(fault, ERR_NOMEM, "no memory for the routes");
	arena_init(&t->arena, 4096, ROUTE_TABLE_BYTES_MAX);
	for (size_t i = 0; i < count && err == 0; i++)
		err = add_row(t, routes[i], fault);
	if (err < 0) {
		route_table_free(t);
		return err;
	}
	*out = t;
	return 0;
}

void route_table_free(struct route_table *t)
{
	if (!t)
		return;
	arena_fini(&t->arena);
	mem_free(t);
}

/* The child that takes the segment; a literal before the one that takes any (which wants a non-empty one). */
static const struct node *step(const struct node *node, struct slice segment)
{
	const struct node *child = node->child;

	while (child && child->literal.ptr && !slice_eq(child->literal, segment))
		child = child->next;
	if (child && !child->literal.ptr && segment.len == 0)
		return NULL;
	return child;
}

int route_find(const struct route_table *t, enum http_method method, struct slice path, struct arena *a,
	       struct route_match *m)
{
	const struct node *node = &t->root;
	struct slice segment;
	int r;

	m->route = NULL;
	m->methods = 0;
	m->params = 0;
	while ((r = http_path_next(a, &path, &segment)) == 1) {
		if (!node)
			continue; /* the rest of an unknown path must decode all the same */
		node = step(node, segment);
		if (node && !node->literal.ptr)
			m->param[m->params++] = segment;
	}
	if (r < 0)
		return r;
	if (!node || !node->methods)
		return ERR_NOT_FOUND;
	m->methods = node->methods;
	m->route = node->by_method[method];
	return m->route ? 0 : ERR_METHOD;
}

int route_param_index(const struct route *r, const char *name)
{
	struct slice rest = slice_str(r->pattern);
	struct slice segment;
	int index = 0;

	while (pattern_next(&rest, &segment)) {
		if (!is_param(segment))
			continue;
		if (slice_eq_str(slice_make(segment.ptr + 1, segment.len - 2), name))
			return index;
		index++;
	}
	return -1;
}
