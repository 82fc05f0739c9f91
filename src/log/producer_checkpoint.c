/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of producers, over a restart: a file with the storage checkpoint,
 * and the journal behind it. Each partition is noted together with its next offset, under its lock; groups that
 * became durable since the checkpoint began may be in the file already, so each partition says up
 * to which offset, and the replay leaves those batches out.
 *
 * The file is written only where a batch of a producer came since the last one, and
 * under a new number: until both copies of the checkpoint name it, the one before may be needed.
 * Rejected: to write it into the checkpoint itself, whose two copies would double it, and which is written each
 * time; and a file a partition, as Kafka has: ten thousand files with a sync each.
 *
 * It can always be made anew from the batches in the segments; that is done where
 * it is gone or damaged, since it costs to read everything.
 */
#include "log/core.h"

#include <errno.h>
#include <stdio.h>

#include "log/checkpoint.h"
#include "log/producer_file.h"

#define READ_BYTES (1u << 20)

/* ---- writing ---- */

void producer_note_begin(struct log *l, struct producer_note *n)
{
	*n = (struct producer_note){.changes = atomic_load(&l->producers.changes),
				    .number = l->producers_number};
	n->fresh = n->changes != l->producers_written;
	producer_file_begin(&n->file);
}

void producer_note_add(struct producer_note *n, const struct partition *p)
{
	if (!n->fresh || producer_table_is_empty(&p->producers))
		return;
	producer_file_put(&n->file, &p->topic, p->number, p->end, &p->producers);
	n->partitions++;
}

static uint32_t next_number(struct log *l)
{
	if (++l->producers_highest == CHECKPOINT_PRODUCERS_UNKNOWN)
		l->producers_highest = 1;
	return l->producers_highest;
}

int producer_note_write(struct log *l, struct producer_note *n)
{
	int rc;

	if (!n->fresh)
		return 0;
	n->number = 0;
	if (n->partitions == 0)
		return 0;
	if (buf_status(&n->file))
		return -ENOMEM;
	n->number = next_number(l);
	l->producers_litter = true;
	producer_file_seal(&n->file, n->number, n->partitions);
	rc = producer_file_write(l->sys, l->dir, n->number, &n->file);
	return rc;
}

struct sweep {
	struct log *l;
	char kept[PRODUCER_FILE_NAME_BYTES];
};

static int sweep_file(void *ctx, const char *name)
{
	const struct sweep *s = ctx;
	char path[512];

	if (strncmp(name, PRODUCER_FILE_PREFIX, strlen(PRODUCER_FILE_PREFIX)) != 0 ||
	    strcmp(name, s->kept) == 0)
		return 0;
	(void)snprintf(path, sizeof(path), "%.400s/%.60s", s->l->dir, name);
	(void)s->l->sys->ops->unlink(s->l->sys->self, path);
	return 0;
}

/* No checkpoint names them any more. */
static void remove_others(struct log *l)
{
	struct sweep s = {.l = l};

	producer_file_name(l->producers_number, s.kept);
	(void)l->sys->ops->list(l->sys->self, l->dir, sweep_file, &s);
	l->producers_litter = false;
}

void producer_note_end(struct log *l, struct producer_note *n, bool ok)
{
	buf_fini(&n->file);
	if (!ok)
		return;
	l->producers_litter |= l->producers_number != n->number;
	l->producers_number = n->number;
	l->producers_written = n->changes;
	if (l->producers_litter && !atomic_load(&l->held))
		remove_others(l);
}

/* ---- reading ---- */

static int load_row(struct log *l, struct producer_file_row *row)
{
	struct partition *p;

	if (partition_get(l, &row->topic, row->partition, false, &p))
		return 0; /* it was deleted since */
	p->producers.from = row->from;
	return producer_table_read(&p->producers, &row->table);
}

/* 0, 1 (it is not there, or not whole), ERR_*. */
static int load_file(struct log *l, uint32_t number)
{
	struct producer_file_row row;
	struct slice rest;
	struct buf file;
	int rc = producer_file_read(l->sys, l->dir, number, &file);

	if (rc == 0) {
		rest = producer_file_rows(buf_slice(&file));
		while ((rc = producer_file_next(&rest, &row)) == 1 && (rc = load_row(l, &row)) == 0)
			;
	}
	buf_fini(&file);
	return rc == ERR_CORRUPT ? 1 : rc;
}

static int read_view(struct partition *p, struct slice rest)
{
	struct batch_head head;
	int rc = 0;

	while (rest.len && rc == 0 && batch_head_read(rest, &head) == 0) {
		if (head.producer_id >= 0)
			rc = producer_table_apply(&p->producers, &head, rest, atomic_load(&p->last_time_ms));
		if (rc == ERR_CORRUPT)
			rc = 0; /* as when it was published */
		rest = slice_from(rest, head.bytes);
	}
	return rc;
}

/*
 * All that the partition holds. Not what was compacted: nothing of it is undecided or aborted, and the
 * sequences that are left there may not be a producer's last; one that is not known may go on with any.
 */
static int rebuild(void *ctx, struct partition *p)
{
	int64_t at = p->start > p->clean ? p->start : p->clean;
	struct log_view view;
	int rc = 0;

	(void)ctx;
	producer_table_fini(&p->producers);
	while (rc == 0 && at < p->end) {
		rc = log_read_wait(p, at, READ_BYTES, &view);
		if (rc)
			break; /* half of it known would be a repeat stored twice, a transaction that never ends */
		at = view.next_offset;
		rc = read_view(p, view.batches);
		blob_unref(view.blob);
	}
	return rc;
}

int producers_load(struct log *l, uint32_t number, struct fault *fault)
{
	char name[PRODUCER_FILE_NAME_BYTES];
	int rc = 1;

	l->producers_litter = true;
	if (number == 0)
		return 0;
	producer_file_name(number, name);
	if (number != CHECKPOINT_PRODUCERS_UNKNOWN) {
		l->producers_number = l->producers_highest = number;
		rc = load_file(l, number);
		if (rc == 1)
			core_say(
				l, LOG_WARN, "producers_broken",
				"%s/%s is not there or not whole: what is known of Kafka's producers is read from the segments",
				l->dir, name);
	}
	if (rc == 1) {
		rc = partitions_each(l, rebuild, NULL);
		l->producers_written = UINT64_MAX;
	}
	if (rc)
		return fault_set(fault, rc, "cannot read what is known of producers in %s", l->dir);
	return 0;
}

/* What the file knew of records that the journal has lost is not true any more. */
static int look_again(void *ctx, struct partition *p)
{
	if (p->producers.from > p->end) {
		int rc = rebuild(NULL, p);
		*(bool *)ctx = true;
		if (rc)
			return rc;
	}
	p->producers.from = 0;
	producer_table_trim(&p->producers, p->start);
	return 0;
}

int producers_loaded(struct log *l, struct fault *fault)
{
	bool rebuilt = false;
	int rc = partitions_each(l, look_again, &rebuilt);

	if (rebuilt)
		l->producers_written = UINT64_MAX;
	return rc ? fault_set(fault, rc, "cannot read what is known of producers in %s", l->dir) : 0;
}
