/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_OFFSET_MAP_H
#define WEIR_LOG_OFFSET_MAP_H

#include "base/err.h"
#include "base/hash.h"

/*
 * The last offset of each key, for compaction. Keys are kept as keyed 128-bit
 * fingerprints, so an entry takes 24 bytes however long its key is. Of fixed size;
 * knows no file and no batch. For one thread.
 */
struct offset_map;

#define OFFSET_MAP_ENTRY_BYTES 24u

/* For so many keys, or as many as fit bytes_max (1024 at least). Returns owned; ERR_NOMEM. */
int offset_map_new(const struct hash_key *secret, uint64_t keys, size_t bytes_max, struct offset_map **out);

/* Takes; NULL is allowed. */
void offset_map_free(struct offset_map *m);

/* Notes an offset (0 or more) in place of an earlier one. False where there is no room for another key. */
bool offset_map_put(struct offset_map *m, struct slice key, int64_t offset);

/* The offset noted last, -1 where there is none. */
int64_t offset_map_find(const struct offset_map *m, struct slice key);

/* Keys in it. */
uint64_t offset_map_count(const struct offset_map *m);

#endif
