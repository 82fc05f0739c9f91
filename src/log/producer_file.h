/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_PRODUCER_FILE_H
#define WEIR_LOG_PRODUCER_FILE_H

#include "base/buf.h"
#include "log/producer_table.h"
#include "sys/sys.h"

/*
 * The file PRODUCERS.<number> of a data directory: what all partitions knew of
 * their producers when a storage checkpoint was written, which names it. Codec and file
 * alone; docs/internals/storage.md draws its bytes.
 */
#define PRODUCER_FILE_PREFIX "PRODUCERS."
#define PRODUCER_FILE_NAME_BYTES 20u
#define PRODUCER_FILE_BYTES_MAX (1u << 30)

/* "PRODUCERS.0000001a" */
void producer_file_name(uint32_t number, char out[PRODUCER_FILE_NAME_BYTES]);

/* An empty file in memory, each partition behind it, and its end: head and checksum. Errors: buf_status(f). */
void producer_file_begin(struct buf *f);
void producer_file_put(struct buf *f, const struct topic_id *topic, uint32_t partition, int64_t from,
		       const struct producer_table *table);
void producer_file_seal(struct buf *f, uint32_t number, uint32_t partitions);

/* Under its name, synced, with the directory. 0 or -errno. */
int producer_file_write(const struct sys *sys, const char *dir, uint32_t number, const struct buf *f);

/* Into *out (initialised here, the caller's to free). 0, 1 (it is not there or not whole), ERR_IO, ERR_NOMEM. */
int producer_file_read(const struct sys *sys, const char *dir, uint32_t number, struct buf *out);

struct producer_file_row {
	struct topic_id topic;
	uint32_t partition;
	int64_t from;             /* it is of all batches before this offset */
	struct wire_reader table; /* for producer_table_read */
};

/* Takes the rows off in order: *rest begins as producer_file_rows(file). 1, 0 at the end, ERR_CORRUPT. */
struct slice producer_file_rows(struct slice file);
int producer_file_next(struct slice *rest, struct producer_file_row *out);

#endif
