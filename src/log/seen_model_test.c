/* SPDX-License-Identifier: Apache-2.0 */
/* Beside a plain map, and under threads. */
#include <pthread.h>

#include "base/check.h"
#include "base/rand.h"
#include "log/seen_world_test.h"

enum { MODEL_KEYS = 3000 };

struct model {
	int64_t expires[MODEL_KEYS]; /* 0: unknown */
	uint64_t answer[MODEL_KEYS];
	uint64_t sequence[MODEL_KEYS];
	bool in_flight[MODEL_KEYS];
	struct seen_claim claims[MODEL_KEYS];
};

static uint32_t model_ranges(uint64_t answer, struct seen_range *out)
{
	uint32_t count = answer % 10 == 0 ? (uint32_t)(answer / 10 % 400) : 1;

	for (uint32_t i = 0; i < count; i++)
		out[i] = range_of(answer + i);
	return count;
}

static void model_ask(struct fixture *f, struct model *m, uint64_t n, int64_t at, int64_t ttl)
{
	static struct seen_range got[400], want[400];
	struct seen_answer answer = {.ranges = got, .ranges_max = 400};
	struct seen_key k = key_of(f, n, at + ttl);
	struct seen_claim claim;
	int verdict = seen_claim(f->seen, &k, at, &claim, &answer, NULL);

	if (verdict == SEEN_READ)
		verdict = seen_read(f->seen, &k, at, &claim, &answer, NULL);
	if (m->in_flight[n]) {
		assert_int_equal(verdict, SEEN_IN_FLIGHT);
	} else if (m->expires[n] > at) {
		uint32_t count = model_ranges(m->answer[n], want);

		assert_int_equal(verdict, SEEN_DUPLICATE);
		assert_int_equal(answer.range_count, count);
		assert_memory_equal(got, want, count * sizeof(want[0]));
	} else {
		assert_int_equal(verdict, SEEN_NEW);
		m->claims[n] = claim;
		m->in_flight[n] = true;
	}
}

static void model_end(struct fixture *f, struct model *m, uint64_t n, uint64_t sequence, bool settle)
{
	static struct seen_range ranges[400];

	if (!m->in_flight[n])
		return;
	m->in_flight[n] = false;
	if (!settle) {
		assert_null(seen_release(f->seen, &m->claims[n]));
		m->expires[n] = 0; /* its predecessor, if any, was over */
		return;
	}
	m->expires[n] = m->claims[n].key.expires_ms;
	m->answer[n] = sequence;
	m->sequence[n] = sequence;
	assert_null(seen_settle(f->seen, &m->claims[n], sequence, ranges, model_ranges(sequence, ranges)));
}

/* As the log does: what is in flight is gone, what no checkpoint wrote comes from the journal. */
static void model_restart(struct fixture *f, struct model *m, uint64_t durable)
{
	static struct seen_range ranges[400];

	reopen(f);
	for (uint64_t n = 0; n < MODEL_KEYS; n++) {
		if (m->in_flight[n])
			m->expires[n] = 0;
		m->in_flight[n] = false;
		if (m->expires[n] && m->sequence[n] > durable) {
			struct seen_key k = key_of(f, n, m->expires[n]);

			assert_int_equal(seen_restore(f->seen, &k, m->sequence[n], ranges,
						      model_ranges(m->answer[n], ranges)),
					 0);
		}
	}
}

static void run_model(struct fixture *f, uint64_t seed)
{
	struct model *m = calloc(1, sizeof(*m));
	uint64_t sequence = 1, durable = 0;
	int64_t at = now();
	struct fault fault;
	struct rand r;

	rand_seed(&r, seed);
	for (int i = 0; i < 30000; i++) {
		uint64_t what = rand_below(&r, 1000), n = rand_below(&r, MODEL_KEYS);

		if (what < 500)
			model_ask(f, m, n, at, 1 + (int64_t)rand_below(&r, 40) * (DAY / 10));
		else if (what < 980)
			model_end(f, m, n, sequence++, what < 930);
		else if (what < 985)
			at += (int64_t)rand_below(&r, 3600000);
		else if (what < 990)
			checkpoint(f, durable = sequence - rand_below(&r, 100) % sequence);
		else if (what < 998)
			assert_true(seen_step(f->seen, at, &fault) >= 0);
		else if (what == 998)
			pages_are_cold = !pages_are_cold;
		else
			model_restart(f, m, durable);
	}
	free(m);
}

static void behaves_as_a_plain_map_does(void **state)
{
	struct fixture *f = *state;

	for (uint64_t seed = 1; seed <= 6; seed++) {
		print_message("seed %llu\n", (unsigned long long)seed);
		run_model(f, seed);
		seen_close(f->seen);
		(void)test_dir_remove(f->dir);
		open_seen(f);
	}
}

enum { RACE_KEYS = 20000, RACERS = 3 };

struct race {
	struct fixture *f;
	_Atomic uint32_t winners[RACE_KEYS];
	_Atomic uint64_t sequence;
	_Atomic bool stop;
};

static void *run_racer(void *arg)
{
	struct race *race = arg;

	for (uint64_t i = 0; i < RACE_KEYS; i++) {
		struct seen_key k = key_of(race->f, i, now() + DAY);
		struct seen_range r = range_of(i), got = {.first = -1};
		struct seen_answer answer = {.ranges = &got, .ranges_max = 1};
		struct seen_claim claim;
		int verdict = seen_read(race->f->seen, &k, now(), &claim, &answer, NULL);

		if (verdict == SEEN_NEW && i % 16 == 3 && atomic_load(&race->winners[i]) == 0 &&
		    (claim.key.fingerprint.lo & 1)) {
			(void)seen_release(race->f->seen, &claim);
			verdict = seen_read(race->f->seen, &k, now(), &claim, &answer, NULL);
		}
		if (verdict == SEEN_NEW) {
			atomic_fetch_add(&race->winners[i], 1);
			(void)seen_settle(race->f->seen, &claim, atomic_fetch_add(&race->sequence, 1), &r, 1);
		} else if (verdict == SEEN_DUPLICATE) {
			CHECK(got.first == r.first);
		} else {
			CHECK(verdict == SEEN_IN_FLIGHT);
		}
	}
	return NULL;
}

static void *run_maintenance(void *arg)
{
	struct race *race = arg;
	struct fault fault;

	while (!atomic_load(&race->stop)) {
		CHECK(seen_checkpoint(race->f->seen, atomic_load(&race->sequence), &fault) == 0);
		for (int i = 0; i < 4; i++)
			CHECK(seen_step(race->f->seen, now(), &fault) >= 0);
	}
	return NULL;
}

static void threads_that_claim_the_same_keys_agree(void **state)
{
	struct race *race = calloc(1, sizeof(*race));
	pthread_t racers[RACERS], keeper;

	race->f = *state;
	race->sequence = 1;
	assert_int_equal(pthread_create(&keeper, NULL, run_maintenance, race), 0);
	for (int i = 0; i < RACERS; i++)
		assert_int_equal(pthread_create(&racers[i], NULL, run_racer, race), 0);
	for (int i = 0; i < RACERS; i++)
		assert_int_equal(pthread_join(racers[i], NULL), 0);
	atomic_store(&race->stop, true);
	assert_int_equal(pthread_join(keeper, NULL), 0);
	for (uint64_t i = 0; i < RACE_KEYS; i++) {
		assert_int_equal(race->winners[i], 1);
		expect_remembered(race->f, i);
	}
	free(race);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(behaves_as_a_plain_map_does),
		TEST(threads_that_claim_the_same_keys_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
