/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots of a fixed distance live on the elapsed clock, those of cron on the
 * wall clock as the zone shows it. The state holds no list of slots but one
 * mark: all up to it are taken. So slots that were missed cost nothing to
 * collapse into one run, however long the daemon was away.
 *
 * Cron times come in two sorts. One of each hour (minute lists, every hour)
 * goes by what the clock shows, through a repeated hour as well. Any other is
 * bound to its time of day: it runs when the clock first reaches or passes that
 * time, which is once, whether the hour is skipped or repeated. Vixie's cron
 * draws the same line by the text of the fields and acts within three hours;
 * here it follows from zone_first() and holds for a skipped day as well.
 *
 * A clock that was put back shows slots again that were taken. Such a slot is a
 * run of its own only when as much time has gone by since the last as lies
 * between it and its successor; so neither a small correction repeats a run nor
 * a large one stops them.
 */
#include "connect/schedule.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/wire.h"
#include "connect/cron.h"

enum { WEEK_MINUTES = 7 * 1440, RANGES_MAX = SCHEDULE_BLACKOUTS_MAX * 8, CATCH_UP_MS = 60000 };

#define SAVED_VERSION 0x10u /* with the kind in its low bits */

struct range {
	int32_t from, to; /* minutes of the week, which begins on Sunday */
};

struct schedule {
	enum schedule_kind kind;
	enum schedule_overlap overlap;
	int64_t every_ms, every_max_ms, jitter_ms;
	const struct zone *zone;
	struct cron cron;
	uint64_t seed;
	bool hourly, at_start;
	uint32_t dark_count;
	struct range dark[]; /* merged, in order */
};

/* ---- blackout windows ---- */

struct week {
	uint8_t minutes[WEEK_MINUTES]; /* 1: dark */
};

/* "Mon-Fri,Sun" to a set of days, bit 0 is Sunday. */
static bool parse_days(struct slice text, uint32_t *days)
{
	struct slice rest = text, to;

	*days = 0;
	do {
		struct slice from = slice_cut(slice_cut(rest, ',', &rest), '-', &to);
		int day = cron_weekday(from);
		int last = to.ptr ? cron_weekday(to) : day;
		if (day < 0 || last < 0)
			return false;
		for (; day != last; day = (day + 1) % 7)
			*days |= 1u << day;
		*days |= 1u << last;
	} while (rest.ptr);
	return true;
}

static bool parse_clock(struct slice text, int32_t *minute)
{
	struct slice minutes, hours = slice_cut(text, ':', &minutes);
	uint64_t h, m;

	if (hours.len != 2 || minutes.len != 2 || !slice_to_u64(hours, &h) || !slice_to_u64(minutes, &m) ||
	    m > 59)
		return false;
	*minute = (int32_t)(h * 60 + m);
	return *minute <= 1440;
}

/* "09:00-17:00"; over midnight where it ends before it begins. */
static bool parse_times(struct slice text, int32_t *from, int32_t *minutes)
{
	struct slice to, begin = slice_cut(text, '-', &to);
	int32_t end;

	if (!to.ptr || !parse_clock(begin, from) || *from == 1440 || !parse_clock(to, &end) || *from == end)
		return false;
	*minutes = end > *from ? end - *from : end + 1440 - *from;
	return true;
}

static void darken(struct week *w, uint32_t days, int32_t from, int32_t minutes)
{
	for (int32_t day = 0; day < 7; day++)
		for (int32_t i = 0; (days >> day & 1) && i < minutes; i++)
			w->minutes[(day * 1440 + from + i) % WEEK_MINUTES] = 1;
}

static bool parse_blackout(struct slice text, struct week *w)
{
	struct slice trimmed = slice_trim(text), times;
	struct slice days_text = slice_cut(trimmed, ' ', &times);
	uint32_t days = 0x7f;
	int32_t from = 0, minutes = 1440;

	if (!trimmed.len)
		return false;
	if (!times.ptr && (trimmed.ptr[0] >= '0' && trimmed.ptr[0] <= '9'))
		times = trimmed;
	else if (!parse_days(days_text, &days))
		return false;
	times = slice_trim(times);
	if (!times.ptr) {
		darken(w, days, from, minutes);
		return true;
	}
	do {
		if (!parse_times(slice_cut(times, ',', &times), &from, &minutes))
			return false;
		darken(w, days, from, minutes);
	} while (times.ptr);
	return true;
}

static int parse_blackouts(const struct schedule_options *o, struct week *w, struct fault *fault)
{
	memset(w, 0, sizeof(*w));
	if (o->blackout_count > SCHEDULE_BLACKOUTS_MAX)
		return fault_set(fault, ERR_BAD_CONFIG, "there are at most %u blackout windows",
				 SCHEDULE_BLACKOUTS_MAX);
	for (uint32_t i = 0; i < o->blackout_count; i++) {
		struct slice text = o->blackouts[i];
		if (!parse_blackout(text, w))
			return fault_set(
				fault, ERR_BAD_CONFIG,
				"a blackout window is days, times or both, such as Mon-Fri 09:00-17:00, not '%.*s'",
				(int)(text.len > 60 ? 60 : text.len), text.ptr ? (const char *)text.ptr : "");
	}
	if (!memchr(w->minutes, 0, WEEK_MINUTES))
		return fault_set(fault, ERR_BAD_CONFIG,
				 "the blackout windows leave no time of the week to run in");
	return 0;
}

/* The dark ranges of the week, in order; out may be NULL to count them. */
static uint32_t list_ranges(const struct week *w, struct range *out)
{
	uint32_t count = 0;

	for (int32_t i = 0, end; i < WEEK_MINUTES; i = end + 1) {
		for (end = i; end < WEEK_MINUTES && w->minutes[end];)
			end++;
		if (end > i && out)
			out[count] = (struct range){i, end};
		count += end > i;
	}
	return count;
}

/* ---- making one ---- */

static int check_options(const struct schedule_options *o, struct fault *fault)
{
	if (o->kind == SCHEDULE_EVERY && o->every_ms <= 0)
		return fault_set(fault, ERR_BAD_CONFIG, "every is above 0");
	if (o->kind == SCHEDULE_ADAPTIVE && (o->every_min_ms <= 0 || o->every_max_ms < o->every_min_ms))
		return fault_set(fault, ERR_BAD_CONFIG, "every.min is above 0 and every.max is not below it");
	if (o->jitter_ms < 0 || (o->kind == SCHEDULE_EVERY && o->jitter_ms > o->every_ms))
		return fault_set(fault, ERR_BAD_CONFIG, "jitter is not longer than every");
	return 0;
}

int schedule_new(const struct schedule_options *o, struct schedule **out, struct fault *fault)
{
	struct week *week = mem_alloc(sizeof(*week));
	struct cron cron = {0};
	struct schedule *s = NULL;
	int rc = week ? check_options(o, fault) : ERR_NOMEM;

	if (!rc && o->kind == SCHEDULE_CRON)
		rc = cron_parse(o->cron, &cron, fault);
	if (!rc)
		rc = parse_blackouts(o, week, fault);
	if (!rc) {
		uint32_t count = list_ranges(week, NULL);
		s = mem_zalloc(1, sizeof(*s) + count * sizeof(s->dark[0]));
		rc = s ? 0 : ERR_NOMEM;
	}
	if (!rc) {
		s->dark_count = list_ranges(week, s->dark);
		s->kind = o->kind;
		s->overlap = o->overlap;
		s->every_ms = o->kind == SCHEDULE_ADAPTIVE ? o->every_min_ms : o->every_ms;
		s->every_max_ms = o->kind == SCHEDULE_ADAPTIVE ? o->every_max_ms : o->every_ms;
		s->jitter_ms = o->jitter_ms;
		s->zone = o->zone;
		s->cron = cron;
		s->hourly = cron_is_hourly(&cron);
		s->seed = o->seed;
		s->at_start = o->at_start;
		*out = s;
	}
	mem_free(week);
	return rc;
}

void schedule_free(struct schedule *s)
{
	mem_free(s);
}

/* ---- slots ---- */

static int64_t seconds_of(int64_t ms)
{
	return ms / 1000 - (ms % 1000 < 0);
}

static int64_t offset_at(const struct schedule *s, int64_t at)
{
	return s->zone ? zone_offset(s->zone, at) : 0;
}

static int64_t next_change(const struct schedule *s, int64_t at)
{
	return s->zone ? zone_next_change(s->zone, at) : ZONE_NEVER;
}

/* The first moment after `at` at which the clock shows a fitting time. */
static int64_t shown_after(const struct schedule *s, int64_t at)
{
	int64_t from = at + 1;

	for (;;) {
		int64_t offset = offset_at(s, from), end = next_change(s, from);
		int64_t wall = cron_next(&s->cron, from + offset - 1);
		if (wall == CRON_NEVER)
			return SCHEDULE_NEVER;
		if (wall - offset < end)
			return wall - offset;
		from = end;
	}
}

/* The first moment after `at` at which the clock first reaches a fitting time. */
static int64_t reached_after(const struct schedule *s, int64_t at)
{
	int64_t wall = cron_next(&s->cron, s->zone ? zone_wall_reached(s->zone, at) : at);

	if (wall == CRON_NEVER)
		return SCHEDULE_NEVER;
	return s->zone ? zone_first(s->zone, wall) : wall;
}

/* The first slot after a wall time, both in ms. */
static int64_t slot_after(const struct schedule *s, int64_t wall_ms)
{
	int64_t at = seconds_of(wall_ms);
	int64_t slot = s->hourly ? shown_after(s, at) : reached_after(s, at);

	return slot == SCHEDULE_NEVER ? slot : slot * 1000;
}

/* The end of the dark range that a wall time is in, in seconds from it; 0 where it is light. */
static int64_t dark_for(const struct schedule *s, int64_t wall)
{
	int64_t second =
		((wall + 4 * 86400) % (7 * 86400) + 7 * 86400) % (7 * 86400); /* 1970 began on a Thursday */
	const struct range *last = s->dark + s->dark_count - 1;

	for (uint32_t i = 0; i < s->dark_count; i++) {
		const struct range *r = &s->dark[i];
		if (second < (int64_t)r->from * 60 || second >= (int64_t)r->to * 60)
			continue;
		int64_t end = r->to * 60;
		if (r == last && r->to == WEEK_MINUTES && s->dark[0].from == 0)
			end += (int64_t)s->dark[0].to * 60; /* on into the next week */
		return end - second;
	}
	return 0;
}

/* The first moment from a wall time on (ms) that is not dark. */
static int64_t first_light(const struct schedule *s, int64_t ms)
{
	while (s->dark_count) {
		int64_t at = seconds_of(ms);
		int64_t dark = dark_for(s, at + offset_at(s, at));
		int64_t change = next_change(s, at);
		if (!dark)
			return ms;
		ms = (at + dark < change ? at + dark : change) * 1000;
	}
	return ms;
}

/* How much later than a slot its run is; `max` is not reached. */
static int64_t draw(const struct schedule *s, int64_t slot, int64_t max)
{
	struct rand r;

	if (!s->jitter_ms || max <= 0)
		return 0;
	rand_seed(&r, s->seed ^ (uint64_t)slot);
	return (int64_t)rand_below(&r, (uint64_t)(s->jitter_ms < max ? s->jitter_ms + 1 : max));
}

/* Where dark, the run waits for the light and draws from there. */
static int64_t run_of(const struct schedule *s, int64_t slot, int64_t delay)
{
	int64_t run = slot + delay, light = first_light(s, run);

	return light == run ? run : first_light(s, light + delay);
}

static int64_t cron_run_of(const struct schedule *s, int64_t slot)
{
	int64_t next = s->jitter_ms ? slot_after(s, slot) : SCHEDULE_NEVER;

	return run_of(s, slot, draw(s, slot, next - slot));
}

/*
 * The next slot of a cron time. Behind the mark, as long as the clock is; else
 * see the note on top: `again` is the first slot that may come once more.
 */
static int64_t cron_slot(const struct schedule *s, const struct schedule_state *state,
			 struct schedule_now now)
{
	int64_t slot = slot_after(s, state->taken_ms);

	if (now.wall_ms >= state->taken_ms || slot == SCHEDULE_NEVER)
		return slot;
	int64_t left = slot - state->taken_ms - (now.elapsed_ms - state->taken_at_ms);
	int64_t again = slot_after(s, now.wall_ms - 1 + (left > 0 ? left : 0));
	return again < slot ? again : slot;
}

/* The wall time at which the next run by the schedule alone is, or SCHEDULE_NEVER. */
static int64_t next_run(const struct schedule *s, const struct schedule_state *state, struct schedule_now now)
{
	int64_t slot = SCHEDULE_NEVER;

	if (s->kind == SCHEDULE_CRON) {
		slot = cron_slot(s, state, now);
		return slot == SCHEDULE_NEVER ? slot : cron_run_of(s, slot);
	}
	if (s->kind == SCHEDULE_MANUAL)
		return slot;
	slot = now.wall_ms + (state->due_at_ms - now.elapsed_ms);
	return run_of(s, slot, draw(s, state->due_at_ms, s->every_ms));
}

/* ---- the caller's side ---- */

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t interval_of(const struct schedule *s, const struct schedule_state *state)
{
	return s->kind == SCHEDULE_ADAPTIVE ? state->interval_ms : s->every_ms;
}

/* As new: an interval runs at once, then at its own phase, so that a thousand of them do not go in step. */
static void start_anew(const struct schedule *s, struct schedule_state *state, struct schedule_now now)
{
	*state = (struct schedule_state){.taken_ms = now.wall_ms,
					 .taken_at_ms = now.elapsed_ms,
					 .due_at_ms = now.elapsed_ms,
					 .start_at_ms = SCHEDULE_NEVER,
					 .interval_ms = s->every_ms};
	if (s->kind == SCHEDULE_EVERY || s->kind == SCHEDULE_ADAPTIVE) {
		state->start_at_ms = now.elapsed_ms;
		state->due_at_ms += (int64_t)(s->seed % (uint64_t)s->every_ms);
	}
}

/* What is left of the interval; what is overdue is spread over the first minute. */
static void resume_interval(const struct schedule *s, struct schedule_state *state, int64_t distance,
			    struct schedule_now now)
{
	int64_t interval = interval_of(s, state), left;

	if (distance < 0 || distance > interval)
		distance = interval;
	if (__builtin_sub_overflow(state->taken_ms, now.wall_ms, &left) || left > 0)
		left = 0; /* the clock was put back: at most one interval from now */
	left += distance;
	if (left <= 0)
		left = (int64_t)(s->seed % (uint64_t)least(interval, CATCH_UP_MS));
	state->due_at_ms = now.elapsed_ms + left;
}

void schedule_start(const struct schedule *s, struct schedule_state *state, struct slice saved,
		    struct schedule_now now)
{
	struct wire_reader r = wire_reader_make(saved);
	uint8_t head = wire_u8(&r);
	int64_t taken = (int64_t)wire_u64(&r), distance = (int64_t)wire_u64(&r),
		interval = (int64_t)wire_u64(&r);

	start_anew(s, state, now);
	if (s->at_start)
		state->start_at_ms = now.elapsed_ms;
	if (r.bad || wire_left(&r) || head != (SAVED_VERSION | (uint8_t)s->kind) || taken < 0 ||
	    taken > INT64_MAX / 4)
		return;
	if (!s->at_start)
		state->start_at_ms = SCHEDULE_NEVER;
	state->taken_ms = taken;
	if (s->kind == SCHEDULE_ADAPTIVE)
		schedule_set_interval(s, state, least(interval, s->every_max_ms));
	if (s->kind == SCHEDULE_EVERY || s->kind == SCHEDULE_ADAPTIVE)
		resume_interval(s, state, distance, now);
}

int64_t schedule_wait(const struct schedule *s, const struct schedule_state *state, struct schedule_now now)
{
	int64_t run, start = state->start_at_ms;

	if (state->running)
		return SCHEDULE_NEVER;
	run = next_run(s, state, now);
	if (start != SCHEDULE_NEVER)
		run = least(run, now.wall_ms + (start > now.elapsed_ms ? start - now.elapsed_ms : 0));
	if (run == SCHEDULE_NEVER)
		return run;
	run = first_light(s, run > now.wall_ms ? run : now.wall_ms);
	return run - now.wall_ms;
}

/* The slots that have come are taken: of an interval the next is the first of its row after now. */
static void take_slots(const struct schedule *s, struct schedule_state *state, struct schedule_now now)
{
	state->taken_ms = now.wall_ms;
	state->taken_at_ms = now.elapsed_ms;
	if (s->kind == SCHEDULE_EVERY && state->due_at_ms <= now.elapsed_ms)
		state->due_at_ms += ((now.elapsed_ms - state->due_at_ms) / s->every_ms + 1) * s->every_ms;
	if (s->kind == SCHEDULE_ADAPTIVE)
		state->due_at_ms = now.elapsed_ms + state->interval_ms;
}

void schedule_begin(const struct schedule *s, struct schedule_state *state, struct schedule_now now)
{
	CHECK(!state->running);
	if (s->kind != SCHEDULE_CRON || next_run(s, state, now) <= now.wall_ms)
		take_slots(s, state, now);
	if (state->start_at_ms <= now.elapsed_ms)
		state->start_at_ms = SCHEDULE_NEVER;
	state->running = true;
}

void schedule_end(const struct schedule *s, struct schedule_state *state, struct schedule_now now)
{
	state->running = false;
	if (s->overlap == SCHEDULE_QUEUE || s->kind == SCHEDULE_MANUAL ||
	    next_run(s, state, now) > now.wall_ms)
		return;
	if (s->kind == SCHEDULE_ADAPTIVE) /* it was slow: the least distance from its end on */
		state->due_at_ms = now.elapsed_ms + s->every_ms;
	else
		take_slots(s, state, now);
}

void schedule_set_interval(const struct schedule *s, struct schedule_state *state, int64_t interval_ms)
{
	if (s->kind != SCHEDULE_ADAPTIVE)
		return;
	state->interval_ms = interval_ms > s->every_ms ? least(interval_ms, INT64_MAX / 8) : s->every_ms;
	state->due_at_ms = state->taken_at_ms + state->interval_ms;
}

void schedule_save(const struct schedule *s, const struct schedule_state *state, uint8_t *out)
{
	out = wire_put_u8(out, (uint8_t)(SAVED_VERSION | (uint8_t)s->kind));
	out = wire_put_u64(out, (uint64_t)state->taken_ms);
	out = wire_put_u64(out, (uint64_t)(state->due_at_ms - state->taken_at_ms));
	(void)wire_put_u64(out, (uint64_t)state->interval_ms);
}

bool schedule_clock_moved(struct schedule_now before, struct schedule_now after)
{
	int64_t drift = (after.wall_ms - before.wall_ms) - (after.elapsed_ms - before.elapsed_ms);

	return drift >= 1000 || drift <= -1000;
}

int64_t schedule_run_after(const struct schedule *s, int64_t wall_ms)
{
	int64_t slot = s->kind == SCHEDULE_CRON ? slot_after(s, wall_ms) : SCHEDULE_NEVER;

	return slot == SCHEDULE_NEVER ? slot : cron_run_of(s, slot);
}
