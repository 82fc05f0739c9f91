/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A zone is a sorted table of moments at which the offset changes, and for the
 * time after the last of them the rule of the footer (a POSIX TZ string, RFC
 * 8536 section 3.3), from which changes are computed as they are asked for.
 * Changes of the name alone are dropped while reading.
 *
 * Both questions of a schedule walk over the changes of two days around the
 * moment, because no offset is as large as 26 hours.
 *
 * Rejected: localtime_r() with TZ set, which is one zone for all threads; the
 * glibc-internal parser, which is not exported; to unfold the rule into a table
 * up to some year, which is larger and ends.
 */
#include "connect/zone.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/wire.h"
#include "connect/cron.h"

enum { HOUR = 3600, DAY = 86400, WINDOW = 2 * ZONE_OFFSET_MAX };

/* What a caller may ask for without overflow in the arithmetic here: some hundred million years. */
#define MOMENT_MAX ((int64_t)1 << 53)

struct change {
	int64_t at;
	int32_t offset; /* from then on */
};

enum rule_form { RULE_JULIAN, RULE_DAY, RULE_WEEKDAY };

/* One half of a POSIX rule: a day of the year and a time on it. */
struct rule {
	enum rule_form form;
	int32_t month, week, day; /* of RULE_WEEKDAY; day: of the year for the others */
	int32_t seconds;
};

struct footer {
	bool present, has_dst;
	int32_t std_offset, dst_offset;
	struct rule start, end;
};

struct zone {
	struct footer footer;
	int64_t rule_from;    /* the last change in the table, of whatever: from then on the footer holds */
	int32_t first_offset; /* before the first change */
	int32_t last_offset;  /* behind the last */
	uint32_t count;
	struct change changes[];
};

/* ---- the footer ---- */

struct text {
	const uint8_t *at, *end;
};

static bool take(struct text *t, char c)
{
	if (t->at == t->end || *t->at != (uint8_t)c)
		return false;
	t->at++;
	return true;
}

static bool take_number(struct text *t, int32_t max, int32_t *out)
{
	int32_t n = 0;
	const uint8_t *from = t->at;

	while (t->at < t->end && *t->at >= '0' && *t->at <= '9' && n <= max)
		n = n * 10 + (*t->at++ - '0');
	*out = n;
	return t->at > from && n <= max;
}

/* NAME of three letters or more, or <...>. */
static bool take_name(struct text *t)
{
	const uint8_t *from = t->at;

	if (take(t, '<')) {
		while (t->at < t->end && *t->at != '>')
			t->at++;
		return take(t, '>');
	}
	while (t->at < t->end && (*t->at | 0x20) >= 'a' && (*t->at | 0x20) <= 'z')
		t->at++;
	return t->at - from >= 3;
}

/* [+-]hh[:mm[:ss]] */
static bool take_hms(struct text *t, int32_t hours_max, int32_t *out)
{
	int32_t h, m = 0, s = 0;
	bool minus = take(t, '-');

	if (!minus)
		(void)take(t, '+');
	if (!take_number(t, hours_max, &h))
		return false;
	if (take(t, ':') && !take_number(t, 59, &m))
		return false;
	if (m >= 0 && t->at < t->end && *t->at == ':' && (!take(t, ':') || !take_number(t, 59, &s)))
		return false;
	*out = (h * HOUR + m * 60 + s) * (minus ? -1 : 1);
	return true;
}

static bool take_rule(struct text *t, struct rule *r)
{
	r->seconds = 2 * HOUR;
	if (take(t, 'M')) {
		r->form = RULE_WEEKDAY;
		if (!take_number(t, 12, &r->month) || !take(t, '.') || !take_number(t, 5, &r->week) ||
		    !take(t, '.') || !take_number(t, 6, &r->day) || !r->month || !r->week)
			return false;
	} else if (take(t, 'J')) {
		r->form = RULE_JULIAN;
		if (!take_number(t, 365, &r->day) || !r->day)
			return false;
	} else {
		r->form = RULE_DAY;
		if (!take_number(t, 365, &r->day))
			return false;
	}
	return !take(t, '/') || take_hms(t, 167, &r->seconds);
}

/* Offsets of POSIX count west as positive. */
static bool parse_footer(struct slice s, struct footer *f)
{
	struct text t = {s.ptr, s.ptr + s.len};
	int32_t west;

	*f = (struct footer){.present = s.len > 0};
	if (!f->present)
		return true;
	if (!take_name(&t) || !take_hms(&t, 24, &west))
		return false;
	f->std_offset = -west;
	f->dst_offset = -west + HOUR;
	if (t.at == t.end)
		return true;
	f->has_dst = true;
	if (!take_name(&t))
		return false;
	if (t.at < t.end && *t.at != ',') {
		if (!take_hms(&t, 24, &west))
			return false;
		f->dst_offset = -west;
	}
	return take(&t, ',') && take_rule(&t, &f->start) && take(&t, ',') && take_rule(&t, &f->end) &&
	       t.at == t.end;
}

static bool is_leap(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* The day that a rule names in a year, since 1970. */
static int64_t rule_day(const struct rule *r, int64_t year)
{
	int64_t first = cron_days((struct cron_date){year, 1, 1});

	if (r->form == RULE_DAY)
		return first + r->day;
	if (r->form == RULE_JULIAN) /* 29 February is never counted */
		return first + r->day - 1 + (is_leap(year) && r->day >= 60);
	int64_t month = cron_days((struct cron_date){year, r->month, 1});
	int64_t next = r->month == 12 ? cron_days((struct cron_date){year + 1, 1, 1}) :
					cron_days((struct cron_date){year, r->month + 1, 1});
	int64_t weekday = ((month + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
	int64_t day = month + (r->day - weekday + 7) % 7 + (int64_t)(r->week - 1) * 7;
	return day >= next ? day - 7 : day;
}

/* When daylight saving begins in a year, and when that ends. */
static void saving_of(const struct footer *f, int64_t year, int64_t *from, int64_t *to)
{
	*from = rule_day(&f->start, year) * DAY + f->start.seconds - f->std_offset;
	*to = rule_day(&f->end, year) * DAY + f->end.seconds - f->dst_offset;
	if (*to <= *from)
		*to = rule_day(&f->end, year + 1) * DAY + f->end.seconds - f->dst_offset;
}

static int64_t year_of(int64_t at)
{
	int64_t days = at / DAY - (at % DAY < 0);

	return cron_date(days).year;
}

static int32_t footer_offset(const struct footer *f, int64_t at)
{
	int64_t year = year_of(at), from, to;

	for (int64_t y = year - 2; f->has_dst && y <= year + 1; y++) {
		saving_of(f, y, &from, &to);
		if (from <= at && at < to)
			return f->dst_offset;
	}
	return f->std_offset;
}

/* Keeps the earlier of two ends where the offset does change after `at`. */
static void consider(const struct footer *f, int64_t end, int64_t at, int64_t *best)
{
	if (end > at && end < *best && footer_offset(f, end) != footer_offset(f, end - 1))
		*best = end;
}

static int64_t footer_next(const struct footer *f, int64_t at)
{
	int64_t year = year_of(at), best = ZONE_NEVER, from, to;

	for (int64_t y = year - 2; f->has_dst && y <= year + 2; y++) {
		saving_of(f, y, &from, &to);
		consider(f, from, at, &best);
		consider(f, to, at, &best);
	}
	return best;
}

/* ---- the file ---- */

struct counts {
	uint8_t version;
	uint32_t utc, standard, leap, times, types, chars;
};

static bool read_header(struct wire_reader *r, struct counts *c)
{
	struct slice magic = wire_bytes(r, 4);

	c->version = wire_u8(r);
	(void)wire_bytes(r, 15);
	c->utc = wire_u32(r);
	c->standard = wire_u32(r);
	c->leap = wire_u32(r);
	c->times = wire_u32(r);
	c->types = wire_u32(r);
	c->chars = wire_u32(r);
	return !r->bad && slice_eq_str(magic, "TZif") &&
	       (c->version == 0 || (c->version >= '2' && c->version <= '9'));
}

/* Bytes of the block behind a header whose times take `width` bytes. */
static uint64_t block_bytes(const struct counts *c, uint64_t width)
{
	return c->times * (width + 1) + (uint64_t)c->types * 6 + c->chars + c->leap * (width + 4) +
	       c->standard + c->utc;
}

static int bad_file(struct fault *fault, const char *what)
{
	return fault_set(fault, ERR_BAD_CONFIG, "is no time zone file: %s", what);
}

/* The offset of a type; false past the table or where it can not be. */
static bool type_offset(struct slice types, uint32_t type, int32_t *out)
{
	if ((uint64_t)type * 6 + 6 > types.len)
		return false;
	*out = (int32_t)wire_load_u32(types.ptr + (size_t)type * 6);
	return *out > -ZONE_OFFSET_MAX && *out < ZONE_OFFSET_MAX;
}

/* The changes of a block into z; width: bytes of a time. */
static int read_changes(struct zone *z, struct wire_reader *r, const struct counts *c, size_t width,
			struct fault *fault)
{
	struct slice times = wire_bytes(r, c->times * width);
	struct slice which = wire_bytes(r, c->times);
	struct slice types = wire_bytes(r, (size_t)c->types * 6);
	int64_t at, last = INT64_MIN;
	int32_t offset;

	(void)wire_bytes(r, c->chars + c->standard + c->utc);
	if (r->bad || !type_offset(types, 0, &z->first_offset))
		return bad_file(fault, "it is cut short, or an offset is out of range");
	offset = z->first_offset;
	for (uint32_t i = 0; i < c->times; i++) {
		int32_t before = offset;
		at = width == 8 ? (int64_t)wire_load_u64(times.ptr + i * width) :
				  (int32_t)wire_load_u32(times.ptr + i * width);
		if ((i && at <= last) || !type_offset(types, which.ptr[i], &offset))
			return bad_file(fault, "its changes are not in order, or of a type that it has not");
		if (at > MOMENT_MAX)
			return bad_file(fault, "a change is too late");
		last = at;
		z->rule_from = at < -MOMENT_MAX ? -MOMENT_MAX : at; /* some files begin with the big bang */
		if (offset == before)
			continue;
		z->changes[z->count++] = (struct change){at, offset};
	}
	z->last_offset = offset;
	return 0;
}

/* "\n" TZ "\n" to the end of the file. Where the table ends the rule has to say what it says. */
static int read_footer(struct zone *z, struct wire_reader *r, struct fault *fault)
{
	struct slice rest = wire_bytes(r, wire_left(r));
	const uint8_t *end;

	if (rest.len < 2 || rest.ptr[0] != '\n')
		return bad_file(fault, "it has no footer");
	end = memchr(rest.ptr + 1, '\n', rest.len - 1);
	if (!end || !parse_footer(slice_make(rest.ptr + 1, (size_t)(end - rest.ptr) - 1), &z->footer))
		return bad_file(fault, "the rule in its footer can not be read");
	if (z->footer.present && z->rule_from != INT64_MIN &&
	    footer_offset(&z->footer, z->rule_from) != z->last_offset)
		return bad_file(fault, "its footer contradicts its last change");
	return 0;
}

int zone_parse(struct slice file, struct zone **out, struct fault *fault)
{
	struct wire_reader r = wire_reader_make(file);
	struct counts c = {0};
	size_t width = 4;
	int rc;

	if (file.len > ZONE_FILE_BYTES_MAX || !read_header(&r, &c))
		return bad_file(fault, "its beginning is not that of one");
	if (c.version >= '2') {
		width = 8;
		if (!wire_take(&r, block_bytes(&c, 4)) || !read_header(&r, &c))
			return bad_file(fault, "it is cut short");
	}
	if (c.leap)
		return bad_file(fault, "it counts leap seconds, as those of right/ do");
	if (c.times > ZONE_TRANSITIONS_MAX || !c.types || c.types > 256 ||
	    block_bytes(&c, width) > wire_left(&r))
		return bad_file(fault, "its tables do not fit into it");
	struct zone *z = mem_zalloc(1, sizeof(*z) + c.times * sizeof(z->changes[0]));
	if (!z)
		return ERR_NOMEM;
	z->rule_from = INT64_MIN;
	rc = read_changes(z, &r, &c, width, fault);
	if (!rc && width == 8)
		rc = read_footer(z, &r, fault);
	if (rc) {
		zone_free(z);
		return rc;
	}
	*out = z;
	return 0;
}

static bool is_zone_name(struct slice name)
{
	if (!name.len || name.len > ZONE_NAME_BYTES_MAX || name.ptr[0] == '/')
		return false;
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i];
		bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
		if (!letter && !(c >= '0' && c <= '9') && !strchr("+-_/", c))
			return false;
	}
	return true;
}

static int read_file(const struct sys *sys, const char *path, struct buf *out)
{
	int fd = sys->ops->open(sys->self, path, SYS_READ);
	int64_t n = fd;

	if (fd < 0)
		return fd;
	if (!buf_reserve(out, ZONE_FILE_BYTES_MAX))
		n = sys->ops->pread(sys->self, fd, out->ptr, ZONE_FILE_BYTES_MAX, 0);
	sys->ops->close(sys->self, fd);
	out->len = n > 0 ? (size_t)n : 0;
	return n < 0 ? (int)n : 0;
}

int zone_load(const struct sys *sys, const char *dir, struct slice name, struct zone **out,
	      struct fault *fault)
{
	char path[512];
	struct buf file;
	struct fault why = {0};
	int rc;

	if (slice_eq_str(name, "UTC")) {
		*out = mem_zalloc(1, sizeof(**out));
		return *out ? 0 : ERR_NOMEM;
	}
	if (!is_zone_name(name))
		return fault_set(fault, ERR_BAD_CONFIG, "a time zone is a name such as Europe/Berlin or UTC");
	(void)snprintf(path, sizeof(path), "%s/%.*s", dir ? dir : "/usr/share/zoneinfo", (int)name.len,
		       name.ptr);
	buf_init(&file, ZONE_FILE_BYTES_MAX);
	rc = read_file(sys, path, &file);
	if (buf_status(&file))
		rc = ERR_NOMEM;
	else if (rc)
		rc = fault_set(fault, ERR_BAD_CONFIG,
			       "there is no time zone %.*s (%s: %s); is tzdata installed?", (int)name.len,
			       name.ptr, path, sys_error_text(rc));
	else if ((rc = zone_parse(buf_slice(&file), out, &why)) == ERR_BAD_CONFIG)
		rc = fault_set(fault, rc, "%s %s", path, why.text);
	buf_fini(&file);
	return rc;
}

void zone_free(struct zone *z)
{
	mem_free(z);
}

/* ---- questions ---- */

static int64_t in_range(int64_t at)
{
	return at > MOMENT_MAX ? MOMENT_MAX : at < -MOMENT_MAX ? -MOMENT_MAX : at;
}

/* How many changes are at or before a moment. */
static uint32_t changes_until(const struct zone *z, int64_t at)
{
	uint32_t low = 0, high = z->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (z->changes[middle].at <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int32_t zone_offset(const struct zone *z, int64_t at)
{
	at = in_range(at);
	uint32_t n = changes_until(z, at);

	if (at >= z->rule_from && z->footer.present)
		return footer_offset(&z->footer, at);
	return n ? z->changes[n - 1].offset : z->first_offset;
}

int64_t zone_next_change(const struct zone *z, int64_t at)
{
	at = in_range(at);
	uint32_t n = changes_until(z, at);

	if (n < z->count)
		return z->changes[n].at;
	return z->footer.present ? footer_next(&z->footer, at > z->rule_from ? at : z->rule_from) :
				   ZONE_NEVER;
}

int64_t zone_wall_reached(const struct zone *z, int64_t at)
{
	int64_t best, t;

	at = in_range(at);
	best = zone_wall(z, at);
	t = at - WINDOW;
	while ((t = zone_next_change(z, t)) <= at) {
		int64_t shown = zone_wall(z, t - 1);
		if (shown > best)
			best = shown;
	}
	return best;
}

int64_t zone_first(const struct zone *z, int64_t wall)
{
	int64_t from, at, end;

	wall = in_range(wall);
	from = wall - ZONE_OFFSET_MAX;
	for (;;) {
		at = wall - zone_offset(z, from);
		end = zone_next_change(z, from);
		if (at < from)
			at = from;
		if (at < end)
			return at;
		from = end;
	}
}
