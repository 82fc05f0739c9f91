/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adaptive_bench [FOLDER]: requests of adaptive polling against those of the fixed interval
 * that is as stale on average. FOLDER has recorded arrivals (bench/arrivals).
 * A line each: name, arrivals, mean staleness, requests, fixed requests, ratio, and
 * the ratio that could be reached by who knows the rates (0: there is no formula).
 */
#include <string.h>

#include "connect/arrivals_test.h"

static const int64_t min_ms = 1000, max_ms = 600000;

static void measure(const char *name, struct arrivals *a, double bound)
{
	struct polling p;

	poll_adaptively(a, min_ms, max_ms, true, &p);
	compare_fixed(a, &p);
	printf("%s\t%llu\t%.2f\t%.0f\t%.0f\t%.3f\t%.2f\n", name, (unsigned long long)a->count, p.staleness_s,
	       p.requests, p.fixed_requests, p.requests / p.fixed_requests, bound);
	arrivals_fini(a);
}

/* (mean of sqrt(rate))^2 / mean rate, of two rates in shares of the time. */
static double bound_of(double share, double busy, double quiet)
{
	double root = share * sqrt(busy) + (1 - share) * sqrt(quiet);

	return root * root / (share * busy + (1 - share) * quiet);
}

static double bound_of_day(double depth)
{
	double root = 0, mean = 0;

	for (int i = 0; i < 1000; i++) {
		double rate = exp(depth * (cos(i * 2 * M_PI / 1000) - 1));
		root += sqrt(rate) / 1000;
		mean += rate / 1000;
	}
	return root * root / mean;
}

static void measure_file(const char *folder, const char *name)
{
	struct arrivals a;
	char path[512];
	double unit, step, at = 1;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s.txt", folder, name);
	f = fopen(path, "re");
	if (!f)
		return;
	arrivals_init(&a, 1000, 0);
	if (fscanf(f, "%lf", &unit) == 1)
		while (fscanf(f, "%lf", &step) == 1)
			arrivals_add(&a, at += step * unit);
	a.length = at + 1;
	fclose(f);
	measure(name, &a, 0);
}

static void synthetic(void)
{
	static const double rates[] = {1, 0.1, 1 / 60.0, 1 / 600.0, 1 / 3600.0};
	static const char *const names[] = {"poisson 1/s", "poisson 1/10s", "poisson 1/min",
					    "poisson 1/10min", "poisson 1/h"};
	struct arrivals a;

	for (int i = 0; i < 5; i++) {
		arrivals_init(&a, i == 0 ? 4 : i < 3 ? 28 : 365, 100 + (uint64_t)i);
		arrivals_poisson(&a, rates[i]);
		measure(names[i], &a, 1);
	}
	arrivals_init(&a, 28, 1);
	arrivals_steady(&a, 20, 5);
	measure("steady 20s", &a, 0);
	arrivals_init(&a, 28, 2);
	arrivals_steady(&a, 120, 60);
	measure("steady 2min", &a, 0);
	arrivals_init(&a, 28, 3);
	arrivals_office(&a, 0.05, 1 / 900.0);
	measure("rhythm office", &a, bound_of(40 / 168.0, 0.05, 1 / 900.0));
	arrivals_init(&a, 28, 4);
	arrivals_day(&a, 0.1, 3);
	measure("rhythm day", &a, bound_of_day(3));
	arrivals_init(&a, 28, 5);
	arrivals_bursts(&a, 7200, 120, 420, 1, 1 / 1800.0);
	measure("bursts short", &a, 0);
	arrivals_init(&a, 28, 6);
	arrivals_bursts(&a, 43200, 600, 2400, 0.2, 1 / 1800.0);
	measure("bursts long", &a, 0);
	arrivals_init(&a, 2 / 24.0, 7);
	arrivals_poisson(&a, 0.1);
	a.length = 28 * 86400.0; /* two busy hours, then nothing */
	measure("silence", &a, 0);
	arrivals_init(&a, 28, 8);
	arrivals_clumps(&a, 600, 1000);
	measure("clumps 1000", &a, 1);
	arrivals_init(&a, 28, 9);
	arrivals_bursts(&a, 300, 10, 10, 1, 0);
	measure("crumbs of 10s", &a, 0);
}

int main(int argc, char **argv)
{
	synthetic();
	if (argc > 1) {
		measure_file(argv[1], "earthquakes");
		measure_file(argv[1], "flights");
	}
	return 0;
}
