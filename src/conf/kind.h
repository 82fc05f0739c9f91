/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_KIND_H
#define WEIR_CONF_KIND_H

#include "conf/walk.h"

/* A check of a source (conf.h: conf_check_fail): whose problems it tells, and where the source stands. */
struct conf_check {
	struct loader *loader;
	const struct walk *walk;
	const struct yaml_node *item;
};

/* A kind's structure with its defaults, from the loader's store; NULL, and the loader's err, without memory. */
void *kind_object_new(struct loader *l, const struct conf_kind *kind);

/* The kind's checks, which only make sense where every value is right by itself: none where errors came since. */
void kind_check(struct loader *l, const struct walk *w, const struct yaml_node *item, uint32_t errors_before);

#endif
