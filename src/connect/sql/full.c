/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole table, in ranges of its key that several workers read at once. The part "" is the run: pulled by the
 * schedule, it cuts the table into ranges and asks for a plan, which names a part for each. On PostgreSQL all ranges are read in
 * one snapshot, held by a session of the source's own until the last one is done; elsewhere, and after
 * a restart, each begins in a snapshot of its own. Rows come in the order of the key, so that a range goes on behind the row that was
 * entered last, and a row that stays in the table is read once whatever happens.
 */
#include <stdio.h>

#include "base/mem.h"
#include "base/wire.h"
#include "connect/sql/cut.h"
#include "json/json_write.h"

#define VERSION 2u

/* ---- the run ---- */

struct run {
	uint64_t number; /* 0: none yet */
	struct sql_ranges ranges;
};

static int run_write(const struct run *run, struct buf *out)
{
	uint8_t bytes[8];

	wire_put_u64(bytes, run->number);
	(void)buf_append(out, bytes, sizeof(bytes));
	wire_put_u64(bytes, run->ranges.rows);
	(void)buf_append(out, bytes, sizeof(bytes));
	(void)buf_append_byte(out, (uint8_t)(run->ranges.count - 1));
	for (uint32_t i = 0; i + 1 < run->ranges.count; i++)
		sql_point_put(out, &run->ranges.bounds[i]);
	return buf_status(out);
}

static bool run_read(struct run *run, struct source_checkpoint checkpoint)
{
	struct wire_reader r = wire_reader_make(checkpoint.bytes);

	*run = (struct run){0};
	if (!checkpoint.bytes.ptr)
		return true;
	run->number = wire_u64(&r);
	run->ranges.rows = wire_u64(&r);
	run->ranges.count = wire_u8(&r) + 1u;
	for (uint32_t i = 0; i + 1 < run->ranges.count; i++)
		if (!sql_point_read(&r, &run->ranges.bounds[i]) || run->ranges.bounds[i].count != 1)
			return false;
	return checkpoint.version == VERSION && !r.bad && wire_left(&r) == 0;
}

/* ---- ranges ---- */

struct range {
	struct sql_point lower, upper; /* [lower, upper) of the key's first column; count 0: open */
	struct sql_point place;        /* count 0: at the beginning */
};

static int range_write(const struct range *range, struct buf *out)
{
	buf_clear(out);
	sql_point_put(out, &range->lower);
	sql_point_put(out, &range->upper);
	sql_point_put(out, &range->place);
	return buf_status(out);
}

static bool range_read(struct range *range, struct source_checkpoint checkpoint)
{
	struct wire_reader r = wire_reader_make(checkpoint.bytes);

	return checkpoint.version == VERSION && sql_point_read(&r, &range->lower) &&
	       sql_point_read(&r, &range->upper) && sql_point_read(&r, &range->place) &&
	       range->lower.count <= 1 && range->upper.count <= 1 && wire_left(&r) == 0;
}

/* ---- the part "" ---- */

static int begin_run(struct sql_source *s, struct source_part *part, struct run *run, struct arena *arena,
		     struct sql_failure *why)
{
	struct sql_held *held = sql_take(s, part, why);
	int rc;

	if (!held)
		return ERR_IO;
	if (run->number > 1) /* nothing else of the source is at work: whatever has become of the table */
		sql_forget_table(s, true);
	rc = sql_learn_table(s, held->session, why);
	if (!rc && !s->table.key_count && sql_is_bounded(s))
		rc = sql_failed(
			why, ERR_BAD_PARAMETER, SOURCE_FINAL, false, "",
			"--from and --to are values of the key, and the table has no primary key: name one with `key`");
	if (!rc)
		rc = sql_snapshot_keep(s, arena, why);
	if (!rc)
		rc = sql_cut(s, held->session, arena, &run->ranges, why);
	sql_give(s, held, !why->lost);
	return rc;
}

/* Once a run of the schedule: the plan behind the last range, which is of the same one, has all parts pulled again too. */
static bool begins_again(struct sql_source *s)
{
	if (!s->settings->repeat || atomic_load(&s->left) || atomic_load(&s->ended))
		return false;
	return !atomic_exchange(&s->rests, false);
}

static enum source_end pull_run(struct sql_source *s, struct source_part *part, struct source_batch *batch)
{
	struct sql_failure why = {0};
	struct arena arena;
	struct buf out;
	struct run *run = mem_zalloc(1, sizeof(*run));
	int rc = 0;

	if (!run || !run_read(run, part->checkpoint)) {
		mem_free(run);
		return run ? source_fail(&batch->call, SOURCE_FINAL,
					 "the checkpoint is none that this weir reads") :
			     source_fail(&batch->call, SOURCE_TRANSIENT, "out of memory");
	}
	if (run->number && !begins_again(s)) {
		bool over = !s->settings->repeat && !atomic_load(&s->left);
		mem_free(run);
		return over ? SOURCE_DONE : SOURCE_IDLE;
	}
	arena_init(&arena, 16384, 4u << 20);
	buf_init(&out, SOURCE_CHECKPOINT_MAX);
	run->number++;
	batch->call.requests++;
	rc = begin_run(s, part, run, &arena, &why);
	if (!rc && (run_write(run, &out) || source_mark(batch, VERSION, buf_slice(&out))))
		rc = sql_failed(&why, ERR_LIMIT, SOURCE_FINAL, false, "",
				"the bounds of the ranges are too long: raise chunk_rows");
	if (!rc && !s->table.key_count)
		source_warn(
			s->setup.source,
			"%s has no primary key: after a crash in the middle its rows come once more; name one with `key`",
			s->settings->table);
	atomic_store(&s->left, run->ranges.count); /* until the plan has counted */
	buf_fini(&out);
	arena_fini(&arena);
	mem_free(run);
	if (rc)
		return sql_fail(&batch->call, s, "cutting the table into ranges", &why);
	source_plan_again(s->setup.source);
	return SOURCE_IDLE;
}

/* ---- the plan ---- */

static int add_range(struct source_plan *plan, const struct run *run, uint32_t i, struct buf *out, bool *done)
{
	struct source_plan_part p = {.title = slice_null(), .total = run->ranges.rows / run->ranges.count};
	struct source_checkpoint found;
	struct range *range = mem_zalloc(1, sizeof(*range));
	char name[64];
	int rc;

	if (!range)
		return ERR_NOMEM;
	p.name = slice_make(name, (size_t)snprintf(name, sizeof(name), "%llu/%u",
						   (unsigned long long)run->number, i + 1));
	*done = false;
	(void)source_plan_find(plan, p.name, &found, done);
	if (i)
		range->lower = run->ranges.bounds[i - 1];
	if (i + 1 < run->ranges.count)
		range->upper = run->ranges.bounds[i];
	rc = range_write(range, out);
	mem_free(range);
	p.checkpoint = (struct source_checkpoint){.bytes = buf_slice(out), .version = VERSION};
	return rc ? rc : source_plan_add(plan, &p);
}

static enum source_end full_plan(struct sql_source *s, struct source_plan *plan)
{
	struct source_plan_part whole = {.name = slice_make("", 0), .title = SLICE_LIT("run")};
	struct source_checkpoint checkpoint = {0};
	struct run *run = mem_zalloc(1, sizeof(*run));
	uint32_t left = 0;
	struct buf out;
	bool done;
	int rc = run ? source_plan_add(plan, &whole) : ERR_NOMEM;

	if (!rc)
		(void)source_plan_find(plan, whole.name, &checkpoint, &done);
	if (!rc && !run_read(run, checkpoint)) {
		mem_free(run);
		return source_fail(&plan->call, SOURCE_FINAL, "the checkpoint is none that this weir reads");
	}
	buf_init(&out, SOURCE_CHECKPOINT_MAX);
	for (uint32_t i = 0; !rc && i < run->ranges.count; i++) {
		rc = add_range(plan, run, i, &out, &done);
		left += !done;
	}
	buf_fini(&out);
	mem_free(run);
	if (rc)
		return source_fail(&plan->call, SOURCE_TRANSIENT, "out of memory");
	atomic_store(&s->left, left);
	if (atomic_exchange(&s->ended, false))
		s->rests = true;
	if (!left)
		sql_snapshot_end(s);
	return SOURCE_IDLE;
}

/* ---- a range ---- */

struct state {
	struct sql_progress at;
	struct range range;
};

static bool state_read(struct sql_progress *p, struct source_checkpoint checkpoint)
{
	struct state *st = (struct state *)p;

	if (buf_append_slice(&p->memory, checkpoint.bytes))
		return false;
	checkpoint.bytes = buf_slice(&p->memory);
	if (!range_read(&st->range, checkpoint))
		return false;
	p->reader.place = st->range.place;
	p->reader.has_place = st->range.place.count > 0;
	return sql_point_keep(&p->reader.place, &p->reader.place_memory) == 0;
}

static struct state *state_of(struct sql_source *s, struct source_part *part)
{
	return (struct state *)sql_progress_of(s, part, sizeof(struct state), state_read);
}

static void put_range(struct buf *b, const struct sql_source *s, const struct state *st)
{
	const struct sql_table *t = &s->table;
	uint32_t columns[2 * SQL_KEY_MAX];

	(void)sql_order(t, columns);
	(void)buf_appendf(b, "SELECT %s FROM %s WHERE 1 = 1", t->asked, t->from);
	sql_put_where(b, s, " AND ");
	if (st->range.lower.count && !st->at.reader.has_place) {
		(void)buf_append_str(b, " AND ");
		sql_put_after(b, s, columns, &st->range.lower, 1, true);
	}
	if (st->range.upper.count) {
		(void)buf_append_str(b, " AND ");
		sql_put_before(b, s, columns, &st->range.upper, 1, false);
	}
	if (st->at.reader.has_place) {
		(void)buf_append_str(b, " AND ");
		sql_put_after(b, s, columns, &st->at.reader.place, st->at.reader.place.count, false);
	}
	sql_put_bounds(b, s);
	sql_put_order(b, s);
}

static int open_range(struct sql_source *s, struct source_part *part, struct state *st,
		      struct sql_failure *why)
{
	struct sql_reader *r = &st->at.reader;
	struct buf b;
	int rc;

	r->held = sql_take(s, part, why);
	if (!r->held)
		return ERR_IO;
	rc = sql_learn_table(s, r->held->session, why);
	if (!rc)
		rc = sql_reader_begin(s, r, why);
	if (!rc)
		rc = sql_snapshot_enter(s, r->held->session, why);
	if (rc >
	    0) { /* a failed statement spoils a transaction, and a snapshot cannot be left: begin it again, without */
		sql_snapshot_end(s);
		rc = s->driver->run(r->held->session, "ROLLBACK", NULL, why);
		if (!rc)
			rc = sql_reader_begin(s, r, why);
	}
	if (rc)
		return rc;
	buf_init(&b, SQL_STATEMENT_MAX);
	put_range(&b, s, st);
	rc = sql_reader_open(s, r, &b, 0, why);
	buf_fini(&b);
	if (why->changed) /* what wrote its rows anew has emptied it for snapshots of before */
		sql_snapshot_end(s);
	return rc;
}

static enum source_end pull_range(struct sql_source *s, struct source_part *part, struct source_batch *batch)
{
	struct state *st = state_of(s, part);
	struct sql_failure why = {0};
	int rc = 0;

	if (!st)
		return source_fail(&batch->call, SOURCE_FINAL, "the checkpoint is none that this weir reads");
	if (!st->at.reader.open) {
		batch->call.requests++;
		rc = open_range(s, part, st, &why);
	}
	if (!rc)
		rc = sql_reader_take(s, &st->at.reader, batch, NULL, NULL, &why);
	if (st->at.reader.has_place)
		st->range.place = st->at.reader.place;
	if (range_write(&st->range, &st->at.written) == 0)
		(void)source_mark(batch, VERSION, buf_slice(&st->at.written));
	if (rc <= 0)
		sql_reader_close(s, &st->at.reader, rc == 0 || !why.lost);
	if (rc < 0)
		return sql_fail(&batch->call, s, "reading a range", &why);
	if (rc > 0)
		return SOURCE_MORE;
	if (atomic_fetch_sub(&s->left, 1) == 1) {
		s->ended = true;
		source_plan_again(s->setup.source);
	}
	return SOURCE_DONE;
}

static enum source_end full_pull(struct sql_source *s, struct source_part *part, struct source_batch *batch)
{
	return part->name.len || batch->test ? pull_range(s, part, batch) : pull_run(s, part, batch);
}

/* ---- showing ---- */

static void put_point(struct buf *json, const char *name, const struct sql_point *p)
{
	if (!p->count)
		return;
	json_put_name(json, name);
	json_put_open(json, '[');
	for (uint32_t i = 0; i < p->count; i++) {
		json_put_item(json);
		json_put_string_lossy(json, p->values[i]);
	}
	json_put_close(json, ']');
}

static void full_show(uint8_t version, struct slice checkpoint, struct buf *json)
{
	struct source_checkpoint c = {.bytes = checkpoint, .version = VERSION};
	struct range *range = mem_zalloc(1, sizeof(*range));
	struct run *run = mem_zalloc(1, sizeof(*run));

	(void)version;
	json_put_open(json, '{');
	if (range && range_read(range, c)) {
		put_point(json, "from", &range->lower);
		put_point(json, "to", &range->upper);
		put_point(json, "at", &range->place);
	} else if (run && run_read(run, c)) {
		json_put_member_u64(json, "run", run->number);
		json_put_member_u64(json, "ranges", run->ranges.count);
	}
	json_put_close(json, '}');
	mem_free(range);
	mem_free(run);
}

const struct sql_mode_ops sql_full = {
	.plan = full_plan,
	.pull = full_pull,
	.drop = sql_progress_drop,
	.reader = sql_progress_reader,
	.close = sql_snapshot_end,
	.show = full_show,
};
