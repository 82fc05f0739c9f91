/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/kafka/bare.h"
#include "base/wire.h"

/* The number of headers, and a record's fields up to its key or, where that is null, its value, each as long as may be. */
#define GAP_MAX (1u + 5u + 1u + 10u + 5u + 5u + 5u)

static int64_t length_of(struct slice s)
{
	return s.ptr ? (int64_t)s.len : -1;
}

bool kafka_is_bare(struct slice value, struct slice next_key, struct slice next_value)
{
	uintptr_t end = (uintptr_t)value.ptr + value.len;
	uintptr_t next = (uintptr_t)(next_key.ptr ? next_key.ptr : next_value.ptr);
	struct wire_reader r;

	if (!value.ptr || next <= end || next - end > GAP_MAX)
		return false;
	r = wire_reader_make(slice_make(value.ptr + value.len, next - end));
	if (wire_u8(&r) != 0) /* headers */
		return false;
	(void)wire_varint(&r); /* length */
	(void)wire_u8(&r);     /* attributes */
	(void)wire_varint(&r); /* time */
	(void)wire_varint(&r); /* offset */
	if (wire_varint(&r) != length_of(next_key))
		return false;
	if (!next_key.ptr && wire_varint(&r) != length_of(next_value))
		return false;
	return !r.bad && wire_left(&r) == 0;
}
