/* SPDX-License-Identifier: Apache-2.0 */
/* Any text is refused with a sentence, or gives times that go on and fit. */
#include "base/check.h"
#include "connect/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fault fault = {0};
	struct cron c;
	int rc = cron_parse(slice_make(data, size), &c, &fault);
	int64_t at = (int64_t)size * 86400 * 365;

	if (rc) {
		CHECK(rc == ERR_BAD_CONFIG && fault.text[0]);
		return 0;
	}
	for (int i = 0; i < 20; i++) {
		int64_t next = cron_next(&c, at);
		CHECK(next > at && next != CRON_NEVER && next % 60 == 0);
		struct cron_date d = cron_date(next / 86400);
		CHECK((c.months >> d.month & 1) && (c.minutes >> next / 60 % 60 & 1) &&
		      (c.hours >> next / 3600 % 24 & 1));
		CHECK(cron_next(&c, next - 1) == next);
		at = next;
	}
	return 0;
}
