/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is believed is an offset: wall clock less elapsed time (which goes on
 * while the machine sleeps). As long as the two clocks agree the offset follows
 * the wall clock. When they come apart the offset stays, and who asks gets the
 * earlier of the two times: to forget too late costs disk, to forget too early costs
 * records. The other offset is believed once it has stayed the same for hold_ms.
 */
#include "log/steady.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "log/files.h"

#define STEP_MS 60000            /* more than NTP or a slow look ever moves a clock that goes */
#define STOP_MS (24 * 3600000LL) /* a stop that is no news */

static int64_t elapsed_ms(const struct steady *s)
{
	const struct sys_ops *ops = s->sys->ops;

	return (ops->elapsed_ns ? ops->elapsed_ns : ops->monotonic_ns)(s->sys->self) / 1000000;
}

static void believe(struct steady *s, int64_t offset_ms)
{
	atomic_store(&s->offset_ms, offset_ms);
	atomic_store(&s->ahead_ms, 0);
	s->doubting = false;
}

void steady_init(struct steady *s, const struct sys *sys, int64_t hold_ms, int64_t last_ms, bool doubted)
{
	int64_t elapsed, wall = sys_wall_ms(sys);

	*s = (struct steady){.sys = sys, .hold_ms = hold_ms};
	elapsed = elapsed_ms(s);
	if (last_ms > 0 && (doubted || wall > last_ms + STOP_MS || wall < last_ms)) {
		s->just_started = !doubted && wall < last_ms;
		wall = last_ms;
	}
	believe(s, wall - elapsed);
}

static int64_t tolerance_ms(const struct steady *s)
{
	return s->just_started ? STOP_MS : STEP_MS;
}

int64_t steady_now_ms(const struct steady *s)
{
	int64_t wall = sys_wall_ms(s->sys), believed;

	if (atomic_load_explicit(&s->hold_ms, memory_order_relaxed) == 0)
		return wall;
	believed = atomic_load_explicit(&s->offset_ms, memory_order_relaxed) + elapsed_ms(s);
	return wall > believed + STEP_MS ? believed : wall;
}

static bool is_near(int64_t a, int64_t b, int64_t within)
{
	return a - b <= within && b - a <= within;
}

bool steady_wants_look(const struct steady *s)
{
	int64_t believed = atomic_load_explicit(&s->offset_ms, memory_order_relaxed) + elapsed_ms(s);
	bool off = !is_near(sys_wall_ms(s->sys), believed, STEP_MS);

	return off != (atomic_load_explicit(&s->ahead_ms, memory_order_relaxed) != 0);
}

static enum steady_news doubt(struct steady *s, int64_t offset, int64_t elapsed)
{
	atomic_store(&s->ahead_ms, offset - atomic_load(&s->offset_ms));
	if (s->doubting && is_near(offset, s->doubted_offset_ms, STEP_MS)) {
		s->doubted_offset_ms = offset;
		if (elapsed - s->doubted_since_ms < atomic_load(&s->hold_ms))
			return STEADY_NONE;
		believe(s, offset);
		return STEADY_BELIEVED;
	}
	s->doubting = true;
	s->doubted_offset_ms = offset;
	s->doubted_since_ms = elapsed;
	return STEADY_DOUBTED;
}

enum steady_news steady_look(struct steady *s)
{
	int64_t elapsed = elapsed_ms(s), offset = sys_wall_ms(s->sys) - elapsed;
	bool doubting = s->doubting;

	if (is_near(offset, atomic_load(&s->offset_ms), tolerance_ms(s)) || atomic_load(&s->hold_ms) == 0) {
		bool there = is_near(offset, atomic_load(&s->offset_ms), tolerance_ms(s));
		s->just_started = false;
		believe(s, offset);
		return !doubting ? STEADY_NONE : there ? STEADY_RETURNED : STEADY_BELIEVED;
	}
	return doubt(s, offset, elapsed);
}

int64_t steady_wait_ms(const struct steady *s)
{
	int64_t left;

	if (!s->doubting)
		return INT64_MAX;
	left = s->doubted_since_ms + atomic_load(&s->hold_ms) - elapsed_ms(s);
	return left > 0 ? left + 1 : 1;
}

/* ---- kept over a stop ---- */

static void file_path(const char *dir, char *out, size_t size)
{
	(void)snprintf(out, size, "%s/CLOCK", dir);
}

int64_t steady_kept_ms(const struct sys *sys, const char *dir)
{
	char path[512], text[32] = {0};
	int64_t got = 0;
	uint64_t ms;
	int fd;

	file_path(dir, path, sizeof(path));
	fd = sys->ops->open(sys->self, path, SYS_READ);
	if (fd < 0)
		return 0;
	got = sys->ops->pread(sys->self, fd, text, sizeof(text), 0);
	sys->ops->close(sys->self, fd);
	if (got < 2 || text[got - 1] != '\n' || !slice_to_u64(slice_make(text, (size_t)got - 1), &ms) ||
	    ms > INT64_MAX / 2)
		return 0;
	return (int64_t)ms;
}

int steady_keep(const struct steady *s, const char *dir)
{
	char path[512], text[32];
	int rc, n;

	if (atomic_load(&s->ahead_ms) <= 0) {
		file_path(dir, path, sizeof(path));
		rc = s->sys->ops->unlink(s->sys->self, path);
		return rc == -ENOENT ? 0 : rc;
	}
	n = snprintf(text, sizeof(text), "%" PRId64 "\n", steady_now_ms(s));
	return files_put(s->sys, dir, "CLOCK", slice_make(text, (size_t)n));
}
