/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of producers that the checkpoint names. Nothing of it is lost when it
 * is: a start makes it anew. So a repair keeps it aside and has the checkpoint say that.
 */
#include <stdio.h>

#include "log/producer_file.h"
#include "log/verify_inner.h"

/* A table of its own for each row: what a start would read. */
static bool is_readable(struct slice file)
{
	static const struct hash_key key = {1, 2};
	struct producer_counts counts = {0};
	struct producer_file_row row;
	struct slice rest = producer_file_rows(file);
	int rc;

	while ((rc = producer_file_next(&rest, &row)) == 1) {
		struct producer_table table;
		producer_table_init(&table, &counts, &key);
		rc = producer_table_read(&table, &row.table);
		producer_table_fini(&table);
		if (rc)
			break;
	}
	return rc != ERR_CORRUPT;
}

static int keep_aside(struct verify *v, const char *path)
{
	struct sys_stat st;
	int rc = 0;

	if (v->sys->ops->stat(v->sys->self, path, &st) == 0)
		rc = verify_set_aside(v, path, true, 0, st.bytes, 0, 0, "not whole");
	v->checkpoint_changed = true; /* writing it again says that the file is to be made anew */
	v->out->mended++;
	return rc;
}

int verify_producers(struct verify *v)
{
	char path[VERIFY_PATH_BYTES], name[PRODUCER_FILE_NAME_BYTES];
	uint32_t number;
	struct buf file;
	bool good;
	int rc;

	if (!v->has_checkpoint)
		return 0;
	number = checkpoint_producers(buf_slice(&v->checkpoint));
	if (number == 0 || number == CHECKPOINT_PRODUCERS_UNKNOWN)
		return 0;
	producer_file_name(number, name);
	(void)snprintf(path, sizeof(path), "%s/%s", v->options->dir, name);
	rc = producer_file_read(v->sys, v->options->dir, number, &file);
	v->out->files++;
	good = rc == 0 && is_readable(buf_slice(&file));
	buf_fini(&file);
	if (rc < 0)
		return fault_set(v->fault, rc, "cannot read %s", path);
	if (good)
		return 0;
	verify_tell(
		v, path, 0, false, 0, 0, "a start makes it anew from the segments",
		"what is known of Kafka's producers is %s: a start makes it anew from the segments, which takes as long as reading them",
		rc == 1 ? "not there, or not whole" : "not to be read");
	return v->options->repair ? keep_aside(v, path) : 0;
}
