/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_SEEN_BENCH_H
#define WEIR_BENCH_SEEN_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Something that remembers keys, for the comparison. One each a process. */
struct peer {
	const char *name;
	/* Opens it, empty, with files below dir. Ends the process where it cannot. */
	void (*open)(const char *dir);
	/* Asks for a key and remembers it; true where it was new. */
	bool (*remember)(const char *key, size_t len, uint64_t number, int64_t expires_ms);
	/* Waits for background work. */
	void (*settle)(void);
};

extern const struct peer peer_seen;
#ifdef __cplusplus
extern "C" const struct peer peer_map;
#else
extern const struct peer peer_map;
#endif
extern const struct peer peer_rocksdb;

/* Measures single operations of seen alone and while buckets are dropped. */
void seen_drop_report(uint64_t first, uint64_t count, int64_t expires_ms, int64_t drop_ms);

/* The text of key `number`, 24 bytes. */
void bench_key(uint64_t number, char *key);

#define BENCH_KEY_BYTES 24

#endif
