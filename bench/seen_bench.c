/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seen_bench DIR MILLIONS [weir] [map] [rocksdb]
 *
 * What it costs to ask for one fresh key and to remember it, with MILLIONS
 * remembered. Each peer lives in a process of its own, which fills itself, waits
 * until its background work is done, and then runs one round when it is told
 * to; rounds of the peers are interleaved, and medians told. Keys expire over
 * seven days, as if they had come over seven days.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "seen_bench.h"

#define DAY_MS 86400000ll
#define ROUNDS 9
#define ROUND_KEYS 100000u
#define DROP_KEYS 400000u
#define PEERS_MAX 3

struct child {
	const struct peer *peer;
	int to, from; /* pipes */
	pid_t pid;
	double fill_ns;
	double ns[ROUNDS];
	long rss_kib, peak_kib;
};

void bench_key(uint64_t number, char *key)
{
	uint64_t x = number * 0x9e3779b97f4a7c15u;
	char text[BENCH_KEY_BYTES + 1];

	x ^= x >> 29;
	(void)snprintf(text, sizeof(text), "evt_%016" PRIx64 "abcd", x * 0xbf58476d1ce4e5b9u);
	memcpy(key, text, BENCH_KEY_BYTES);
}

static double now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* VmRSS: now, VmHWM: the most so far. */
static long status_kib(const char *what)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");
	long kib = 0;

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, what, 6) == 0)
			kib = strtol(line + 6, NULL, 10);
	}
	if (f)
		(void)fclose(f);
	return kib;
}

static char keys[ROUND_KEYS][BENCH_KEY_BYTES];

/* Remembers ROUND_KEYS keys and gives the time of one; making their text is not counted. */
static double run_round(const struct peer *peer, uint64_t first, int64_t from_ms, double step_ms)
{
	double start;

	for (uint64_t i = 0; i < ROUND_KEYS; i++)
		bench_key(first + i, keys[i]);
	start = now_ns();
	for (uint64_t i = 0; i < ROUND_KEYS; i++) {
		int64_t expires_ms = from_ms + (int64_t)((double)(first + i) * step_ms);

		if (!peer->remember(keys[i], BENCH_KEY_BYTES, first + i, expires_ms)) {
			(void)fprintf(stderr, "%s: key %" PRIu64 " was not new\n", peer->name, first + i);
			exit(1);
		}
	}
	return (now_ns() - start) / ROUND_KEYS;
}

/* The process of a peer: fills, then answers each byte with the time of a round. */
static void live(const struct peer *peer, const char *dir, uint64_t count, int in, int out)
{
	int64_t from_ms = (int64_t)time(NULL) * 1000 + DAY_MS;
	double step_ms = 7.0 * (double)DAY_MS / (double)count, sum = 0;
	double told[3];
	uint64_t done = 0;
	char byte;

	peer->open(dir);
	for (; done < count; done += ROUND_KEYS)
		sum += run_round(peer, done, from_ms, step_ms);
	peer->settle();
	told[0] = sum / ((double)count / ROUND_KEYS);
	told[1] = (double)status_kib("VmRSS:");
	told[2] = (double)status_kib("VmHWM:");
	if (write(out, told, sizeof(told)) != sizeof(told))
		exit(1);
	while (read(in, &byte, 1) == 1 && byte == 'r') {
		told[0] = run_round(peer, done, from_ms, step_ms);
		told[1] = (double)status_kib("VmRSS:");
		told[2] = (double)status_kib("VmHWM:");
		done += ROUND_KEYS;
		if (write(out, told, sizeof(told)) != sizeof(told))
			exit(1);
	}
	if (peer == &peer_seen)
		seen_drop_report(done, DROP_KEYS, from_ms + 8 * DAY_MS, from_ms + 5 * DAY_MS);
	exit(0);
}

static void start(struct child *c, const char *dir, uint64_t count)
{
	char path[4096];
	int to[2], from[2];
	double told[3];

	(void)snprintf(path, sizeof(path), "%s/%d", dir, (int)(c->peer->name[0]));
	if (pipe(to) != 0 || pipe(from) != 0)
		exit(1);
	c->pid = fork();
	if (c->pid == 0) {
		(void)close(to[1]);
		(void)close(from[0]);
		live(c->peer, path, count, to[0], from[1]);
	}
	(void)close(to[0]);
	(void)close(from[1]);
	c->to = to[1];
	c->from = from[0];
	if (read(c->from, told, sizeof(told)) != sizeof(told))
		exit(1);
	c->fill_ns = told[0];
	c->rss_kib = (long)told[1];
	c->peak_kib = (long)told[2];
}

static double one_round(struct child *c)
{
	double told[3];

	if (write(c->to, "r", 1) != 1 || read(c->from, told, sizeof(told)) != sizeof(told))
		exit(1);
	if ((long)told[1] > c->rss_kib)
		c->rss_kib = (long)told[1];
	c->peak_kib = (long)told[2];
	return told[0];
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void tell(struct child *c, uint64_t count)
{
	qsort(c->ns, ROUNDS, sizeof(c->ns[0]), by_size);
	(void)printf("%-20s %10.0f %10.0f %10.0f %10.0f %10.1f %10.1f %10.1f\n", c->peer->name,
		     c->ns[ROUNDS / 2], c->ns[0], c->ns[ROUNDS - 1], c->fill_ns, (double)c->rss_kib / 1024,
		     (double)c->peak_kib / 1024, (double)c->rss_kib * 1024 / (double)count);
}

static uint32_t choose(int argc, char **argv, struct child *children)
{
	const struct {
		const char *word;
		const struct peer *peer;
	} all[] = {
		{"weir", &peer_seen},
		{"map", &peer_map},
#ifdef WITH_ROCKSDB
		{"rocksdb", &peer_rocksdb},
#endif
	};
	uint32_t n = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		bool wanted = argc <= 3;

		for (int j = 3; j < argc; j++)
			wanted = wanted || strcmp(argv[j], all[i].word) == 0;
		if (wanted)
			children[n++].peer = all[i].peer;
	}
	return n;
}

int main(int argc, char **argv)
{
	struct child children[PEERS_MAX] = {{.peer = NULL}};
	uint64_t count;
	uint32_t n;

	if (argc < 3) {
		(void)fprintf(stderr, "usage: seen_bench DIR MILLIONS [weir] [map] [rocksdb]\n");
		return 2;
	}
	count = strtoull(argv[2], NULL, 10) * 1000000;
	n = choose(argc, argv, children);
	(void)mkdir(argv[1], 0777);
	for (uint32_t i = 0; i < n; i++)
		start(&children[i], argv[1], count);
	for (int r = 0; r < ROUNDS; r++) {
		for (uint32_t i = 0; i < n; i++)
			children[i].ns[r] = one_round(&children[i]);
	}
	(void)printf("ask and remember one fresh key, %" PRIu64
		     " remembered, ns; %d rounds of %u, interleaved\n",
		     count, ROUNDS, ROUND_KEYS);
	(void)printf("%-20s %10s %10s %10s %10s %10s %10s %10s\n", "", "median", "best", "worst", "filling",
		     "RSS MiB", "peak MiB", "bytes/key");
	for (uint32_t i = 0; i < n; i++)
		tell(&children[i], count);
	(void)fflush(stdout);
	for (uint32_t i = 0; i < n; i++) {
		if (write(children[i].to, "q", 1) !=
		    1) /* its pipe stands open in the others too: no end of file */
			return 1;
		(void)waitpid(children[i].pid, NULL, 0);
	}
	return 0;
}
