/* SPDX-License-Identifier: Apache-2.0 */
/* From offsets to the result, and from the result to the JSON of the contract. */
#include <stdio.h>
#include <stdlib.h>

#include "ingest/dead.h"
#include "ingest/ingest_inner.h"
#include "json/json.h"
#include "json/json_write.h"

/* ---- ranges ---- */

/* The range of a partition that is being made from accepted records; NULL where there is none yet. */
static struct ingest_range *find_range(struct ingest_request *r, uint32_t partition)
{
	struct ingest_result *result = &r->result;

	if (r->range_slots)
		return r->range_slots[partition] ? &result->ranges[r->range_slots[partition] - 1] : NULL;
	for (uint32_t i = 0; i < result->range_count; i++)
		if (result->ranges[i].partition == partition)
			return &result->ranges[i];
	return NULL;
}

static void append_range(struct ingest_request *r, uint32_t partition, int64_t first, int64_t last)
{
	r->result.ranges[r->result.range_count++] =
		(struct ingest_range){.partition = partition, .first = first, .last = last};
	if (r->range_slots)
		r->range_slots[partition] = r->result.range_count;
}

/* Records of one commit follow each other within a partition, so there is one range for each. */
static void add_accepted(struct ingest_request *r)
{
	for (uint32_t i = 0; i < r->new_count; i++) {
		const struct log_record *record = &r->commit.records[i];
		uint32_t partition = partition_number(record->partition);
		struct ingest_range *range = find_range(r, partition);
		if (range)
			range->last = record->offset;
		else
			append_range(r, partition, record->offset, record->offset);
	}
	r->range_slots = NULL;
}

static void add_duplicates(struct ingest_request *r)
{
	const struct seen_answer *unit = &r->unit_answer;
	uint32_t known = unit->range_count < unit->ranges_max ? unit->range_count : unit->ranges_max;

	for (uint32_t i = 0; i < known; i++) {
		const struct seen_range *range = &unit->ranges[i];
		append_range(r, range->partition, range->first, range->first + range->count - 1);
		r->result.duplicates += range->count;
	}
	for (uint32_t i = 0; r->own_key_count && i < r->draft_count; i++) {
		const struct ingest_item *item = &r->items[i];
		if (item->state == ITEM_DUPLICATE)
			append_range(r, item->range.partition, item->range.first, item->range.first);
		r->result.duplicates += item->state == ITEM_DUPLICATE || item->state == ITEM_REPEAT;
	}
}

static int compare_ranges(const void *a, const void *b)
{
	const struct ingest_range *x = a, *y = b;

	if (x->partition != y->partition)
		return x->partition < y->partition ? -1 : 1;
	return x->first < y->first ? -1 : x->first > y->first;
}

/* Sorted, with neighbours in one. */
static void merge_ranges(struct ingest_result *result)
{
	struct ingest_range *ranges = result->ranges;
	uint32_t kept = 0;

	if (result->range_count < 2)
		return;
	qsort(ranges, result->range_count, sizeof(*ranges), compare_ranges);
	for (uint32_t i = 1; i < result->range_count; i++) {
		struct ingest_range *last = &ranges[kept];
		if (ranges[i].partition != last->partition || ranges[i].first > last->last + 1)
			ranges[++kept] = ranges[i];
		else if (ranges[i].last > last->last)
			last->last = ranges[i].last;
	}
	result->range_count = kept + 1;
}

/* ---- outcomes ---- */

static void set_entered(struct ingest_outcome *o, const struct log_record *record, enum ingest_status status)
{
	o->status = status;
	o->partition = partition_number(record->partition);
	o->offset = record->offset;
}

static void set_range(struct ingest_outcome *o, const struct seen_range *range, uint32_t ahead)
{
	o->status = INGEST_DUPLICATE;
	o->partition = range->partition;
	o->offset = range->first + ahead;
}

static void fill_item_outcome(const struct ingest_request *r, uint32_t draft, enum ingest_status status,
			      struct ingest_outcome *o)
{
	const struct ingest_item *item = &r->items[draft];

	switch ((enum item_state)item->state) {
	case ITEM_NEW:
		set_entered(o, &r->commit.records[item->slot], status);
		break;
	case ITEM_DUPLICATE:
		set_range(o, &item->range, 0);
		break;
	case ITEM_REPEAT:
		fill_item_outcome(r, item->repeats, INGEST_DUPLICATE, o);
		break;
	case ITEM_REUSED:
	case ITEM_KEYLESS:
		break;
	}
}

/* A unit that went to several partitions, or that was cut into other records then, does not tell where each of its records is. */
static void fill_outcome(const struct ingest_request *r, uint32_t draft, struct ingest_outcome *o)
{
	if (r->unit_answer.range_count == 1 && r->unit_answer.ranges[0].count == r->draft_count) {
		set_range(o, &r->unit_answer.ranges[0], draft);
	} else if (r->unit_answer.range_count) {
		o->status = INGEST_DUPLICATE;
	} else if (r->items) {
		fill_item_outcome(r, draft, INGEST_ACCEPTED, o);
	} else {
		set_entered(o, &r->commit.records[draft], INGEST_ACCEPTED);
	}
}

static void fill_outcomes(struct ingest_request *r)
{
	struct ingest_result *result = &r->result;

	for (uint32_t i = 0; i < r->index_count; i++)
		result->outcomes[i] =
			(struct ingest_outcome){.index = i, .status = INGEST_REJECTED, .offset = -1};
	for (uint32_t i = 0; i < r->draft_count; i++)
		fill_outcome(r, i, &result->outcomes[r->drafts[i].tag]);
	result->outcome_count = r->index_count;
	result->with_outcomes = true;
}

int ingest_fill_result(struct ingest_request *r)
{
	struct ingest_result *result = &r->result;

	if (r->unit_verdict != SEEN_DUPLICATE || !r->unit_key.ptr)
		r->unit_answer.range_count = 0;
	result->ack_none = r->ack == INGEST_ACK_NONE;
	result->accepted = r->new_count;
	result->rejected = result->error_count;
	if (result->dead_count)
		result->dead_first = r->commit.records[r->new_count].offset;
	if (!result->ack_none)
		add_accepted(r);
	add_duplicates(r);
	merge_ranges(result);
	if (r->results == INGEST_RECORDS && !result->ack_none)
		fill_outcomes(r);
	result->replayed = result->accepted == 0 && result->duplicates > 0;
	return 0;
}

/* ---- JSON ---- */

int ingest_status_of(const struct ingest_result *result)
{
	if (result->err)
		return err_row(result->err)->http_status;
	return result->ack_none ? 202 : 200;
}

static void put_error(const struct ingest_error *e, struct buf *out)
{
	json_put_item(out);
	json_put_open(out, '{');
	json_put_member_u64(out, "index", e->index);
	if (e->line)
		json_put_member_u64(out, "line", e->line);
	json_put_member_string(out, "code", slice_str(err_row(e->err)->code));
	json_put_name(out, "detail");
	if (e->has_place) {
		char text[160];
		json_error_text(&(struct json_error){.at = e->at, .what = e->what}, text, sizeof(text));
		json_put_string_lossy(out, slice_str(text));
	} else {
		json_put_string_lossy(out, slice_str(e->what));
	}
	json_put_close(out, '}');
}

static void put_errors(const struct ingest_result *result, struct buf *out)
{
	json_put_name(out, "errors");
	json_put_open(out, '[');
	for (uint32_t i = 0; i < result->error_count && !buf_status(out); i++)
		put_error(&result->errors[i], out);
	json_put_close(out, ']');
}

/* Where the refused records are, as offsets of their topic: weir dead show TOPIC OFFSET. */
static void put_dead(const struct ingest_result *result, struct buf *out)
{
	char topic[TOPIC_NAME_MAX + 1];

	(void)snprintf(topic, sizeof(topic), "%s" DEAD_SUFFIX, result->topic);
	json_put_name(out, "dead");
	json_put_open(out, '{');
	json_put_member_string(out, "topic", slice_str(topic));
	json_put_member_u64(out, "records", result->dead_count);
	if (!result->ack_none) {
		json_put_member_i64(out, "first", result->dead_first);
		json_put_member_i64(out, "last", result->dead_first + result->dead_count - 1);
	}
	json_put_close(out, '}');
}

static void put_problem(const struct ingest_result *result, struct buf *out)
{
	const struct err_row *row = err_row(result->err);

	json_put_open(out, '{');
	json_put_member_i64(out, "status", row->http_status);
	json_put_member_string(out, "title", slice_str(row->sentence));
	json_put_name(out, "detail");
	json_put_string_lossy(out, slice_str(result->detail));
	json_put_member_string(out, "code", slice_str(row->code));
	if (result->err == ERR_BAD_BATCH)
		put_errors(result, out);
	json_put_close(out, '}');
}

/* The answer of every request: pieces of it are copied whole, names and commas included. */
static inline void put_number(struct buf *out, struct slice before, uint64_t value)
{
	(void)buf_append(out, before.ptr, before.len);
	(void)buf_append_u64(out, value);
}

static void put_offsets(const struct ingest_result *result, struct buf *out)
{
	for (uint32_t i = 0; i < result->range_count; i++) {
		put_number(out,
			   i ? SLICE_LIT("},{\"partition\":") : SLICE_LIT(",\"offsets\":[{\"partition\":"),
			   result->ranges[i].partition);
		put_number(out, SLICE_LIT(",\"first\":"), (uint64_t)result->ranges[i].first);
		put_number(out, SLICE_LIT(",\"last\":"), (uint64_t)result->ranges[i].last);
	}
	if (result->range_count)
		(void)buf_append(out, "}]", 2);
	else
		(void)buf_append(out, ",\"offsets\":[]", 13);
}

static void put_outcome(const struct ingest_outcome *o, struct buf *out)
{
	static const char *const words[] = {
		[INGEST_ACCEPTED] = "accepted",
		[INGEST_DUPLICATE] = "duplicate",
		[INGEST_REJECTED] = "rejected",
	};

	json_put_item(out);
	json_put_open(out, '{');
	json_put_member_u64(out, "index", o->index);
	if (o->offset >= 0) {
		json_put_member_u64(out, "partition", o->partition);
		json_put_member_i64(out, "offset", o->offset);
	}
	json_put_member_string(out, "status", slice_str(words[o->status]));
	json_put_close(out, '}');
}

static void put_outcomes(const struct ingest_result *result, struct buf *out)
{
	json_put_name(out, "results");
	json_put_open(out, '[');
	for (uint32_t i = 0; i < result->outcome_count && !buf_status(out); i++)
		put_outcome(&result->outcomes[i], out);
	json_put_close(out, ']');
}

/* Nothing but "entered" in the usual case; what else there is to tell comes behind it. */
static void put_entered(const struct ingest_result *result, struct buf *out)
{
	json_put_member_u64(out, "entered", result->accepted);
	if (result->duplicates)
		json_put_member_u64(out, "duplicates", result->duplicates);
	if (result->rejected)
		json_put_member_u64(out, "rejected", result->rejected);
}

static void put_stored(const struct ingest_result *result, struct buf *out)
{
	put_number(out, SLICE_LIT(",\"accepted\":"), result->accepted);
	put_number(out, SLICE_LIT(",\"duplicates\":"), result->duplicates);
	put_number(out, SLICE_LIT(",\"rejected\":"), result->rejected);
	put_offsets(result, out);
	if (result->with_outcomes)
		put_outcomes(result, out);
}

void ingest_answer_json(const struct ingest_result *result, struct buf *out)
{
	if (result->err) {
		put_problem(result, out);
		return;
	}
	json_put_open(out, '{');
	json_put_member_string(out, "topic", slice_str(result->topic));
	if (result->ack_none)
		put_entered(result, out);
	else
		put_stored(result, out);
	if (result->error_count)
		put_errors(result, out);
	if (result->dead_count)
		put_dead(result, out);
	json_put_close(out, '}');
}
