/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producers as Kafka has them, over a partition of their own: two that are
 * idempotent, two with transactions. Each sends batches with sequences, at most
 * five that are not answered, and after a crash what was not answered again, in order. What
 * they know is compared with what stands in the log: each batch once, in order, where
 * it was said to be, and the transactions as their markers have them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "log/producers.h"
#include "world.h"

#define FIRST_ID 1000
/* Sequences pass their highest. */
#define FIRST_SEQUENCE (INT32_MAX - 40)
#define OFFSETS_MAX 16384u

enum { UNDECIDED, COMMITS, ABORTS };

static const struct topic_id topic = {{0x50}};

bool producers_are_on(const struct world *w)
{
	return w->seed % 3 == 1 && !w->profile.rot;
}

static bool is_transactional(uint32_t writer)
{
	return writer % 2 == 1;
}

/* ---- what is sent ---- */

static void make_batch(struct writing *s, const struct writer_batch *b)
{
	struct batch_build build;
	struct batch_head head;
	char value[48];

	batch_build_start(&build, s->bytes, 0);
	for (uint32_t i = 0; i < b->count; i++) {
		int n = snprintf(value, sizeof(value), "%u %u %u", s->writer, s->batch, i);
		batch_build_put(&build, &(struct batch_record){.timestamp = 1000 + s->batch,
							       .value = slice_make(value, (size_t)n)});
	}
	CHECK(batch_head_read(batch_build_finish(&build), &head) == 0);
	head.producer_id = FIRST_ID + s->writer;
	head.producer_epoch = 2;
	head.base_sequence = b->sequence;
	head.attributes = is_transactional(s->writer) ? BATCH_IS_TRANSACTIONAL : 0;
	batch_head_put(s->bytes, &head);
	s->record = (struct log_record){.partition = s->w->written_to,
					.value = slice_make(s->bytes, head.bytes),
					.batch_records = b->count};
}

static void make_marker(struct writing *s, bool commit)
{
	struct batch_marker m = {.producer_id = FIRST_ID + s->writer,
				 .producer_epoch = 2,
				 .timestamp_ms = 5,
				 .commit = commit};

	(void)batch_put_marker(s->bytes, &m);
	s->record = (struct log_record){.partition = s->w->written_to,
					.value = slice_make(s->bytes, BATCH_MARKER_BYTES),
					.batch_records = 1};
}

static struct writing *free_writing(struct world *w)
{
	for (uint32_t i = 0; i < WRITINGS_MAX; i++)
		if (!w->writings[i].used)
			return &w->writings[i];
	return NULL;
}

static void take_answer(struct writer *wr, uint32_t batch, int64_t offset)
{
	struct writer_batch *b = &wr->batches[batch];

	if (b->offset >= 0 && b->offset != offset)
		model_fail("batch %u of a producer is at offset %lld, and was at %lld", batch,
			   (long long)offset, (long long)b->offset);
	b->offset = offset;
	b->acked = true;
	while (wr->unacked < wr->made && wr->batches[wr->unacked].acked)
		wr->unacked++;
}

static void on_written(struct log_commit *c)
{
	struct writing *s = (struct writing *)(void *)((char *)c - offsetof(struct writing, commit));
	struct writer *wr = &s->w->writers[s->writer];

	s->used = false;
	if (!s->marker) {
		take_answer(wr, s->batch, s->record.offset);
		return;
	}
	wr->decided[wr->txn++] = wr->ending;
	wr->ending = UNDECIDED;
	wr->marking = false;
}

/* 0, or what it is refused with: the caller tries again some time. */
static int enter(struct world *w, struct writing *s)
{
	int rc;

	s->used = true;
	s->commit = (struct log_commit){.records = &s->record,
					.record_count = 1,
					.port = w->port,
					.on_done = on_written};
	rc = log_enter(w->log, &s->commit);
	if (rc)
		s->used = false;
	if (rc && rc != ERR_OVERLOADED && rc != ERR_DISK_FULL && rc != ERR_NOMEM)
		model_fail("a batch of a producer is refused with %s", err_row(rc)->code);
	return rc;
}

static int ask(struct world *w, struct writing *s, struct producer_answer *answer)
{
	struct batch_head head;

	CHECK(batch_head_read(s->record.value, &head) == 0);
	return producer_check(w->written_to, &head, answer, NULL);
}

/* The next that was not sent in this life: new, or one whose answer was lost. */
static void send_next(struct world *w, struct writing *s, struct writer *wr)
{
	struct producer_answer answer;
	int verdict;

	s->marker = false;
	s->batch = wr->sent;
	make_batch(s, &wr->batches[s->batch]);
	log_enter_begin(w->log);
	verdict = ask(w, s, &answer);
	if (verdict == PRODUCER_NEXT && enter(w, s) == 0)
		wr->sent++;
	log_enter_end(w->log);
	if (verdict == PRODUCER_REPEATED) {
		take_answer(wr, wr->sent++, answer.offset);
	} else if (verdict != PRODUCER_NEXT && verdict != ERR_NOMEM) {
		model_fail("batch %u of producer %u is called %d", s->batch, s->writer, verdict);
	}
}

/*
 * One that was sent, and is of the last five that were made, which may all be there since a life before: it
 * is in flight, or where it was said to be.
 */
static void repeat_one(struct world *w, struct writing *s, struct writer *wr)
{
	uint32_t first = wr->made > PRODUCER_BATCHES ? wr->made - PRODUCER_BATCHES : 0;
	uint32_t batch = wr->sent > first ? first + below(w, wr->sent - first) : wr->made;
	const struct writer_batch *b = &wr->batches[batch];
	struct producer_answer answer;
	int verdict;

	if (batch == wr->made)
		return;
	s->marker = false;
	s->batch = batch;
	make_batch(s, b);
	log_enter_begin(w->log);
	verdict = ask(w, s, &answer);
	log_enter_end(w->log);
	if (verdict == PRODUCER_REPEATED ? b->offset >= 0 && answer.offset != b->offset :
					   verdict != PRODUCER_IN_FLIGHT || b->acked)
		model_fail("batch %u of producer %u, sent again, is called %d at offset %lld", s->batch,
			   s->writer, verdict, (long long)answer.offset);
}

static void end_transaction(struct world *w, struct writing *s, struct writer *wr)
{
	s->marker = true;
	make_marker(s, wr->ending == COMMITS);
	log_enter_begin(w->log);
	wr->marking = enter(w, s) == 0;
	log_enter_end(w->log);
}

static void make_one(struct world *w, struct writer *wr)
{
	struct writer_batch *b = &wr->batches[wr->made];
	const struct writer_batch *before = wr->made ? b - 1 : NULL;

	*b = (struct writer_batch){.offset = -1, .count = (uint8_t)(1 + below(w, 3)), .txn = wr->txn};
	b->sequence = before ? batch_sequence_after(before->sequence, before->count) : FIRST_SEQUENCE;
	wr->made++;
}

/* A committed reader gets nothing that is open or was aborted. */
static void read_committed(struct world *w)
{
	struct partition_range range;
	struct batch_record record;
	struct batch_walk walk;
	struct log_view view;
	unsigned writer, batch;
	char text[48] = {0};

	partition_range(w->written_to, &range);
	if (range.end == 0 ||
	    log_read_stable(w->written_to, (int64_t)below(w, (uint32_t)range.end), 500, &view) != LOG_READ_OK)
		return;
	while (view.batches.len && batch_walk_start(&walk, view.batches) == 0) {
		if (batch_last_offset(&walk.head) >= view.stable)
			model_fail("offset %lld is given as stable; that ends at %lld",
				   (long long)batch_last_offset(&walk.head), (long long)view.stable);
		if (!partition_hides(w->written_to, &walk.head) && batch_walk_next(&walk, &record) == 1) {
			memcpy(text, record.value.ptr, record.value.len);
			CHECK(sscanf(text, "%u %u", &writer, &batch) == 2);
			const struct writer *wr = &w->writers[writer];
			uint32_t txn = wr->batches[batch].txn;
			uint8_t fate = txn < wr->txn ? wr->decided[txn] : wr->ending;
			if (is_transactional(writer) && fate != COMMITS)
				model_fail(
					"batch %u of producer %u is shown, and its transaction is not committed",
					batch, writer);
		}
		view.batches = slice_from(view.batches, walk.head.bytes);
	}
	blob_unref(view.blob);
}

void producers_turn(struct world *w)
{
	struct writing *s = free_writing(w);
	uint32_t number = below(w, WRITERS);
	struct writer *wr = &w->writers[number];

	if (chance(w, 5))
		read_committed(w);
	if (!s)
		return;
	s->w = w;
	s->writer = number;
	if (wr->sent && chance(w, 4))
		repeat_one(w, s, wr);
	else if (wr->sent < wr->made)
		send_next(w, s, wr);
	else if (wr->marking)
		return;
	else if (wr->ending && wr->unacked == wr->made)
		end_transaction(w, s, wr);
	else if (is_transactional(number) && wr->made && wr->batches[wr->made - 1].txn == wr->txn &&
		 chance(w, 4) && wr->txn + 1 < WRITER_BATCHES)
		wr->ending = chance(w, 2) ? COMMITS : ABORTS;
	else if (!wr->ending && wr->made < WRITER_BATCHES && wr->made - wr->unacked < PRODUCER_BATCHES)
		make_one(w, wr);
}

void producers_forget(struct world *w)
{
	for (uint32_t i = 0; i < WRITINGS_MAX; i++)
		w->writings[i].used = false;
	for (uint32_t i = 0; i < WRITERS; i++) {
		w->writers[i].sent = w->writers[i].unacked;
		w->writers[i].marking = false;
	}
}

void producers_reset(struct world *w)
{
	memset(w->writers, 0, sizeof(w->writers));
	memset(w->writings, 0, sizeof(w->writings));
	w->producers_hit = false;
}

static int strike_file(void *ctx, const char *name)
{
	struct world *w = ctx;
	const struct sys *sys = sim_sys(w->sim);
	struct sys_stat st;
	char path[100];

	if (strncmp(name, "PRODUCERS.", 10))
		return 0;
	(void)snprintf(path, sizeof(path), "data/%.60s", name);
	if (sys->ops->stat(sys->self, path, &st) || st.bytes == 0)
		return 0;
	CHECK(sim_flip(w->sim, path, rand_below(&w->rand, st.bytes * 8)) == 0);
	w->producers_hit = true;
	w->producer_flips++;
	return 0;
}

/* Of no seed in `seeds`: all that is known stands in segments too, behind the checkpoint in the journal. */
void producers_strike(struct world *w)
{
	const struct sys *sys = sim_sys(w->sim);

	if (producers_are_on(w) && w->seed % 15 == 7 && chance(w, 2))
		(void)sys->ops->list(sys->self, "data", strike_file, w);
}

int producers_open(struct world *w)
{
	struct partition_options o = {.retention_ms = -1,
				      .retention_bytes = -1,
				      .segment_bytes = w->profile.segment_bytes,
				      .recompress_ms = w->profile.recompress_ms};

	return partition_open(w->log, &topic, 0, &o, &w->written_to);
}

/* ---- the oracle ---- */

struct found {
	uint32_t next[WRITERS]; /* batch that has to come */
	int64_t open[WRITERS];  /* first offset of the transaction that is open, -1: none */
	uint32_t txn[WRITERS];  /* its number */
	struct batch_head heads[OFFSETS_MAX];
	bool hidden[OFFSETS_MAX];
	uint32_t count, aborted;
};

static struct found found;

static void find_data(struct world *w, const struct batch_head *head, struct batch_walk *walk)
{
	uint32_t number = (uint32_t)(head->producer_id - FIRST_ID), i = 0;
	struct writer *wr = &w->writers[number];
	struct writer_batch *b = &wr->batches[found.next[number]];
	struct batch_record r;
	char expect[48];

	if (found.next[number] >= wr->made || head->base_sequence != b->sequence || head->count != b->count)
		model_fail(
			"offset %lld holds sequence %d of producer %u, and batch %u of %u was to come with %d",
			(long long)head->base_offset, head->base_sequence, number, found.next[number],
			wr->made, b->sequence);
	for (; batch_walk_next(walk, &r) == 1; i++) {
		(void)snprintf(expect, sizeof(expect), "%u %u %u", number, found.next[number], i);
		if (!slice_eq_str(r.value, expect))
			model_fail("offset %lld is not \"%s\"", (long long)r.offset, expect);
	}
	if (b->offset >= 0 && b->offset != head->base_offset)
		model_fail("batch %u of producer %u was at offset %lld, and is at %lld", found.next[number],
			   number, (long long)b->offset, (long long)head->base_offset);
	b->offset = head->base_offset;
	found.next[number]++;
	if (!is_transactional(number))
		return;
	if (found.open[number] < 0) {
		found.open[number] = head->base_offset;
		found.txn[number] = b->txn;
	} else if (found.txn[number] != b->txn) {
		model_fail("transaction %u of producer %u has no end", found.txn[number], number);
	}
}

static void find_marker(struct world *w, const struct batch_head *head, struct slice batch)
{
	uint32_t number = (uint32_t)(head->producer_id - FIRST_ID);
	const struct writer *wr = &w->writers[number];
	uint32_t txn = found.txn[number];
	struct batch_marker m;
	uint8_t wanted;

	CHECK(batch_marker_read(batch, &m) == 1);
	if (found.open[number] < 0)
		return; /* sent again, though the first was there */
	wanted = txn < wr->txn ? wr->decided[txn] : wr->ending;
	if (wanted != (m.commit ? COMMITS : ABORTS))
		model_fail("transaction %u of producer %u did not end like that", txn, number);
	for (uint32_t i = 0; i < found.count && !m.commit; i++)
		if (found.heads[i].producer_id == head->producer_id &&
		    found.heads[i].base_offset >= found.open[number])
			found.hidden[i] = true;
	found.aborted += !m.commit;
	found.open[number] = -1;
}

static void find_batches(struct world *w, struct slice rest)
{
	while (rest.len) {
		struct model_walk walk;
		struct batch_head head;
		if (batch_check(rest, &head) || model_walk_start(&walk, rest) || found.count == OFFSETS_MAX)
			model_fail("a batch of the producers is not whole");
		found.heads[found.count] = head;
		found.hidden[found.count++] = batch_is_control(&head);
		if (batch_is_control(&head))
			find_marker(w, &head, rest);
		else
			find_data(w, &head, &walk.walk);
		model_walk_end(&walk);
		rest = slice_from(rest, head.bytes);
	}
}

/* The last five of each are known, with nothing in flight. */
static void check_repeats(struct world *w, uint32_t number)
{
	uint32_t next = found.next[number];

	for (uint32_t i = next > PRODUCER_BATCHES ? next - PRODUCER_BATCHES : 0; i < next; i++) {
		struct writing s = {.w = w, .writer = number, .batch = i};
		const struct writer_batch *b = &w->writers[number].batches[i];
		struct producer_answer answer;
		int verdict;
		make_batch(&s, b);
		log_enter_begin(w->log);
		verdict = ask(w, &s, &answer);
		log_enter_end(w->log);
		if (verdict != PRODUCER_REPEATED || answer.offset != b->offset)
			model_fail("batch %u of %u of producer %u is called %d at %lld, and is at %lld", i,
				   next, number, verdict, (long long)answer.offset, (long long)b->offset);
	}
}

static void check_known(struct world *w)
{
	struct producer_info infos[WRITERS];
	uint32_t count = partition_producers(w->written_to, infos, WRITERS);

	for (uint32_t i = 0; i < count; i++) {
		uint32_t number = (uint32_t)(infos[i].producer_id - FIRST_ID);
		const struct writer_batch *b = &w->writers[number].batches[found.next[number] - 1];
		int32_t last = batch_sequence_after(b->sequence, b->count - 1);
		if (infos[i].last_sequence != last || infos[i].open_offset != found.open[number])
			model_fail(
				"producer %u is known with sequence %d, and %d stands last; open at %lld for %lld",
				number, infos[i].last_sequence, last, (long long)infos[i].open_offset,
				(long long)found.open[number]);
	}
	for (uint32_t i = 0; i < WRITERS; i++) {
		const struct writer *wr = &w->writers[i];
		check_repeats(w, i);
		if (found.next[i] < wr->unacked)
			model_fail("batch %u of producer %u was answered and is lost", found.next[i], i);
		if (found.open[i] >= 0 && found.txn[i] < wr->txn)
			model_fail("transaction %u of producer %u was ended and is open", found.txn[i], i);
	}
}

/* Everything that is durable, read anew. */
void producers_check(struct world *w)
{
	struct partition_range range;
	struct log_view view;
	int64_t stable;

	memset(&found, 0, sizeof(found));
	for (uint32_t i = 0; i < WRITERS; i++)
		found.open[i] = -1;
	partition_range(w->written_to, &range);
	for (int64_t at = 0; at < range.end; at = view.next_offset) {
		if (log_read_wait(w->written_to, at, 4000, &view) != LOG_READ_OK ||
		    view.gap.from != view.gap.to)
			model_fail("offset %lld of the producers cannot be read", (long long)at);
		find_batches(w, view.batches);
		blob_unref(view.blob);
	}
	check_known(w);
	stable = range.end;
	for (uint32_t i = 0; i < WRITERS; i++)
		if (found.open[i] >= 0 && found.open[i] < stable)
			stable = found.open[i];
	if (range.stable != stable)
		model_fail("the last stable offset is said to be %lld, and is %lld", (long long)range.stable,
			   (long long)stable);
	if (partition_aborted(w->written_to, 0, range.end, NULL, 0) != found.aborted)
		model_fail("%u transactions were aborted, and %u are known", found.aborted,
			   partition_aborted(w->written_to, 0, range.end, NULL, 0));
	for (uint32_t i = 0; i < found.count; i++)
		if (partition_hides(w->written_to, &found.heads[i]) != found.hidden[i])
			model_fail("the batch at offset %lld is %s", (long long)found.heads[i].base_offset,
				   found.hidden[i] ? "shown, and was aborted" : "hidden");
}
