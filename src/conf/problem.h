/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_PROBLEM_H
#define WEIR_CONF_PROBLEM_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

/*
 * What is wrong with a file: a list of places with a sentence each. Bounded at
 * CONF_PROBLEMS_MAX; past it only the count goes on.
 */
#define CONF_PROBLEMS_MAX 200u

/* Offending text for "%.*s", cut to what a line can hold. */
#define CONF_SHOWN(s) (int)((s).len > 80 ? 80 : (s).len), (const char *)((s).ptr ? (const char *)(s).ptr : "")

struct conf_mark {
	uint32_t line;   /* from 1; 0: of the whole file */
	uint32_t column; /* from 1, in characters */
};

struct conf_problem {
	const char *file;
	struct conf_mark at;
	bool warning;        /* told, but not a reason to refuse */
	const char *key;     /* path of the setting, or NULL */
	const char *text;    /* what was found and what was expected */
	const char *nearest; /* the nearest valid name, or NULL; also in text */
	const char *source;  /* the line of the file as it may be shown, without its end, or NULL */
	uint32_t column; /* of the place in `source`, where something before it is covered; 0: that of `at` */
};

struct conf_problems {
	struct conf_problem *list;
	uint32_t count;  /* in list */
	uint32_t errors; /* all of them, also those past the bound */
	uint32_t warnings;
	struct arena arena;
};

void conf_problems_init(struct conf_problems *p);
void conf_problems_fini(struct conf_problems *p);

/* Copies what it is given. Without memory the counts go up and nothing else. */
void conf_problems_add(struct conf_problems *p, const struct conf_problem *problem);

/* Puts them in order of place. */
void conf_problems_sort(struct conf_problems *p);

/*
 * Appends all of them, `file:line:column: text` each, with the line and a caret
 * below where `with_source`; a last line tells how many were left out, if any.
 */
int conf_problems_text(const struct conf_problems *p, bool with_source, struct buf *out);

/* Appends them as a JSON array. */
int conf_problems_json(const struct conf_problems *p, struct buf *out);

#endif
