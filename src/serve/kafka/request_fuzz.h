/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_REQUEST_FUZZ_H
#define WEIR_SERVE_KAFKA_REQUEST_FUZZ_H

/*
 * For fuzz targets: a request of any API in any version that means something, made
 * from its layout and a table of what fields of a name hold. A topic "orders", a group
 * "g" with a member, a transaction "tx": who sends `request_fuzz_world` first has them all.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "proto/batch/batch.h"
#include "proto/kafka/kafka_api.h"

#define REQUEST_FUZZ_STRUCT_BYTES 256u

struct request_fuzz {
	uint32_t items; /* of each list and array */
	int64_t producer_id;
	char member_id[128];
	struct arena arena;
};

struct request_fuzz_row {
	const char *layout; /* a part of its name; NULL: any */
	const char *field;
	int64_t number;
	const char *text; /* NULL: leave the default */
};

/* The first that fits counts. What is not here has its default. */
static const struct request_fuzz_row request_fuzz_rows[] = {
	{"config", "name", 0, "retention.ms"},
	{"create_topics_request_config", "value", 0, "100000000"},
	{"config", "value", 0, "1000"},
	{NULL, "name", 0, "orders"}, /* of protocols too */
	{NULL, "topic", 0, "orders"},
	{NULL, "topic_names", 0, "orders"},
	{NULL, "resource_name", 0, "orders"},
	{NULL, "configuration_keys", 0, "retention.ms"},
	{NULL, "protocol_name", 0, "orders"},
	{NULL, "protocol_type", 0, "consumer"},
	{NULL, "metadata", 0, "what I want"},
	{NULL, "assignment", 0, "what you get"},
	{NULL, "committed_metadata", 0, "here"},
	{NULL, "group_id", 0, "g"},
	{NULL, "groups", 0, "g"},
	{NULL, "groups_names", 0, "g"},
	{NULL, "key", 0, "g"},
	{NULL, "coordinator_keys", 0, "g"},
	{"produce_request", "transactional_id", 0, NULL},
	{NULL, "transactional_id", 0, "tx"},
	{NULL, "transactional_ids", 0, "tx"},
	{NULL, "states_filter", 0, "Stable"},
	{NULL, "state_filters", 0, "Ongoing"},
	{NULL, "client_software_name", 0, "fuzz"},
	{NULL, "client_software_version", 0, "1"},
	{NULL, "mechanism", 0, "PLAIN"},
	{NULL, "acks", -1, NULL},
	{NULL, "timeout_ms", 1000, NULL},
	{NULL, "max_wait_ms", 10, NULL},
	{NULL, "min_bytes", 1, NULL},
	{NULL, "max_bytes", 1 << 20, NULL},
	{NULL, "partition_max_bytes", 1 << 20, NULL},
	{NULL, "timestamp", -1, NULL},
	{"list_offsets", "replica_id", -1, NULL},
	{NULL, "num_partitions", 2, NULL},
	{NULL, "replication_factor", 1, NULL},
	{NULL, "count", 3, NULL},
	{NULL, "resource_type", 2, NULL},
	{NULL, "session_timeout_ms", 10000, NULL},
	{NULL, "rebalance_timeout_ms", 10000, NULL},
	{NULL, "generation_id", 1, NULL},
	{NULL, "generation_id_or_member_epoch", 1, NULL},
	{NULL, "committed_offset", 1, NULL},
	{NULL, "transaction_timeout_ms", 30000, NULL},
};

static inline const struct request_fuzz_row *request_fuzz_row(const char *layout, const char *field)
{
	if (strncmp(field, "v3_and_below_", 13) == 0)
		field += 13;
	for (size_t i = 0; i < sizeof(request_fuzz_rows) / sizeof(request_fuzz_rows[0]); i++) {
		const struct request_fuzz_row *row = &request_fuzz_rows[i];
		if (strcmp(row->field, field) == 0 && (!row->layout || strstr(layout, row->layout)))
			return row;
	}
	return NULL;
}

static inline struct slice request_fuzz_batch(void)
{
	static uint8_t bytes[400];
	struct batch_build build;

	batch_build_start(&build, bytes, 0);
	for (int i = 0; i < 3; i++)
		batch_build_put(&build, &(struct batch_record){.timestamp = 1000 + i,
							       .key = slice_str("key"),
							       .value = slice_str("value")});
	return batch_build_finish(&build);
}

/* One value, of a field or of a list. */
static inline void request_fuzz_value(struct request_fuzz *f, const char *layout, const char *field, int kind,
				      void *to)
{
	static const char login[] = "\0ann\0secret";
	const struct request_fuzz_row *row = request_fuzz_row(layout, field);
	int64_t n = row ? row->number : 0;

	if (kind == KAFKA_RECORDS) {
		struct slice batch = request_fuzz_batch();
		*(struct kafka_records *)to = (struct kafka_records){.ptr = batch.ptr, .len = batch.len};
	} else if (strstr(field, "producer_id") && !strstr(layout, "init_producer")) {
		*(int64_t *)to = f->producer_id;
	} else if (strcmp(field, "member_id") == 0) {
		*(struct slice *)to = slice_str(f->member_id);
	} else if (strcmp(field, "auth_bytes") == 0) {
		*(struct slice *)to = slice_make(login, sizeof(login) - 1);
	} else if (row && row->text && (kind == KAFKA_TEXT || kind == KAFKA_BYTES)) {
		*(struct slice *)to = slice_str(row->text);
	} else if (row && n) {
		switch (kind) {
		case KAFKA_INT8:
			*(int8_t *)to = (int8_t)n;
			break;
		case KAFKA_INT16:
			*(int16_t *)to = (int16_t)n;
			break;
		case KAFKA_INT32:
			*(int32_t *)to = (int32_t)n;
			break;
		case KAFKA_INT64:
			*(int64_t *)to = n;
			break;
		}
	}
}

static inline size_t request_fuzz_bytes(int kind)
{
	switch (kind) {
	case KAFKA_INT16:
		return 2;
	case KAFKA_INT32:
		return 4;
	case KAFKA_INT64:
	case KAFKA_FLOAT64:
		return 8;
	case KAFKA_UUID:
	case KAFKA_TEXT:
	case KAFKA_BYTES:
		return 16;
	default:
		return 1;
	}
}

/* All of a struct; with items 0 every field but its default. */
static inline void request_fuzz_fill(struct request_fuzz *f, const struct kafka_layout *layout, void *out)
{
	kafka_layout_default(layout, out, 1);
	for (uint16_t i = 0; f->items && i < layout->fields_count; i++) {
		const struct kafka_field *field = &layout->fields[i];
		uint8_t *at = (uint8_t *)out + field->offset;
		bool many = field->kind == KAFKA_LIST || field->kind == KAFKA_ARRAY;
		size_t bytes =
			field->kind == KAFKA_ARRAY ? field->of->bytes : request_fuzz_bytes(field->item);
		uint8_t *list;
		if (!many) {
			request_fuzz_value(f, layout->name, field->name, field->kind, at);
			continue;
		}
		if (strcmp(field->name, "assignments") == 0 && !strstr(layout->name, "sync_group"))
			continue; /* to other brokers */
		list = arena_zalloc(&f->arena, f->items, bytes);
		CHECK(list);
		for (uint32_t k = 0; k < f->items; k++) {
			if (field->kind == KAFKA_ARRAY)
				request_fuzz_fill(f, field->of, list + k * bytes);
			else
				request_fuzz_value(f, layout->name, field->name, field->item,
						   list + k * bytes);
		}
		memcpy(at, &list, sizeof(list));
		*(size_t *)(void *)(at + sizeof(list)) = f->items;
	}
}

/* What makes the world that the table speaks of, in this order; the first two where somebody has to log in. */
static const struct request_fuzz_step {
	int16_t key, version;
	bool login;
} request_fuzz_world[] = {
	{KAFKA_SASL_HANDSHAKE, 1, true},    {KAFKA_SASL_AUTHENTICATE, 1, true},
	{KAFKA_CREATE_TOPICS, 5, false},    {KAFKA_PRODUCE, 9, false},
	{KAFKA_INIT_PRODUCER_ID, 2, false}, {KAFKA_ADD_PARTITIONS_TO_TXN, 1, false},
	{KAFKA_JOIN_GROUP, 3, false},       {KAFKA_SYNC_GROUP, 3, false},
	{KAFKA_OFFSET_COMMIT, 5, false},
};

/* The body of a request, in the arena. */
static inline struct slice request_fuzz_body(struct request_fuzz *f, const struct kafka_api *api,
					     int16_t version)
{
	struct kafka_format format = {.version = version, .flexible = version >= api->flexible};
	_Alignas(16) uint8_t request[REQUEST_FUZZ_STRUCT_BYTES];
	struct buf body;
	struct slice kept;

	CHECK(api->request->bytes <= sizeof(request));
	buf_init(&body, 1 << 20);
	request_fuzz_fill(f, api->request, request);
	CHECK(kafka_layout_write(api->request, format, request, &body, NULL) == 0);
	kept = arena_copy(&f->arena, buf_slice(&body));
	buf_fini(&body);
	CHECK(kept.ptr);
	return kept;
}

/* Learns from an answer what later requests have to say. */
static inline void request_fuzz_learn(struct request_fuzz *f, int16_t key, const void *response)
{
	if (key == KAFKA_INIT_PRODUCER_ID)
		f->producer_id = ((const struct kafka_init_producer_id_response *)response)->producer_id;
	if (key == KAFKA_JOIN_GROUP) {
		struct slice id = ((const struct kafka_join_group_response *)response)->member_id;
		CHECK(id.len < sizeof(f->member_id));
		memset(f->member_id, 0, sizeof(f->member_id));
		memcpy(f->member_id, id.ptr, id.len);
	}
}

#endif
