/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_HTTP_FIELDS_H
#define WEIR_CONNECT_HTTP_FIELDS_H

#include "base/slice.h"

/* Response fields that steer a poll. Pure text; what is malformed is ignored, as their specifications say. */

/*
 * The target of the first link with rel="next" in a Link field (RFC 8288), not
 * resolved; relation types are compared without case. False where there is none.
 */
bool fields_link_next(struct slice link, struct slice *target);

/* What is left of a quota, and when it is new. */
struct fields_quota {
	int64_t left;     /* calls; -1: not told */
	int64_t reset_ms; /* until there are more; -1: not told */
};

/*
 * The RateLimit field of the IETF draft: `"default";r=50;t=30`, several policies, of which the one with the
 * least left counts; or, as drafts 3 to 7 have it, `limit=100, remaining=50, reset=30`. False where nothing of use is in it.
 */
bool fields_rate_limit(struct slice value, struct fields_quota *out);

/*
 * The older habit: RateLimit-Remaining and -Reset, X-RateLimit-Remaining and -Reset. A reset above 10^9 is a moment
 * (seconds, or above 10^12 milliseconds, since 1970), else seconds. Either may be the null slice.
 */
void fields_rate_habit(struct slice remaining, struct slice reset, int64_t wall_ms, struct fields_quota *out);

#endif
