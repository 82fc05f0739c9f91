/* SPDX-License-Identifier: Apache-2.0 */
/* Looking for a record by its time, with the time of what was found: for who shows it to others. */
#include "log/core.h"

#include "proto/batch/find.h"

/* Some times may be of records that are trimmed already: then the search ends with none. */
static int64_t highest_time(struct partition *p)
{
	int64_t max = -1;

	(void)pthread_mutex_lock(&p->lock);
	for (uint32_t i = 0; i < p->segment_count; i++) {
		int64_t time = atomic_load(&p->segments[i]->max_timestamp);
		if (time > max)
			max = time;
	}
	for (uint32_t i = p->moved; i < p->ring_count; i++) {
		const struct tail_ref *ref = &p->ring[(p->ring_head + i) & (p->ring_cap - 1)];
		if (ref->max_timestamp > max)
			max = ref->max_timestamp;
	}
	(void)pthread_mutex_unlock(&p->lock);
	return max;
}

static int stamp_of(struct partition *p, int64_t offset, int64_t *time_ms)
{
	struct batch_found found;
	struct log_view view;
	int rc = log_read_wait(p, offset, 1, &view);

	if (rc == LOG_READ_OK) {
		rc = view.gap.from == view.gap.to ? batch_find(view.batches, offset, INT64_MIN, &found) : 1;
		if (rc == 0)
			*time_ms = found.timestamp;
		blob_unref(view.blob);
	}
	return rc == ERR_NOMEM || rc == ERR_IO ? rc : 0;
}

int find_run(struct log_read *r)
{
	int64_t time_ms = r->time_ms == LOG_TIME_MAX ? highest_time(r->partition) : r->time_ms;
	int rc = log_find_wait(r->partition, time_ms, &r->offset);

	r->found_ms = -1;
	if (rc || !r->stamp)
		return rc;
	return stamp_of(r->partition, r->offset, &r->found_ms);
}
