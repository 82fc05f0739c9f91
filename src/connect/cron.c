/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crontab times as sets of bits. The meaning of each form is that of cron(8)
 * by Vixie; what other programs add (seconds, L, W, #, ?, H, ~) is refused by
 * name, because half of them read it otherwise. Two forms that cron reads in
 * silence are refused as well: a step that leaves the first value alone, and
 * a day that no month has.
 *
 * The search goes by days and leaves out whole months that do not fit. The
 * rarest time there is, 29 February, comes within eight years; a weekday on it
 * (with a field such as x/28) within forty.
 */
#include "connect/cron.h"

enum { YEAR_MAX = 9999, YEARS_SEARCHED = 60 };

struct field {
	const char *name;
	int min, max;
	const char *const *names; /* of min, min + 1, ...; ends with NULL. May be NULL */
};

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
					  "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

enum { MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };
static const struct field fields[FIELDS] = {
	{"minute", 0, 59, NULL},          {"hour", 0, 23, NULL},
	{"day of month", 1, 31, NULL},    {"month", 1, 12, month_names},
	{"day of week", 0, 7, day_names},
};

static const struct {
	const char *name, *means;
} shorthands[] = {
	{"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
	{"@weekly", "0 0 * * 0"},   {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
	{"@annually", "0 0 1 1 *"},
};

/* ---- the calendar (Howard Hinnant's days_from_civil: years begin in March) ---- */

int64_t cron_days(struct cron_date d)
{
	int64_t y = d.year - (d.month <= 2);
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (d.month + (d.month > 2 ? -3 : 9)) + 2) / 5 + d.day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

struct cron_date cron_date(int64_t days)
{
	days += 719468;
	int64_t era = (days >= 0 ? days : days - 146096) / 146097;
	int64_t of_era = days - era * 146097;
	int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
	int64_t m = (5 * of_year + 2) / 153;
	int32_t month = (int32_t)(m < 10 ? m + 3 : m - 9);

	return (struct cron_date){.year = y + era * 400 + (month <= 2),
				  .month = month,
				  .day = (int32_t)(of_year - (153 * m + 2) / 5 + 1)};
}

static int32_t month_days(int64_t year, int32_t month)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && leap);
}

/* ---- parsing ---- */

static int name_index(const char *const *names, struct slice text)
{
	for (int i = 0; names && names[i]; i++)
		if (slice_eq_nocase(text, slice_str(names[i])))
			return i;
	return -1;
}

int cron_weekday(struct slice name)
{
	return name_index(day_names, name);
}

static int bad(struct fault *fault, const struct field *f, struct slice text, const char *why)
{
	return fault_set(fault, ERR_BAD_CONFIG, "the %s of a cron time is '%.*s': %s", f->name,
			 (int)(text.len > 40 ? 40 : text.len), text.ptr ? (const char *)text.ptr : "", why);
}

static int parse_value(const struct field *f, struct slice text, int *out, struct fault *fault)
{
	uint64_t n;
	int index = name_index(f->names, text);

	if (index >= 0) {
		*out = f->min + index;
		return 0;
	}
	if (!slice_to_u64(text, &n))
		return bad(fault, f, text,
			   "a number, *, a range such as 1-5, a step such as */5, or a list of them is right");
	if (n < (uint64_t)f->min || n > (uint64_t)f->max)
		return fault_set(fault, ERR_BAD_CONFIG,
				 "the %s of a cron time is %llu: it goes from %d to %d", f->name,
				 (unsigned long long)n, f->min, f->max);
	*out = (int)n;
	return 0;
}

/* `*`, `a` or `a-b`; *single where it is one value. */
static int parse_range(const struct field *f, struct slice text, int *low, int *high, bool *single,
		       struct fault *fault)
{
	struct slice to, from = slice_cut(text, '-', &to);
	int rc;

	*single = false;
	*low = f->min;
	*high = f == &fields[WEEKDAY] ? 6 : f->max;
	if (slice_eq_str(text, "*"))
		return 0;
	rc = parse_value(f, from, low, fault);
	if (rc)
		return rc;
	*single = !to.ptr;
	*high = *low;
	if (to.ptr) {
		rc = parse_value(f, to, high, fault);
		if (rc)
			return rc;
		if (f == &fields[WEEKDAY] && *high == 0 && name_index(day_names, to) == 0)
			*high = 7; /* fri-sun: the week of names ends with Sunday */
		if (*high < *low)
			return bad(fault, f, text, "the range goes backwards");
	}
	return 0;
}

static int parse_item(const struct field *f, struct slice text, uint64_t *bits, struct fault *fault)
{
	struct slice step_text, range = slice_cut(text, '/', &step_text);
	uint64_t step = 1;
	int low, high;
	bool single;
	int rc = parse_range(f, range, &low, &high, &single, fault);

	if (rc)
		return rc;
	if (step_text.ptr) {
		if (!slice_to_u64(step_text, &step) || !step)
			return bad(fault, f, text, "a step is a number above 0");
		if (single)
			return bad(fault, f, text, "a step needs a range or *, such as 5-59/15");
		if (step > (uint64_t)(high - low))
			return bad(fault, f, text,
				   "the step is longer than its range, it would give the first value alone");
	}
	for (int i = low; i <= high; i += (int)step)
		*bits |= (uint64_t)1 << i;
	return 0;
}

static int parse_field(const struct field *f, struct slice text, uint64_t *bits, struct fault *fault)
{
	struct slice rest = text;

	*bits = 0;
	do {
		struct slice item = slice_cut(rest, ',', &rest);
		int rc = parse_item(f, item, bits, fault);
		if (rc)
			return rc;
	} while (rest.ptr);
	return 0;
}

/* The next word; empty at the end. */
static struct slice next_word(struct slice *text)
{
	size_t at = 0, end;

	while (at < text->len && (text->ptr[at] == ' ' || text->ptr[at] == '\t'))
		at++;
	for (end = at; end < text->len && text->ptr[end] != ' ' && text->ptr[end] != '\t';)
		end++;
	struct slice word = slice_make(text->ptr + at, end - at);
	*text = slice_from(*text, end);
	return word;
}

static int expand_shorthand(struct slice *text, struct fault *fault)
{
	struct slice trimmed = slice_trim(*text);

	if (!trimmed.len || trimmed.ptr[0] != '@')
		return 0;
	for (size_t i = 0; i < sizeof(shorthands) / sizeof(shorthands[0]); i++) {
		if (slice_eq_nocase(trimmed, slice_str(shorthands[i].name))) {
			*text = slice_str(shorthands[i].means);
			return 0;
		}
	}
	if (slice_eq_nocase(trimmed, SLICE_LIT("@reboot")))
		return fault_set(fault, ERR_BAD_CONFIG,
				 "@reboot is not a time; at_start: true is what it means");
	return fault_set(
		fault, ERR_BAD_CONFIG,
		"a cron time with @ is @hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually");
}

/* The longest that a month of the set can be. */
static bool has_such_day(const struct cron *c)
{
	if (c->either_day)
		return true;
	for (int32_t month = 1; month <= 12; month++)
		for (int32_t day = 1; day <= month_days(2000, month); day++)
			if ((c->months >> month & 1) && (c->days >> day & 1))
				return true;
	return false;
}

int cron_parse(struct slice text, struct cron *out, struct fault *fault)
{
	uint64_t bits[FIELDS];
	bool starred[FIELDS];
	int rc = expand_shorthand(&text, fault);

	for (int i = 0; !rc && i < FIELDS; i++) {
		struct slice word = next_word(&text);
		if (!word.len)
			return fault_set(
				fault, ERR_BAD_CONFIG,
				"a cron time has five fields: minute hour day-of-month month day-of-week");
		starred[i] = word.ptr[0] == '*';
		rc = parse_field(&fields[i], word, &bits[i], fault);
	}
	if (rc)
		return rc;
	if (next_word(&text).len)
		return fault_set(fault, ERR_BAD_CONFIG,
				 "a cron time has five fields, this has more; for seconds there is every");
	*out = (struct cron){.minutes = bits[MINUTE],
			     .hours = (uint32_t)bits[HOUR],
			     .days = (uint32_t)bits[DAY],
			     .months = (uint16_t)bits[MONTH],
			     .weekdays = (uint8_t)((bits[WEEKDAY] | bits[WEEKDAY] >> 7) & 0x7f),
			     .either_day = !starred[DAY] && !starred[WEEKDAY]};
	if (!has_such_day(out))
		return fault_set(fault, ERR_BAD_CONFIG,
				 "the cron time never comes: none of its months has such a day");
	return 0;
}

/* ---- the search ---- */

static bool day_fits(const struct cron *c, int64_t days, int32_t day)
{
	int64_t weekday = ((days + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
	bool by_date = c->days >> day & 1;
	bool by_week = c->weekdays >> weekday & 1;

	return c->either_day ? by_date || by_week : by_date && by_week;
}

/* The first day on or after `days` that fits, or CRON_NEVER. */
static int64_t next_day(const struct cron *c, int64_t days)
{
	struct cron_date d = cron_date(days);
	int64_t last = d.year + YEARS_SEARCHED < YEAR_MAX ? d.year + YEARS_SEARCHED : YEAR_MAX;

	while (d.year <= last) {
		int32_t length = month_days(d.year, d.month);
		for (; (c->months >> d.month & 1) && d.day <= length; d.day++, days++)
			if (day_fits(c, days, d.day))
				return days;
		days += length - d.day + 1;
		d.day = 1;
		d.year += d.month == 12;
		d.month = d.month % 12 + 1;
	}
	return CRON_NEVER;
}

/* The first minute of the day from `minute` on that fits, or -1. */
static int32_t next_minute(const struct cron *c, int32_t minute)
{
	for (int32_t hour = minute / 60; hour < 24; hour++, minute = hour * 60) {
		uint64_t left = c->minutes >> (minute % 60);
		if ((c->hours >> hour & 1) && left)
			return minute + __builtin_ctzll(left);
	}
	return -1;
}

int64_t cron_next(const struct cron *c, int64_t wall)
{
	int64_t minute = wall / 60 - (wall % 60 < 0) + 1;
	int64_t day = minute / 1440 - (minute % 1440 < 0);
	int64_t first = next_day(c, day);
	int32_t found = first == day ? next_minute(c, (int32_t)(minute - day * 1440)) : -1;

	if (found < 0) {
		if (first == day)
			first = next_day(c, day + 1);
		found = next_minute(c, 0);
	}
	return first == CRON_NEVER ? CRON_NEVER : (first * 1440 + found) * 60;
}

bool cron_is_hourly(const struct cron *c)
{
	return c->hours == 0xffffff;
}
