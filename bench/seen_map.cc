/* SPDX-License-Identifier: Apache-2.0 */
/* The peer that keeps everything in memory: the standard library's hash table. */
#include <string>
#include <unordered_map>

#include "seen_bench.h"

namespace
{
struct remembered {
	uint64_t payload;
	int64_t expires_ms;
	int64_t first;
	uint32_t partition, count;
};

std::unordered_map<std::string, remembered> *map;

void open_map(const char *)
{
	map = new std::unordered_map<std::string, remembered>;
}

bool remember(const char *key, size_t len, uint64_t number, int64_t expires_ms)
{
	std::string text(key, len);

	if (map->find(text) != map->end())
		return false;
	map->emplace(std::move(text), remembered{7, expires_ms, int64_t(number), 0, 1});
	return true;
}

void settle()
{
}
} // namespace

extern "C" const struct peer peer_map = {"std::unordered_map", open_map, remember, settle};
