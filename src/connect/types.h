/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_TYPES_H
#define WEIR_CONNECT_TYPES_H

#include "connect/source.h"

/*
 * Every type of source that this weir has, a row each in types.c, and what the configuration
 * needs to know of them.
 */

/* For conf_load. For ever. */
const struct conf_kinds *source_kinds(void);

/* The type of a kind. */
const struct source_type *source_type_of(const struct conf_kind *kind);

/* The schedule that a source's settings say; fault names the key first ("cron: …"). zone: owned by the caller, or NULL. */
struct schedule;
struct zone;
int source_schedule(const struct conf_source *source, const struct source_type *type, const struct sys *sys,
		    struct schedule **out, struct zone **zone, struct fault *fault);

#endif
