/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the lists topics and sources share: how an item is called in a problem, how many there are, and that no name
 * stands twice.
 */
#include "conf/item.h"

#include <stdlib.h>

#include "conf/value.h"

void item_label(struct walk *w, const char *list, const struct yaml_node *item, uint32_t index)
{
	const struct yaml_node *name = item->kind == YAML_MAP ? yaml_find(item, "name") : NULL;

	if (name && name->kind == YAML_SCALAR && conf_is_topic_name(name->text))
		load_print(w->label, sizeof(w->label), "%s[%.*s]", list, (int)name->text.len,
			   (const char *)name->text.ptr);
	else
		load_print(w->label, sizeof(w->label), "%s[%u]", list, index);
}

static int compare_named(const void *left, const void *right)
{
	const struct item_name *a = left, *b = right;
	int order = strcmp(a->name, b->name);

	return order ? order : a->index < b->index ? -1 : 1;
}

void item_unique(struct loader *l, const char *list, struct item_name *names, uint32_t count)
{
	if (count > 1)
		qsort(names, count, sizeof(*names), compare_named);
	for (uint32_t i = 1, first = 0; i < count; i++) {
		if (strcmp(names[i].name, names[first].name) != 0) {
			first = i;
			continue;
		}
		load_tell(l, names[i].at, list, "%s: \"%s\" is named twice, first on line %u", list,
			  names[i].name, names[first].at.line);
	}
}

uint32_t item_count(struct loader *l, const struct yaml_node *list, const char *what)
{
	uint32_t count = 0;

	if (!list || list->kind == YAML_EMPTY)
		return 0;
	if (list->kind != YAML_LIST) {
		load_tell(l, list->at, what, "%s: expected a list, each item a mapping: - { name: NAME }",
			  what);
		return 0;
	}
	for (const struct yaml_node *n = list->child; n; n = n->next)
		count++;
	return count;
}
