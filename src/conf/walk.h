/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_WALK_H
#define WEIR_CONF_WALK_H

#include "conf/load.h"
#include "conf/setting.h"

#define WALK_ROWS_MAX 256u
#define WALK_PATH_BYTES 400u

/*
 * One object on its way from a map to a structure, or, for a source, to two: what all
 * sources have, and what its kind has. Rows are numbered through both tables.
 */
struct walk {
	enum setting_scope scope;
	uint32_t excluded; /* rows with these flags are not keys here */
	void *object;
	const struct conf_kind *kind; /* NULL: none */
	void *kind_object;
	char label[WALK_PATH_BYTES];           /* "topic_defaults", "topics[orders]"; empty for the file */
	struct conf_mark marks[WALK_ROWS_MAX]; /* where each row was set; line 0: it was not */
};

/* Stores what a map says; tells what no row takes. Strings are kept where the loader says. */
void walk_map(struct loader *l, struct walk *w, const struct yaml_node *map);

/* Tells the rows that must be given and were not, at the map's place. */
void walk_required(struct loader *l, const struct walk *w, const struct yaml_node *map);

uint32_t walk_row_count(const struct walk *w);

/* The row of a number where it is a key here, else NULL. */
const struct setting *walk_row(const struct walk *w, uint32_t i);

/* The number of the row with this path; walk_row_count where there is none. */
uint32_t walk_find_row(const struct walk *w, struct slice path);

/* True where the row is a key here, and below the section (its path without the last dot; "" is the top). */
bool walk_row_below(const struct setting *s, const char *section);

/* The path as the file's reader knows it: with the label before it. */
void walk_path(const struct walk *w, const char *path, char out[WALK_PATH_BYTES]);

/* Tells a key that no row of this section has. */
void walk_unknown_key(struct loader *l, const struct walk *w, const char *section, const struct yaml_node *n);

#endif
