/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_YAML_H
#define WEIR_CONF_YAML_H

#include "base/arena.h"
#include "conf/problem.h"

/*
 * One YAML document as a tree in which every node knows its place. Knows no
 * setting. Anchors and aliases work (an alias shares the node); tags, merge
 * keys, several documents and keys that are not plain text do not.
 */
enum yaml_kind { YAML_EMPTY, YAML_SCALAR, YAML_MAP, YAML_LIST };

struct yaml_node {
	enum yaml_kind kind;
	struct conf_mark at; /* of the node; of the key's place see key_at */
	struct slice key;    /* where it stands in a map */
	struct conf_mark key_at;
	struct slice text;       /* of a scalar */
	struct yaml_node *child; /* first of a map or list */
	struct yaml_node *next;
};

#define YAML_DEPTH_MAX 16u
#define YAML_NODES_MAX 500000u

/*
 * Parses. 0, ERR_BAD_CONFIG with *at and *why (NUL terminated, in the arena),
 * or ERR_NOMEM. *root is what was read, also on error (then what was whole
 * before the place of the error); NULL where there is nothing.
 */
int yaml_read(struct slice text, struct arena *arena, struct yaml_node **root, struct conf_mark *at,
	      const char **why);

/* The value of a map's key, the first of that name; NULL: it has none, or is no map. */
const struct yaml_node *yaml_find(const struct yaml_node *map, const char *key);

#endif
