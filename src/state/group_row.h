/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STATE_GROUP_ROW_H
#define WEIR_STATE_GROUP_ROW_H

#include "state/state.h"

/*
 * How a consumer group is written in STATE_GROUPS: a row for the group and one for each
 * member of its last generation, changed together. The rows alone; what they mean is
 * deliver/group.h's. Numbers are big-endian, texts have their length before them (u16; of
 * metadata and assignment u32).
 *
 *	group   key    1, group
 *	        value  version u8 = 1, generation i32, since i64 ms, protocol type, protocol, leader
 *	member  key    2, group, member id
 *	        value  version u8 = 1, session i64 ms, rebalance i64 ms, instance id, client id, host,
 *	               metadata, assignment
 */
#define GROUP_ROW_TEXT_MAX 4096u         /* of ids and names; longer ones are refused at the door */
#define GROUP_ROW_BYTES_MAX (512u << 10) /* of metadata, and of an assignment */

struct group_row {
	struct slice group;
	int32_t generation;
	int64_t since_ms; /* in its present state, wall clock */
	struct slice protocol_type, protocol, leader;
};

struct group_member_row {
	struct slice group, member;
	int64_t session_ms, rebalance_ms;
	struct slice instance_id; /* empty: none */
	struct slice client_id, client_host;
	struct slice metadata; /* for the group's protocol */
	struct slice assignment;
};

/* Bytes that key and value of the row will take at most. */
size_t group_row_bytes(const struct group_row *row);
size_t group_member_row_bytes(const struct group_member_row *row);

/* Write key and value one behind the other to `at`, as `row` then says, and give the place behind; `goes`: no value. */
uint8_t *group_row_put(const struct group_row *from, bool goes, uint8_t *at, struct state_row *row);
uint8_t *group_member_row_put(const struct group_member_row *from, bool goes, uint8_t *at,
			      struct state_row *row);

/* Views of key and value. The kind, or ERR_CORRUPT; with value.ptr NULL only the ids are set. */
enum group_row_kind { GROUP_ROW_GROUP = 1, GROUP_ROW_MEMBER = 2 };
int group_row_read(struct slice key, struct slice value, struct group_row *group,
		   struct group_member_row *member);

#endif
