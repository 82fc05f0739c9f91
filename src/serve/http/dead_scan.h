/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_DEAD_SCAN_H
#define WEIR_SERVE_HTTP_DEAD_SCAN_H

#include "ingest/dead.h"
#include "serve/app.h"

/*
 * Dead letters of one topic that somebody has selected: gone through in order of offset, on a thread that may
 * wait for the disk, a page at a time. A page ends where it has as many letters or bytes as were asked
 * for, or where it has looked at so many that others should have their turn.
 */
#define DEAD_SCAN_BYTES ((size_t)8 << 20) /* of the letters of a page; one always goes */
#define DEAD_SCAN_LOOK ((size_t)64 << 20) /* of the log, for one page */
#define DEAD_IDS_MAX 1000u

struct dead_filter {
	int state;                         /* enum dead_state; -1: any */
	struct slice code, pointer, value; /* ptr NULL: any */
	bool has_pointer;
	int64_t from_ms, to_ms; /* [from, to) of when it was set aside */
	const int64_t *ids;     /* these alone, rising; NULL: by the rest */
	uint32_t id_count;
};

struct dead_found {
	int64_t offset, timestamp_ms;
	struct dead_letter letter;
	struct dead_mark mark;
	struct slice headers; /* as the record has them, the block too */
	uint32_t header_count;
};

struct dead_scan {
	/* The caller's, before; what it points to stays until the scan is freed. */
	struct dead_marks *marks;
	struct topic *topic; /* of dead letters */
	struct dead_filter filter;
	int64_t after; /* letters behind this offset; -1: all */
	uint32_t limit;
	/* What came of it: in the arena, which is the caller's from dead_scan_run's return on. */
	int err; /* 0, ERR_IO, ERR_NOMEM … */
	struct dead_found *found;
	uint32_t count;
	bool more;    /* there may be more of them behind `last` */
	int64_t last; /* the last offset that was looked at */
	struct arena arena;
};

void dead_scan_init(struct dead_scan *s, size_t arena_bytes_max);
void dead_scan_fini(struct dead_scan *s);

/* On a thread that may wait. */
void dead_scan_run(struct dead_scan *s);

#endif
