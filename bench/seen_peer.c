/* SPDX-License-Identifier: Apache-2.0 */
/* Weir's own side of the comparison: the calling thread claims and settles, a maintenance thread does the rest, as in the daemon. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log/seen.h"
#include "seen_bench.h"

static struct seen *seen;
static pthread_t keeper;
static _Atomic uint64_t sequence = 1;
static _Atomic int64_t clock_ms;
static _Atomic bool idle;
static _Atomic bool keep_stopped;
static uint64_t reads, waits;

static void stop_on(int err, const struct fault *fault)
{
	if (err >= 0)
		return;
	(void)fprintf(stderr, "seen: %d %s\n", err, fault->text);
	exit(1);
}

static void nap(long ns)
{
	(void)nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

static void *keep(void *arg)
{
	struct fault fault = {.text = ""};

	(void)arg;
	for (;;) {
		int more;

		if (atomic_load(&keep_stopped)) {
			nap(1000000);
			continue;
		}
		if (seen_wants_checkpoint(seen)) {
			atomic_store(&idle, false);
			stop_on(seen_checkpoint(seen, atomic_load(&sequence), &fault), &fault);
		}
		more = seen_step(seen, atomic_load(&clock_ms), &fault);
		stop_on(more, &fault);
		if (!more)
			atomic_store(&idle, true);
		if (!more)
			nap(1000000);
	}
	return NULL;
}

static void open_peer(const char *dir)
{
	struct seen_options o = {.sys = sys_kernel(), .dir = dir};
	struct fault fault = {.text = ""};

	atomic_store(&clock_ms, sys_wall_ms(o.sys));
	stop_on(seen_open(&o, &seen, &fault), &fault);
	if (pthread_create(&keeper, NULL, keep, NULL) != 0)
		exit(1);
}

static bool remember(const char *key, size_t len, uint64_t number, int64_t expires_ms)
{
	struct seen_key k = {.payload = 7, .expires_ms = expires_ms};
	struct seen_range r = {.first = (int64_t)number, .partition = 0, .count = 1};
	int64_t now_ms = atomic_load_explicit(&clock_ms, memory_order_relaxed);
	struct seen_claim claim;
	int verdict;

	k.fingerprint = seen_fingerprint(seen, SLICE_LIT("0123456789abcdef"), slice_make(key, len));
	verdict = seen_claim(seen, &k, now_ms, &claim, NULL, NULL);
	while (verdict == SEEN_READ || verdict == ERR_OVERLOADED) {
		reads += verdict == SEEN_READ;
		waits += verdict != SEEN_READ;
		if (verdict == ERR_OVERLOADED)
			nap(100000);
		verdict = seen_read(seen, &k, now_ms, &claim, NULL, NULL);
	}
	if (verdict != SEEN_NEW)
		return false;
	(void)seen_settle(seen, &claim, atomic_load_explicit(&sequence, memory_order_relaxed), &r, 1);
	return true;
}

static void settle(void)
{
	struct seen_stats st;

	do {
		atomic_store(&idle, false);
		while (!atomic_load(&idle))
			nap(1000000);
	} while (seen_wants_checkpoint(seen));
	seen_stats(seen, &st);
	(void)fprintf(
		stderr,
		"  seen: table %llu keys, %llu runs in %llu buckets with %llu keys, memory %llu MiB, disk %llu MiB, "
		"false hits %llu, disk reads %llu, waits for room %llu\n",
		(unsigned long long)st.keys_table, (unsigned long long)st.runs,
		(unsigned long long)st.buckets, (unsigned long long)st.keys_runs,
		(unsigned long long)st.bytes_memory >> 20, (unsigned long long)st.bytes_disk >> 20,
		(unsigned long long)st.filter_hits_false, (unsigned long long)reads,
		(unsigned long long)waits);
}

const struct peer peer_seen = {"weir seen", open_peer, remember, settle};

/* ---- single operations while a bucket goes ---- */

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void one_by_one(const char *what, uint32_t *ns, uint64_t first, uint64_t count, int64_t expires_ms)
{
	const struct sys *sys = sys_kernel();
	char key[BENCH_KEY_BYTES];

	for (uint64_t i = 0; i < count; i++) {
		int64_t from;

		bench_key(first + i, key);
		from = sys_monotonic_ns(sys);
		(void)remember(key, sizeof(key), first + i, expires_ms);
		ns[i] = (uint32_t)(sys_monotonic_ns(sys) - from);
	}
	qsort(ns, count, sizeof(*ns), by_size);
	(void)fprintf(stderr,
		      "  seen, one by one, %s: p50 %u ns, p99 %u ns, p99.9 %u ns, p99.99 %u ns, max %u ns\n",
		      what, ns[count / 2], ns[count - count / 100], ns[count - count / 1000],
		      ns[count - count / 10000], ns[count - 1]);
}

void seen_drop_report(uint64_t first, uint64_t count, int64_t expires_ms, int64_t drop_ms)
{
	uint32_t *ns = malloc(count * sizeof(*ns));
	struct seen_stats before, after;

	if (!ns)
		exit(1);
	one_by_one("with nothing to do", ns, first, count, expires_ms);
	seen_stats(seen, &before);
	atomic_store(&clock_ms, drop_ms);
	one_by_one("while buckets are dropped", ns, first + count, count, expires_ms);
	settle();
	seen_stats(seen, &after);
	(void)fprintf(stderr, "  dropped %llu buckets, %llu MiB\n",
		      (unsigned long long)(before.buckets - after.buckets),
		      (unsigned long long)(before.bytes_disk - after.bytes_disk) >> 20);
	free(ns);
}
