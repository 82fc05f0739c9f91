/* SPDX-License-Identifier: Apache-2.0 */
#include "base/budget.h"

#include "base/check.h"

#define STEP_BYTES_MAX 65536
#define PEERS 64 /* each is given this part of what is left */

void budget_init(struct budget *b, int64_t bytes_max, uint32_t shares)
{
	int64_t step = bytes_max / (16 * (int64_t)(shares ? shares : 1));

	atomic_init(&b->used, 0);
	atomic_init(&b->bytes_max, bytes_max);
	b->step = step > STEP_BYTES_MAX ? STEP_BYTES_MAX : step < 1 ? 1 : step;
}

void budget_set_max(struct budget *b, int64_t bytes_max)
{
	atomic_store_explicit(&b->bytes_max, bytes_max, memory_order_relaxed);
}

int64_t budget_used(const struct budget *b)
{
	return atomic_load_explicit(&b->used, memory_order_relaxed);
}

void budget_share_init(struct budget_share *s, struct budget *budget)
{
	*s = (struct budget_share){.budget = budget, .slack = budget ? 2 * budget->step : INT64_MAX};
}

/* To the next step above what is used, and nothing where nothing is used. */
void budget_settle(struct budget_share *s)
{
	int64_t step, want, change;

	CHECK(s->used >= 0);
	if (!s->budget) {
		s->taken = s->used;
		return;
	}
	step = s->budget->step;
	want = s->used == 0 ? 0 : (s->used / step + 1) * step;
	change = want - s->taken;
	s->taken = want;
	atomic_fetch_add_explicit(&s->budget->used, change, memory_order_relaxed);
}

size_t budget_credit(const struct budget_share *s, size_t most)
{
	int64_t left;

	if (!s->budget)
		return most;
	left = budget_left(s) - atomic_load_explicit(&s->budget->bytes_max, memory_order_relaxed) / 2;
	if (left <= PEERS)
		return 1;
	return (uint64_t)left / PEERS < most ? (size_t)left / PEERS : most;
}

bool budget_admits(const struct budget_share *s, size_t bytes, size_t own)
{
	int64_t left = budget_left(s);
	int64_t max;

	if (bytes <= INT64_MAX && left >= (int64_t)bytes)
		return true;
	max = atomic_load_explicit(&s->budget->bytes_max, memory_order_relaxed);
	return max - left - (int64_t)own <= max / 4;
}
