/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_ALTERATION_H
#define WEIR_SERVE_KAFKA_ALTERATION_H

#include "serve/kafka/admin.h"

/*
 * What AlterConfigs and IncrementalAlterConfigs share: all but how the request says what is to change.
 * A topic that is named several times is refused, and answered once. A broker of the same name is another resource.
 */
struct alteration_item {
	struct kafka_call *call;
	const void *asked; /* the resource of the request: edit() knows its type */
	int8_t type;
	struct slice name;
	struct slice topic; /* alteration's: the name, where it is one of a topic */
};

struct alteration; /* in the memory of the call */

/* Room for `count` items, which the caller fills in. NULL: no memory, and the call has been failed. */
struct alteration *alteration_new(struct kafka_call *call, size_t count, struct alteration_item **items);

/* Changes what the items name, by what edit() makes of each (its ctx is the item). Calls answer() when all is durable, or late. */
typedef void alteration_answer_fn(struct kafka_call *call,
				  const struct kafka_alter_configs_response_resource *results, size_t count);
void alteration_run(struct alteration *a, bool validate_only, admin_edit_fn *edit,
		    alteration_answer_fn *answer);

/*
 * Of the settings that a resource names, `count` structs of `stride` bytes with a struct slice at name_at: 0 where each
 * is named once, else Kafka's code, with a sentence.
 */
int16_t alteration_check_names(struct kafka_call *call, const void *configs, size_t count, size_t stride,
			       size_t name_at, struct slice *message);

/* What is said of a setting whose value is null, which says neither that it be set nor that it be put back. */
int16_t alteration_refuse_null(struct kafka_call *call, struct slice name, struct slice *message);

#endif
