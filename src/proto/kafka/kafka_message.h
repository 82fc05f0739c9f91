/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_KAFKA_KAFKA_MESSAGE_H
#define WEIR_PROTO_KAFKA_KAFKA_MESSAGE_H

#include "proto/kafka/kafka_layout.h"

/*
 * The structs of all messages, kafka_<api>_request and kafka_<api>_response with
 * what is inside them, and a layout for each: kafka_fetch_request_layout. Both
 * come from the rows of kafka_*.def, where fields have Kafka's names and order:
 *
 *   #define SELF kafka_x             the struct
 *   STRUCT
 *   FIELD(KIND, name, FROM, TO)      one value; versions FROM to TO have it
 *   LIST(KIND, name, FROM, TO)       many of a kind: name and name_count
 *   ARRAY(kafka_y, name, FROM, TO)   many structs: name and name_count
 *   PART(kafka_y, name, FROM, TO)    one struct that may be absent, always with a TAG
 *   END
 *   #undef SELF
 *
 * FROM 0 and TO LAST mean every version that weir speaks. Behind TO may follow:
 *
 *   NULLABLE            null is allowed wherever the field is
 *   NULLABLE_FROM(n)    and that from version n on
 *   DEFAULT(value)      not 0: what it is where the version lacks it
 *   DEFAULT_NULL        the same, null instead of empty
 *   TAG(n)              stands among the tagged fields
 */
#define KAFKA_C_BOOL bool
#define KAFKA_C_INT8 int8_t
#define KAFKA_C_INT16 int16_t
#define KAFKA_C_INT32 int32_t
#define KAFKA_C_INT64 int64_t
#define KAFKA_C_UUID struct kafka_uuid
#define KAFKA_C_TEXT struct slice
#define KAFKA_C_BYTES struct slice
#define KAFKA_C_RECORDS struct kafka_records

/* clang-format off */
#define STRUCT struct SELF {
#define FIELD(kind, name, ...) KAFKA_C_##kind name;
#define LIST(kind, name, ...) const KAFKA_C_##kind *name; size_t name##_count;
#define ARRAY(of, name, ...) const struct of *name; size_t name##_count;
#define PART(of, name, ...) const struct of *name;
#define END }; KAFKA_DECLARE_LAYOUT(SELF)
#define KAFKA_DECLARE_LAYOUT(self) KAFKA_DECLARE_LAYOUT_OF(self)
#define KAFKA_DECLARE_LAYOUT_OF(self) extern const struct kafka_layout self##_layout;

#include "proto/kafka/kafka_session.def"
#include "proto/kafka/kafka_produce.def"
#include "proto/kafka/kafka_fetch.def"
#include "proto/kafka/kafka_topics.def"
#include "proto/kafka/kafka_configs.def"
#include "proto/kafka/kafka_group.def"
#include "proto/kafka/kafka_txn.def"

#undef STRUCT
#undef FIELD
#undef LIST
#undef ARRAY
#undef PART
#undef END
#undef KAFKA_DECLARE_LAYOUT
#undef KAFKA_DECLARE_LAYOUT_OF
/* clang-format on */

#endif
