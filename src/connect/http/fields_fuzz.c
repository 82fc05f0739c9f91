/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a server sends in these fields, what is taken out of them lies within them, and numbers within their bounds. */
#include "base/check.h"
#include "connect/http/fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice s = slice_make(data, size), target;
	struct fields_quota quota;

	if (fields_link_next(s, &target))
		CHECK(target.ptr >= data && target.ptr + target.len <= data + size);
	if (fields_rate_limit(s, &quota))
		CHECK(quota.left >= 0 && quota.reset_ms >= -1);
	fields_rate_habit(s, s, 1795282200250, &quota);
	CHECK(quota.left >= -1 && quota.reset_ms >= -1);
	return 0;
}
