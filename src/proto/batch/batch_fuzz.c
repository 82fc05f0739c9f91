/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/batch/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Walks whatever the bytes claim to be; the CRC is not asked for, so that the fuzzer gets past it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct batch_head head;
	struct batch_walk walk;
	struct batch_record r;
	struct slice name, value;

	(void)batch_check(slice_make(data, size), &head);
	if (batch_walk_start(&walk, slice_make(data, size)))
		return 0;
	while (batch_walk_next(&walk, &r) == 1)
		while (batch_header_next(&r.headers, &name, &value) == 1)
			;
	return 0;
}
