/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_LOAD_H
#define WEIR_CONF_LOAD_H

#include "base/arena.h"
#include "base/err.h"
#include "conf/conf.h"
#include "conf/cover.h"
#include "conf/problem.h"
#include "conf/yaml.h"

/*
 * One reading of a file or body, as the files of this room that do it share it: what is read, where what is found goes,
 * and how what is wrong is told. Of one thread, within one call of conf.h.
 */
struct loader {
	struct conf *conf;
	struct conf_problems *problems;
	const struct conf_world *world;
	const char *name;
	struct slice text;
	struct cover cover;  /* of what is shown of it */
	struct arena arena;  /* of the tree */
	struct arena *store; /* where strings are kept */
	int err;             /* ERR_NOMEM, once */
};

struct walk;

/* A problem of this file; its line of the text, if it has one, is put beside it. Copies what it is given. */
void load_problem(struct loader *l, struct conf_problem problem);

/* The same, an error with its sentence; key: path of the setting, or NULL. */
void load_tell(struct loader *l, struct conf_mark at, const char *key, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Out of memory, or more errors than anybody reads. */
bool load_gave_up(const struct loader *l);

/* snprintf where cutting is what is wanted. Gives the bytes that are there now. */
size_t load_print(char *out, size_t room, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The lists of the file; NULL: it has none. topic_defaults must have been read. */
void load_topics(struct loader *l, const struct yaml_node *list);
void load_sources(struct loader *l, const struct yaml_node *list);

/* Checks between settings of the file, once all were read. */
void load_between(struct loader *l, const struct walk *w);

#endif
