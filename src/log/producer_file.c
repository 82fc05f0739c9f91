/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new number each time, and never written over: the checkpoint before may
 * still be the one that a start goes by. What no checkpoint names is removed later.
 */
#include "log/producer_file.h"

#include <errno.h>
#include <stdio.h>

#include "base/crc32c.h"
#include "log/files.h"

#define HEAD_BYTES 32u
#define ROW_BYTES 36u
static const uint8_t magic[8] = {'W', 'E', 'I', 'R', 'P', 'R', 'D', '1'};

void producer_file_name(uint32_t number, char out[PRODUCER_FILE_NAME_BYTES])
{
	(void)snprintf(out, PRODUCER_FILE_NAME_BYTES, PRODUCER_FILE_PREFIX "%08x", number);
}

void producer_file_begin(struct buf *f)
{
	static const uint8_t head[HEAD_BYTES];

	buf_init(f, PRODUCER_FILE_BYTES_MAX);
	(void)buf_append(f, head, sizeof(head));
}

void producer_file_put(struct buf *f, const struct topic_id *topic, uint32_t partition, int64_t from,
		       const struct producer_table *table)
{
	size_t begin = f->len;
	uint8_t row[ROW_BYTES], *at = row;

	at = wire_put_u32(at, 0);
	at = wire_put_bytes(at, slice_make(topic->bytes, sizeof(topic->bytes)));
	at = wire_put_u32(at, partition);
	at = wire_put_u64(at, (uint64_t)from);
	(void)wire_put_u32(at, 0);
	(void)buf_append(f, row, sizeof(row));
	producer_table_write(table, f);
	if (buf_status(f) == 0)
		(void)wire_put_u32(f->ptr + begin, (uint32_t)(f->len - begin));
}

void producer_file_seal(struct buf *f, uint32_t number, uint32_t partitions)
{
	uint8_t *at = f->ptr;

	at = wire_put_bytes(at, slice_make(magic, sizeof(magic)));
	at = wire_put_u32(at, 0);
	at = wire_put_u32(at, (uint32_t)f->len);
	at = wire_put_u32(at, number);
	at = wire_put_u32(at, partitions);
	(void)wire_put_u64(at, 0);
	(void)wire_put_u32(f->ptr + 8, crc32c(0, f->ptr + 12, f->len - 12));
}

int producer_file_write(const struct sys *sys, const char *dir, uint32_t number, const struct buf *f)
{
	char name[PRODUCER_FILE_NAME_BYTES];

	producer_file_name(number, name);
	return files_put(sys, dir, name, buf_slice(f));
}

static bool is_whole(const struct buf *f, uint32_t number)
{
	return f->len >= HEAD_BYTES && memcmp(f->ptr, magic, sizeof(magic)) == 0 &&
	       wire_load_u32(f->ptr + 12) == f->len && wire_load_u32(f->ptr + 16) == number &&
	       crc32c(0, f->ptr + 12, f->len - 12) == wire_load_u32(f->ptr + 8);
}

int producer_file_read(const struct sys *sys, const char *dir, uint32_t number, struct buf *out)
{
	char path[512], name[PRODUCER_FILE_NAME_BYTES];
	struct sys_stat st;
	int64_t got = 0;
	int fd, rc;

	buf_init(out, PRODUCER_FILE_BYTES_MAX);
	producer_file_name(number, name);
	(void)snprintf(path, sizeof(path), "%.480s/%s", dir, name);
	rc = sys->ops->stat(sys->self, path, &st);
	if (rc == -ENOENT || (rc == 0 && (st.bytes < HEAD_BYTES || st.bytes > PRODUCER_FILE_BYTES_MAX)))
		return 1;
	if (rc)
		return ERR_IO;
	fd = sys->ops->open(sys->self, path, SYS_READ);
	if (fd < 0)
		return ERR_IO;
	if (buf_reserve(out, st.bytes) == 0)
		got = sys->ops->pread(sys->self, fd, out->ptr, st.bytes, 0);
	sys->ops->close(sys->self, fd);
	if (buf_status(out))
		return ERR_NOMEM;
	if (got < 0)
		return ERR_IO;
	out->len = (size_t)got;
	return is_whole(out, number) ? 0 : 1;
}

struct slice producer_file_rows(struct slice file)
{
	return slice_from(file, HEAD_BYTES);
}

int producer_file_next(struct slice *rest, struct producer_file_row *out)
{
	struct wire_reader r = wire_reader_make(*rest);
	uint32_t bytes = wire_u32(&r);
	struct slice id;

	if (rest->len == 0)
		return 0;
	if (r.bad || bytes < ROW_BYTES || bytes > rest->len)
		return ERR_CORRUPT;
	r = wire_reader_make(slice_make(rest->ptr + 4, bytes - 4));
	id = wire_bytes(&r, sizeof(out->topic.bytes));
	memcpy(out->topic.bytes, id.ptr, id.len);
	out->partition = wire_u32(&r);
	out->from = (int64_t)wire_u64(&r);
	(void)wire_u32(&r);
	out->table = r;
	*rest = slice_from(*rest, bytes);
	return out->from >= 0 ? 1 : ERR_CORRUPT;
}
