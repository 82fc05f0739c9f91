/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peer that is a general store: RocksDB with FIFO compaction, as one would
 * set it up for keys that expire; no log of its own, since weir's journal holds
 * the keys too.
 */
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "seen_bench.h"

static rocksdb_t *db;
static rocksdb_readoptions_t *reading;
static rocksdb_writeoptions_t *writing;

static void stop_on(char *err)
{
	if (!err)
		return;
	(void)fprintf(stderr, "rocksdb: %s\n", err);
	exit(1);
}

static void open_rocksdb(const char *dir)
{
	rocksdb_options_t *o = rocksdb_options_create();
	rocksdb_fifo_compaction_options_t *fifo = rocksdb_fifo_compaction_options_create();
	rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
	char *err = NULL;

	rocksdb_options_set_create_if_missing(o, 1);
	rocksdb_options_set_compaction_style(o, rocksdb_fifo_compaction);
	rocksdb_fifo_compaction_options_set_max_table_files_size(fifo, 1ull << 40);
	rocksdb_options_set_fifo_compaction_options(o, fifo);
	rocksdb_options_set_write_buffer_size(o, 64u << 20);
	rocksdb_options_increase_parallelism(o, 2);
	rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom(14));
	rocksdb_block_based_options_set_block_cache(table, rocksdb_cache_create_lru(64u << 20));
	rocksdb_options_set_block_based_table_factory(o, table);
	db = rocksdb_open(o, dir, &err);
	stop_on(err);
	reading = rocksdb_readoptions_create();
	writing = rocksdb_writeoptions_create();
	rocksdb_writeoptions_disable_WAL(writing, 1);
}

static bool remember(const char *key, size_t len, uint64_t number, int64_t expires_ms)
{
	uint64_t value[4] = {7, (uint64_t)expires_ms, number, 1};
	char *err = NULL, *found;
	size_t n;

	found = rocksdb_get(db, reading, key, len, &n, &err);
	stop_on(err);
	if (found) {
		free(found);
		return false;
	}
	rocksdb_put(db, writing, key, len, (const char *)value, sizeof(value), &err);
	stop_on(err);
	return true;
}

static void settle(void)
{
	rocksdb_flushoptions_t *o = rocksdb_flushoptions_create();
	char *err = NULL;

	rocksdb_flush(db, o, &err);
	stop_on(err);
	rocksdb_flushoptions_destroy(o);
}

const struct peer peer_rocksdb = {"RocksDB, FIFO", open_rocksdb, remember, settle};
