/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_ITEM_H
#define WEIR_CONF_ITEM_H

#include "conf/walk.h"

/* A name that an item of a list has, and where it says so. */
struct item_name {
	const char *name;
	uint32_t index;
	struct conf_mark at;
};

/* How problems of an item call it: "topics[orders]", or "topics[3]" where the name is not usable. */
void item_label(struct walk *w, const char *list, const struct yaml_node *item, uint32_t index);

/* Tells every name that stands more than once. Sorts the array. */
void item_unique(struct loader *l, const char *list, struct item_name *names, uint32_t count);

/* The items of a list, NULL for none; 0 and told where it is something else. what: the list's name. */
uint32_t item_count(struct loader *l, const struct yaml_node *list, const char *what);

#endif
