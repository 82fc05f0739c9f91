/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/source_schedule.h"

#include "base/hash.h"

static enum schedule_kind kind_of(const struct conf_source *source, const struct source_type *type)
{
	if (source->cron)
		return SCHEDULE_CRON;
	if (source->every_max_ms)
		return SCHEDULE_ADAPTIVE;
	return source->every_ms || type->every_ms ? SCHEDULE_EVERY : SCHEDULE_MANUAL;
}

int source_schedule(const struct conf_source *source, const struct source_type *type, const struct sys *sys,
		    struct schedule **out, struct zone **zone, struct fault *fault)
{
	static const struct hash_key key = {.k0 = 0x6a6974746572, .k1 = 1};
	struct slice blackouts[SCHEDULE_BLACKOUTS_MAX];
	struct schedule_options options = {
		.kind = kind_of(source, type),
		.every_ms = source->every_ms ? source->every_ms : type->every_ms,
		.every_min_ms = source->every_min_ms,
		.every_max_ms = source->every_max_ms,
		.cron = slice_str(source->cron),
		.jitter_ms = source->jitter_ms,
		.overlap = source->overlap == CONF_OVERLAP_QUEUE ? SCHEDULE_QUEUE : SCHEDULE_SKIP,
		.blackouts = blackouts,
		.blackout_count = source->blackouts.count,
		.at_start = source->at_start,
		.seed = hash_sip13(&key, slice_str(source->name)),
	};
	int rc;

	*zone = NULL;
	if (source->blackouts.count > SCHEDULE_BLACKOUTS_MAX)
		return fault_set(fault, ERR_BAD_CONFIG, "blackout: at most %u", SCHEDULE_BLACKOUTS_MAX);
	for (uint32_t i = 0; i < source->blackouts.count; i++)
		blackouts[i] = slice_str(source->blackouts.items[i]);
	rc = zone_load(sys, NULL, slice_str(source->timezone), zone, fault);
	options.zone = *zone;
	if (rc == 0)
		rc = schedule_new(&options, out, fault);
	if (rc) {
		zone_free(*zone);
		*zone = NULL;
	}
	return rc;
}
