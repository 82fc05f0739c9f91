/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_ALTERATION_H
#define WEIR_SERVE_KAFKA_ALTERATION_H

#include "serve/kafka/admin.h"

/*
 * What AlterConfigs and IncrementalAlterConfigs share: all but how the request says what is to change.
 * A resource that is named several times is refused, and answered once.
 */
struct alteration_item {
	struct kafka_call *call;
	const void *asked; /* the resource of the request: edit() knows its type */
	int8_t type;
	struct slice name;
};

struct alteration; /* in the memory of the call */

/* Room for `count` items, which the caller fills in. NULL: no memory, and the call has been failed. */
struct alteration *alteration_new(struct kafka_call *call, size_t count, struct alteration_item **items);

/* Changes what the items name, by what edit() makes of each (its ctx is the item). Calls answer() when all is durable, or late. */
typedef void alteration_answer_fn(struct kafka_call *call,
				  const struct kafka_alter_configs_response_resource *results, size_t count);
void alteration_run(struct alteration *a, bool validate_only, admin_edit_fn *edit,
		    alteration_answer_fn *answer);

#endif
