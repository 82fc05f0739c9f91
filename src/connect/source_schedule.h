/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SOURCE_SCHEDULE_H
#define WEIR_CONNECT_SOURCE_SCHEDULE_H

#include "connect/schedule.h"
#include "connect/source.h"

/*
 * The schedule that a source's settings say. 0; ERR_BAD_CONFIG with *fault, ERR_NOMEM. Both are owned by the
 * caller: schedule_free, then zone_free.
 */
int source_schedule(const struct conf_source *source, const struct source_type *type, const struct sys *sys,
		    struct schedule **out, struct zone **zone, struct fault *fault);

#endif
