/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "connect/sql/sql.h"

void sql_progress_drop(struct sql_source *s, struct source_part *part)
{
	struct sql_progress *p = part->state;

	part->state = NULL;
	if (!p)
		return;
	sql_reader_fini(s, &p->reader);
	buf_fini(&p->memory);
	buf_fini(&p->written);
	mem_free(p);
}

const struct sql_reader *sql_progress_reader(const struct source_part *part)
{
	return &((const struct sql_progress *)part->state)->reader;
}

static bool take_checkpoint(struct sql_progress *p, struct source_checkpoint checkpoint,
			    sql_progress_fn *read)
{
	if (!checkpoint.bytes.ptr) /* it begins, or it is a test */
		return true;
	return read(p, checkpoint) && buf_append_slice(&p->written, checkpoint.bytes) == 0;
}

struct sql_progress *sql_progress_of(struct sql_source *s, struct source_part *part, size_t bytes,
				     sql_progress_fn *read)
{
	struct sql_progress *p = part->state;

	if (p && slice_eq(buf_slice(&p->written), part->checkpoint.bytes))
		return p;
	sql_progress_drop(s, part);
	p = mem_zalloc(1, bytes);
	if (!p)
		return NULL;
	sql_reader_init(&p->reader);
	buf_init(&p->memory, SOURCE_CHECKPOINT_MAX);
	buf_init(&p->written, SOURCE_CHECKPOINT_MAX);
	part->state = p;
	if (take_checkpoint(p, part->checkpoint, read))
		return p;
	sql_progress_drop(s, part);
	return NULL;
}
