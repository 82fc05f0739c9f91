/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_SIM_ROT_H
#define WEIR_TESTS_SIM_ROT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Damage of what was synced: a bit turns over in a file of the data directory.
 * What that may cost is known before, from the bytes themselves: the records of
 * the batch that is hit, those of the last group of the journal, or a start that
 * is refused by the name of the file, and then all is there once the bit is back.
 */
struct world;

#define ROT_FILES_MAX 32u

struct rot_file {
	char path[128];
	bool in_base; /* a base offset was hit */
};

struct rot {
	bool pending; /* a flip that may keep weir from starting */
	char path[200];
	uint64_t bit;
	uint8_t byte;                         /* what stands there since */
	bool may_refuse;                      /* else it must start */
	bool cut_off;                         /* the last group may be lost, and then it is told */
	bool told_torn;                       /* since then */
	bool told_gap;                        /* in this life: a damaged segment was named */
	bool undone;                          /* in this life: a start was refused and the bit is back */
	struct rot_file files[ROT_FILES_MAX]; /* segments that were hit */
	uint32_t file_count;
	uint64_t flips, refusals, gaps, cuts;
};

/* Between two lives: any file. */
void rot_strike(struct world *w);
/* While weir runs: a segment that is read. */
void rot_strike_live(struct world *w);

/* A start was refused with these words: true where a flip explains it; the bit is turned back. */
bool rot_explains(struct world *w, const char *text);
/* Weir said something to its log. */
void rot_hear(struct world *w, const char *event);
/* It has started and everything was read. `lost`: the last group is not there. */
void rot_settle(struct world *w, bool lost);

#endif
