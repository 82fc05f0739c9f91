/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wire.h"
#include "connect/sql/mark.h"

void sql_mark_fini(struct sql_mark *m)
{
	buf_fini(&m->low_memory);
	buf_fini(&m->top_memory);
	buf_fini(&m->open);
	buf_fini(&m->columns);
	for (uint32_t i = 0; i < SQL_FORMERS_MAX; i++) {
		buf_fini(&m->formers[i].columns);
		buf_fini(&m->formers[i].memory);
	}
	for (uint32_t i = 0; i < SQL_HISTORY_MAX; i++)
		buf_fini(&m->past[i].memory);
}

void sql_mark_init(struct sql_mark *m)
{
	memset(m, 0, sizeof(*m));
	buf_init(&m->low_memory, SOURCE_CHECKPOINT_MAX);
	buf_init(&m->top_memory, SOURCE_CHECKPOINT_MAX);
	buf_init(&m->open, SQL_OPEN_MAX);
	buf_init(&m->columns, SQL_COLUMNS_MAX * 4);
	for (uint32_t i = 0; i < SQL_FORMERS_MAX; i++) {
		buf_init(&m->formers[i].columns, SQL_COLUMNS_MAX * 4);
		buf_init(&m->formers[i].memory, SOURCE_CHECKPOINT_MAX);
	}
	for (uint32_t i = 0; i < SQL_HISTORY_MAX; i++)
		buf_init(&m->past[i].memory, SOURCE_CHECKPOINT_MAX);
}

static void put_u64(struct buf *out, uint64_t v)
{
	uint8_t bytes[8];

	wire_put_u64(bytes, v);
	(void)buf_append(out, bytes, sizeof(bytes));
}

static void put_bytes(struct buf *out, struct slice bytes)
{
	uint8_t len[2];

	wire_put_u16(len, (uint16_t)bytes.len);
	(void)buf_append(out, len, sizeof(len));
	(void)buf_append_slice(out, bytes);
}

static bool read_bytes(struct wire_reader *r, struct buf *out)
{
	struct slice bytes = wire_bytes(r, wire_u16(r));

	return !r->bad && buf_append_slice(out, bytes) == 0;
}

static void put_formers(struct buf *out, const struct sql_mark *m)
{
	(void)buf_append_byte(out, (uint8_t)m->former_count);
	for (uint32_t i = 0; i < m->former_count; i++) {
		put_u64(out, m->formers[i].stood);
		put_bytes(out, buf_slice(&m->formers[i].columns));
		sql_point_put(out, &m->formers[i].until);
	}
}

static bool read_point(struct wire_reader *r, struct sql_point *p, struct buf *memory)
{
	return sql_point_read(r, p) && sql_point_keep(p, memory) == 0;
}

static bool read_formers(struct wire_reader *r, struct sql_mark *m)
{
	m->former_count = wire_u8(r);
	if (m->former_count > SQL_FORMERS_MAX)
		return false;
	for (uint32_t i = 0; i < m->former_count; i++) {
		struct sql_former *f = &m->formers[i];
		f->stood = wire_u64(r);
		if (!read_bytes(r, &f->columns) || !read_point(r, &f->until, &f->memory))
			return false;
	}
	return true;
}

int sql_mark_write(const struct sql_mark *m, const struct sql_reader *r, struct buf *out)
{
	buf_clear(out);
	put_u64(out, m->horizon);
	put_u64(out, m->ceiling);
	(void)buf_append_byte(out, (uint8_t)(m->has_low | m->scanning << 1 | r->has_place << 2 |
					     m->has_top << 3 | (m->open.len > 0) << 4 |
					     (m->columns.len > 0) << 5 | (m->former_count > 0) << 6));
	if (m->has_low)
		sql_point_put(out, &m->low);
	if (m->scanning)
		put_u64(out, m->scan_horizon);
	if (r->has_place)
		sql_point_put(out, &r->place);
	if (m->has_top)
		sql_point_put(out, &m->top);
	if (m->open.len)
		put_bytes(out, buf_slice(&m->open));
	if (m->columns.len)
		put_bytes(out, buf_slice(&m->columns));
	if (m->former_count)
		put_formers(out, m);
	(void)buf_append_byte(out, (uint8_t)m->past_count);
	for (uint32_t i = 0; i < m->past_count; i++) {
		put_u64(out, m->past[i].stood);
		sql_point_put(out, &m->past[i].top);
	}
	return buf_status(out);
}

bool sql_mark_read(struct sql_mark *m, struct sql_reader *r, struct slice bytes)
{
	struct wire_reader in = wire_reader_make(bytes);
	uint8_t flags;

	m->horizon = wire_u64(&in);
	m->ceiling = wire_u64(&in);
	flags = wire_u8(&in);
	m->has_low = flags & 1;
	m->scanning = flags & 2;
	r->has_place = flags & 4;
	m->has_top = flags & 8;
	if (m->has_low && !read_point(&in, &m->low, &m->low_memory))
		return false;
	if (m->scanning)
		m->scan_horizon = wire_u64(&in);
	if (r->has_place && !read_point(&in, &r->place, &r->place_memory))
		return false;
	if (m->has_top && !read_point(&in, &m->top, &m->top_memory))
		return false;
	if (flags & 16 && !read_bytes(&in, &m->open))
		return false;
	if (flags & 32 && !read_bytes(&in, &m->columns))
		return false;
	if (flags & 64 && !read_formers(&in, m))
		return false;
	m->past_count = wire_u8(&in);
	if (m->past_count > SQL_HISTORY_MAX)
		return false;
	for (uint32_t i = 0; i < m->past_count; i++) {
		m->past[i].stood = wire_u64(&in);
		if (!read_point(&in, &m->past[i].top, &m->past[i].memory))
			return false;
	}
	return !in.bad && wire_left(&in) == 0 && flags < 128;
}

/* The first so many are of no more use. */
static void drop_formers(struct sql_mark *m, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		buf_fini(&m->formers[i].columns);
		buf_fini(&m->formers[i].memory);
	}
	m->former_count -= n;
	memmove(m->formers, m->formers + n, m->former_count * sizeof(*m->formers));
	for (uint32_t i = m->former_count; i < m->former_count + n; i++) {
		m->formers[i] = (struct sql_former){0};
		buf_init(&m->formers[i].columns, SQL_COLUMNS_MAX * 4);
		buf_init(&m->formers[i].memory, SOURCE_CHECKPOINT_MAX);
	}
}

int sql_mark_columns(struct sql_mark *m, struct slice columns, const struct sql_point *top, uint64_t stood)
{
	struct sql_former *f;

	if (m->columns.len && !slice_eq(buf_slice(&m->columns), columns)) {
		if (m->former_count == SQL_FORMERS_MAX)
			drop_formers(m, 1);
		f = &m->formers[m->former_count];
		f->stood = stood;
		f->until = *top;
		if (buf_append_slice(&f->columns, buf_slice(&m->columns)) ||
		    sql_point_keep(&f->until, &f->memory))
			return ERR_NOMEM;
		m->former_count++;
	}
	buf_clear(&m->columns);
	return buf_append_slice(&m->columns, columns);
}

/* The pair says that the bound rises past all that was stored before this change: its value was seen after it, and is another. */
static bool is_past(const struct sql_past *p, const struct sql_former *f)
{
	return p->stood > f->stood && !sql_point_eq(&p->top, &f->until);
}

/* Moves an entry, with its memory, and leaves the other empty. */
static void past_move(struct sql_past *to, struct sql_past *from)
{
	buf_fini(&to->memory);
	*to = *from;
	buf_init(&from->memory, SOURCE_CHECKPOINT_MAX);
	from->top = (struct sql_point){0};
}

/* Half of a full history goes: what stays is a little older than it could be, and so reads a little more. */
static void thin(struct sql_mark *m)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->past_count; i += 2, n++)
		if (n != i)
			past_move(&m->past[n], &m->past[i]);
	m->past_count = n;
}

static int keep_past(struct sql_mark *m, uint64_t stood)
{
	struct sql_past *p;

	if (m->past_count && sql_point_eq(&m->past[m->past_count - 1].top, &m->top))
		return 0; /* says nothing new */
	if (m->past_count == SQL_HISTORY_MAX)
		thin(m);
	p = &m->past[m->past_count];
	p->stood = stood;
	p->top = m->top;
	if (sql_point_keep(&p->top, &p->memory))
		return ERR_NOMEM;
	m->past_count++;
	return 0;
}

int sql_mark_remember(struct sql_mark *m, uint64_t stood, const struct sql_point *top)
{
	if (m->has_top && keep_past(m, stood))
		return ERR_NOMEM;
	m->has_top = top != NULL;
	m->top = top ? *top : (struct sql_point){0};
	return sql_point_keep(&m->top, &m->top_memory);
}

/* Is the transaction among those? Names stand one blank apart. */
static bool is_among(struct slice name, struct slice all)
{
	const uint8_t *end = all.ptr + all.len;

	for (const uint8_t *at = all.ptr;
	     at < end && (at = memmem(at, (size_t)(end - at), name.ptr, name.len)); at++)
		if ((at == all.ptr || at[-1] == ' ') && (at + name.len == end || at[name.len] == ' '))
			return true;
	return false;
}

/* Of those that are waited for, the ones that are still open. */
static void keep_open(struct buf *waited, struct slice open)
{
	size_t kept = 0;

	for (size_t at = 0, end; at < waited->len; at = end + 1) {
		end = at;
		while (end < waited->len && waited->ptr[end] != ' ')
			end++;
		if (!is_among(slice_make(waited->ptr + at, end - at), open))
			continue;
		if (kept)
			waited->ptr[kept++] = ' ';
		memmove(waited->ptr + kept, waited->ptr + at, end - at);
		kept += end - at;
	}
	waited->len = kept;
}

int sql_mark_await(struct sql_mark *m, uint64_t stood, const struct sql_point *top, struct slice open)
{
	if (m->has_top &&
	    m->open.len == 0) { /* since the question before, so this snapshot knows the number of each */
		if (keep_past(m, stood))
			return ERR_NOMEM;
		m->has_top = false;
	}
	keep_open(&m->open, open);
	if (m->has_top || !top || open.len > SQL_OPEN_MAX)
		return 0;
	buf_clear(&m->open);
	if (buf_append_slice(&m->open, open))
		return ERR_NOMEM;
	m->has_top = true;
	m->top = *top;
	return sql_point_keep(&m->top, &m->top_memory);
}

int sql_mark_raise(struct sql_mark *m, uint64_t closed)
{
	uint32_t n = m->past_count;

	while (n && m->past[n - 1].stood > closed)
		n--;
	if (n == 0)
		return 0;
	while (m->former_count && is_past(&m->past[n - 1], &m->formers[0]))
		drop_formers(m, 1);
	m->low = m->past[n - 1].top;
	if (sql_point_keep(&m->low, &m->low_memory))
		return ERR_NOMEM;
	m->has_low = true;
	for (uint32_t i = n; i < m->past_count; i++)
		past_move(&m->past[i - n], &m->past[i]);
	m->past_count -= n;
	return 0;
}
