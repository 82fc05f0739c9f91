/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "cli/client.h"

#define BAR_CELLS 30u
#define QUIET_MS 1000
#define BAR_MS 100
#define LINE_MS 10000
#define JSON_MS 1000
#define SIZE_BYTES 16u
#define FIGURES_BYTES 96u

void progress_init(struct progress *p, const char *what, bool json)
{
	*p = (struct progress){.what = what,
			       .json = json,
			       .terminal = isatty(STDERR_FILENO) && !json,
			       .begun_ms = client_now_ms(),
			       .told_ms = client_now_ms()};
}

void progress_size(uint64_t bytes, char *out)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	int i = 0;

	while (value >= 1024 && i < 6) {
		value /= 1024;
		i++;
	}
	(void)snprintf(out, SIZE_BYTES, i ? "%.1f %s" : "%.0f %s", value, units[i]);
}

/* A second, of what was seen. */
static double rate_of(const struct progress *p, uint64_t done)
{
	double seconds = (double)(client_now_ms() - p->begun_ms) / 1000;

	return seconds > 0 && done > p->first ? (double)(done - p->first) / seconds : 0;
}

/* "1.5 MiB of 3.0 MiB", or "1500 of 3000 letters, 500/s, 3 s left", or "1500 letters, 500/s". */
static void put_figures(const struct progress *p, uint64_t done, uint64_t total, char out[FIGURES_BYTES])
{
	char so_far[SIZE_BYTES], all[SIZE_BYTES];
	double rate = rate_of(p, done);

	if (!p->unit) {
		progress_size(done, so_far);
		progress_size(total, all);
		(void)snprintf(out, FIGURES_BYTES, "%s of %s", so_far, all);
		return;
	}
	if (!total) {
		(void)snprintf(out, FIGURES_BYTES, "%llu %s, %.0f/s", (unsigned long long)done, p->unit,
			       rate);
		return;
	}
	(void)snprintf(out, FIGURES_BYTES, "%llu of %llu %s, %.0f/s, %.0f s left", (unsigned long long)done,
		       (unsigned long long)total, p->unit, rate,
		       rate > 0 && total > done ? (double)(total - done) / rate : 0.0);
}

static void show_bar(struct progress *p, uint64_t done, uint64_t total, uint32_t percent)
{
	char bar[BAR_CELLS + 1], figures[FIGURES_BYTES];
	uint32_t full = percent * BAR_CELLS / 100;

	for (uint32_t i = 0; i < BAR_CELLS; i++)
		bar[i] = i < full ? '#' : '.';
	bar[BAR_CELLS] = '\0';
	put_figures(p, done, total, figures);
	if (p->unit && !total)
		fprintf(stderr, "\r\033[K%s  %s", p->what, figures);
	else
		fprintf(stderr, "\r\033[K%s [%s] %3u %%  %s", p->what, bar, percent, figures);
	fflush(stderr);
	p->shown = true;
}

static void show_line(struct progress *p, uint64_t done, uint64_t total, uint32_t percent)
{
	char figures[FIGURES_BYTES];

	put_figures(p, done, total, figures);
	fprintf(stderr, "weir: %s: %u %%, %s\n", p->what, percent, figures);
}

static void show_json(const struct progress *p, uint64_t done, uint64_t total)
{
	double rate = rate_of(p, done);

	printf("{\"type\":\"progress\",\"done\":%llu,\"total\":", (unsigned long long)done);
	if (total || !p->unit)
		printf("%llu", (unsigned long long)total);
	else
		printf("null");
	if (p->unit)
		printf(",\"per_second\":%.0f,\"seconds_left\":", rate);
	if (p->unit && rate > 0 && total)
		printf("%.0f", total > done ? (double)(total - done) / rate : 0.0);
	else if (p->unit)
		printf("null");
	printf("}\n");
	fflush(stdout);
}

void progress_show(struct progress *p, uint64_t done, uint64_t total)
{
	int64_t now = client_now_ms();
	int64_t pause = p->json ? JSON_MS : p->terminal ? BAR_MS : LINE_MS;
	uint32_t percent =
		total ? (uint32_t)((double)(done < total ? done : total) * 100 / (double)total) : 0;

	if (now - p->begun_ms < QUIET_MS || now - p->told_ms < pause)
		return;
	p->told_ms = now;
	if (p->json) {
		show_json(p, done, total);
	} else if (p->terminal) {
		show_bar(p, done, total, percent);
	} else {
		show_line(p, done, total, percent);
	}
}

void progress_clear(struct progress *p)
{
	if (p->shown)
		fprintf(stderr, "\r\033[K");
	p->shown = false;
}

void progress_put_text(struct buf *out, const char *text)
{
	(void)buf_append_byte(out, '"');
	for (const char *at = text; *at; at++) {
		if ((uint8_t)*at < 0x20) {
			(void)buf_appendf(out, "\\u%04x", (unsigned)(uint8_t)*at);
			continue;
		}
		if (*at == '"' || *at == '\\')
			(void)buf_append_byte(out, '\\');
		(void)buf_append_byte(out, (uint8_t)*at);
	}
	(void)buf_append_byte(out, '"');
}
