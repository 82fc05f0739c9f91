/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_LINES_TEST_H
#define WEIR_CONNECT_LINES_TEST_H

/*
 * The example of docs/internals/connect.md: a type that follows a text file. Tests of
 * the machinery use it.
 */
#include <stdio.h>

#include "base/mem.h"
#include "base/wire.h"
#include "connect/source.h"

struct lines_settings {
	const char *path;
};

static const struct setting lines_table[] = {
	{"path", NULL, "File to follow.", .type = SETTING_STRING, .min = 1, .max = 4000,
	 .flags = SETTING_REQUIRED, SETTING_MEMBER(struct lines_settings, path)},
};

static inline int lines_open(const struct source_setup *setup, void **self, struct fault *fault)
{
	(void)fault;
	*self = (void *)(uintptr_t)setup->settings; /* nothing else is needed */
	return 0;
}

static inline void lines_close(void *self)
{
	(void)self;
}

/* Each whole line of the piece is a record. Gives the bytes that were used. */
static inline size_t lines_add(struct source_batch *batch, const uint8_t *piece, size_t n)
{
	struct source_record record = SOURCE_RECORD_INIT;
	size_t used = 0;
	const uint8_t *end;

	while (!source_full(batch) && (end = memchr(piece + used, '\n', n - used)) != NULL) {
		record.value = slice_make(piece + used, (size_t)(end - piece) - used);
		record.stays = true; /* the piece is the batch's memory: nothing is copied */
		if (source_add(batch, &record))
			break;
		used = (size_t)(end - piece) + 1;
	}
	return used;
}

static inline enum source_end lines_pull(void *self, struct source_part *part, struct source_batch *batch)
{
	const struct lines_settings *settings = self;
	struct slice from = part->checkpoint.bytes; /* the place in the file, or none at first */
	uint64_t at = from.ptr ? wire_load_u64(from.ptr) : 0;
	size_t room = 256u << 10, n, used;
	uint8_t *piece = source_alloc(batch, room), place[8];
	FILE *file = fopen(settings->path, "re");

	if (!file)
		return source_fail(&batch->call, SOURCE_TRANSIENT, "%s cannot be opened: %m", settings->path);
	n = piece && fseek(file, (long)at, SEEK_SET) == 0 ? fread(piece, 1, room, file) : 0;
	fclose(file);
	used = lines_add(batch, piece, n);
	wire_put_u64(place, at + used);
	if (used)
		source_mark(batch, 1, slice_make(place, sizeof(place)));
	return used && (used == n || source_full(batch)) ? SOURCE_MORE : SOURCE_IDLE;
}

static const struct source_type source_lines = {
	.kind = {.name = "lines",
		 .summary = "Lines of one text file, as it grows",
		 .settings = lines_table,
		 .setting_count = 1,
		 .settings_bytes = sizeof(struct lines_settings)},
	.flags = SOURCE_BLOCKS,
	.every_ms = 1000,
	.open = lines_open,
	.close = lines_close,
	.pull = lines_pull,
};

#endif
