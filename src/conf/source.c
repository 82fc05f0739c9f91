/* SPDX-License-Identifier: Apache-2.0 */
/* One source as it is shared: who holds it, and whether two say the same. */
#include "base/mem.h"
#include "conf/setting.h"

struct conf_source *conf_source_ref(struct conf_source *source)
{
	atomic_fetch_add(&source->refs, 1);
	return source;
}

void conf_source_unref(struct conf_source *source)
{
	if (!source || atomic_fetch_sub(&source->refs, 1) > 1)
		return;
	arena_fini(&source->arena);
	mem_free(source);
}

bool conf_source_same(const struct conf_source *a, const struct conf_source *b)
{
	if (a->kind != b->kind || a->guarded != b->guarded)
		return false;
	for (uint32_t i = 0; i < setting_count; i++)
		if (setting_table[i].scope == SETTING_SOURCE && !setting_same(&setting_table[i], a, b))
			return false;
	for (uint32_t i = 0; i < a->kind->setting_count; i++)
		if (!setting_same(&a->kind->settings[i], a->settings, b->settings))
			return false;
	return true;
}
