/* SPDX-License-Identifier: Apache-2.0 */
/* The list topics. Each starts from topic_defaults, so it is read after them. */
#include "base/topic_name.h"
#include "conf/item.h"

static void load_topic(struct loader *l, struct conf_topic *topic, const struct yaml_node *item,
		       uint32_t index, struct conf_mark *name_at)
{
	struct walk w = {.scope = SETTING_TOPIC, .excluded = SETTING_DEFAULTS_ONLY, .object = topic};
	const struct setting *name = setting_find(SETTING_TOPIC, SLICE_LIT("name"));

	item_label(&w, "topics", item, index);
	walk_map(l, &w, item);
	walk_required(l, &w, item);
	*name_at = w.marks[name - setting_table];
	if (topic->name && topic_name_is_reserved(slice_str(topic->name)))
		load_tell(l, *name_at, w.label,
			  "%s: \"%s\": names that begin with __weir or as Kafka's own topics do are kept",
			  w.label, topic->name);
}

void load_topics(struct loader *l, const struct yaml_node *list)
{
	uint32_t count = item_count(l, list, "topics"), named_count = 0;

	if (count == 0)
		return;
	struct conf_topic *topics = arena_zalloc(&l->conf->arena, count, sizeof(*topics));
	struct item_name *names = arena_zalloc(&l->arena, count, sizeof(*names));
	if (!topics || !names) {
		l->err = ERR_NOMEM;
		return;
	}
	l->conf->topics = topics;
	for (const struct yaml_node *n = list->child; n && !load_gave_up(l); n = n->next) {
		uint32_t i = l->conf->topic_count++;
		topics[i] = l->conf->topic_defaults;
		load_topic(l, &topics[i], n, i, &names[named_count].at);
		names[named_count].name = topics[i].name;
		names[named_count].index = i;
		named_count += topics[i].name != NULL;
	}
	item_unique(l, "topics", names, named_count);
}
