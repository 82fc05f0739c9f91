/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes are refused, or give a zone in which a time is first shown where it is reached. */
#include "base/check.h"
#include "connect/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_at(const struct zone *z, int64_t at)
{
	int64_t reached = zone_wall_reached(z, at), next = zone_next_change(z, at);

	CHECK(reached >= zone_wall(z, at));
	CHECK(zone_first(z, reached) <= at && zone_first(z, reached + 1) > at);
	CHECK(next > at);
	if (next != ZONE_NEVER)
		CHECK(zone_offset(z, next) != zone_offset(z, next - 1) &&
		      zone_offset(z, at) == zone_offset(z, next - 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int64_t moments[] = {-3000000000, 0, 951782400, 1325203200, 1793408400, 4102444800};
	struct zone *z = NULL;
	int64_t change = -5000000000;

	if (zone_parse(slice_make(data, size), &z, NULL))
		return 0;
	for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++)
		check_at(z, moments[i]);
	for (int i = 0; i < 50 && (change = zone_next_change(z, change)) != ZONE_NEVER; i++) {
		check_at(z, change - 1);
		check_at(z, change);
	}
	zone_free(z);
	return 0;
}
