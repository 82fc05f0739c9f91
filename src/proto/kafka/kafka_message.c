/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of kafka_*.def once more, as tables for the interpreter. That struct
 * and table come from the same rows is what keeps them the same; the rejected
 * alternative, functions for each message and version as Apache Kafka generates
 * them, is some 30 000 lines that say no more.
 */
#include "proto/kafka/kafka_message.h"

_Static_assert(sizeof(struct kafka_uuid) == 16, "a UUID is read as it lies");
_Static_assert(sizeof(size_t) == sizeof(void *), "the count of a list stands right behind its pointer");

/* clang-format off */
#define LAST KAFKA_VERSION_LAST
#define NULLABLE .nullable = 1
#define NULLABLE_FROM(version) .nullable = 1 + (version)
#define DEFAULT(v) .value = (v)
#define DEFAULT_NULL .null = true
#define TAG(number) .tag = 1 + (number)

#define ROW(member, first, last, ...) \
	.name = #member, .offset = offsetof(struct SELF, member), .from = (first), .to = (last), ##__VA_ARGS__
#define STRUCT FIELDS_OF(SELF) = {
#define FIELD(type, member, ...) {.kind = KAFKA_##type, ROW(member, __VA_ARGS__)},
#define LIST(type, member, ...) {.kind = KAFKA_LIST, .item = KAFKA_##type, ROW(member, __VA_ARGS__)},
#define ARRAY(type, member, ...) {.kind = KAFKA_ARRAY, .of = &type##_layout, ROW(member, __VA_ARGS__)},
#define PART(type, member, ...) {.kind = KAFKA_PART, .of = &type##_layout, ROW(member, __VA_ARGS__)},
#define END }; LAYOUT_OF(SELF)

/* One step more, so that SELF is a name before it is pasted. */
#define FIELDS_OF(self) FIELDS(self)
#define FIELDS(self) static const struct kafka_field self##_fields[]
#define LAYOUT_OF(self) LAYOUT(self)
#define LAYOUT(self) \
	const struct kafka_layout self##_layout = { \
		.name = #self, .fields = self##_fields, \
		.fields_count = sizeof(self##_fields) / sizeof(self##_fields[0]), .bytes = sizeof(struct self)};

#include "proto/kafka/kafka_session.def"
#include "proto/kafka/kafka_produce.def"
#include "proto/kafka/kafka_fetch.def"
#include "proto/kafka/kafka_topics.def"
#include "proto/kafka/kafka_configs.def"
#include "proto/kafka/kafka_group.def"
#include "proto/kafka/kafka_txn.def"
/* clang-format on */
