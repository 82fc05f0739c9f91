/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_ZONE_H
#define WEIR_CONNECT_ZONE_H

#include "base/err.h"
#include "base/slice.h"
#include "sys/sys.h"

/*
 * Time zones: what a clock on the wall shows at a moment, and when it first
 * shows a time of day. Read from the TZif files (RFC 8536) of the system's
 * tzdata, because localtime() knows one zone for the whole process. A zone is
 * immutable: any thread may ask it. It knows no present time.
 *
 * A moment is a count of seconds since 1970 UTC. A wall time is the same count
 * of what the clock shows, as if it showed UTC.
 */
struct zone;

#define ZONE_NEVER INT64_MAX

enum {
	ZONE_FILE_BYTES_MAX = 256 * 1024,
	ZONE_TRANSITIONS_MAX = 8192,
	ZONE_NAME_BYTES_MAX = 64,
	ZONE_OFFSET_MAX = 26 * 3600, /* an offset is below this, either way (RFC 8536 section 3.2) */
};

/*
 * Parses a TZif file of version 1 to 4; 0, ERR_BAD_CONFIG with *fault (may be
 * NULL), ERR_NOMEM. Returns owned. Leap seconds are refused.
 */
int zone_parse(struct slice file, struct zone **out, struct fault *fault);

/*
 * Loads a zone by its name ("Europe/Berlin", "UTC") from dir (NULL:
 * /usr/share/zoneinfo). "UTC" needs no file. 0; ERR_BAD_CONFIG with *fault
 * where there is no such name or the file is none; ERR_NOMEM. Returns owned.
 */
int zone_load(const struct sys *sys, const char *dir, struct slice name, struct zone **out,
	      struct fault *fault);

/* Takes; NULL is allowed. */
void zone_free(struct zone *z);

/* Seconds that the clock is ahead of UTC at a moment. */
int32_t zone_offset(const struct zone *z, int64_t at);

/* The first moment after `at` at which the offset changes, or ZONE_NEVER. */
int64_t zone_next_change(const struct zone *z, int64_t at);

/* What the clock shows at a moment. */
static inline int64_t zone_wall(const struct zone *z, int64_t at)
{
	return at + zone_offset(z, at);
}

/*
 * The latest time that the clock has shown up to and at a moment: later than
 * what it shows only where it was put back, until it has caught up.
 */
int64_t zone_wall_reached(const struct zone *z, int64_t at);

/*
 * The first moment at which the clock has reached or passed a wall time: of a
 * time that it shows twice the first, of one that it skips the moment of the
 * skip. The inverse of zone_wall_reached: never earlier for a later wall time.
 */
int64_t zone_first(const struct zone *z, int64_t wall);

#endif
