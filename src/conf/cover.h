/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_COVER_H
#define WEIR_CONF_COVER_H

#include "conf/conf.h"
#include "conf/yaml.h"

/*
 * Lines of a configuration, and what is said of its values, as they may be shown: what the tables of settings mark as secret becomes
 * ***, and so does what may be secret in other texts (conf/redact.h). References such as ${env:TOKEN} stay as they are.
 */
struct cover {
	const struct conf_kinds *kinds; /* may be NULL */
	const struct conf_kind *kind;   /* of the whole text, where it is one source's; else NULL */
	bool item;                      /* the text is one source, whose kind it names */
	struct slice text;
	const struct yaml_node *root; /* NULL: it could not be read */
};

#define COVER_LINE_MAX 4096u /* of a line is looked at */

/* Is what stands behind this key secret? As its row is marked; of a name that no table has, what it sounds like. */
bool cover_is_secret_name(const struct cover *c, struct slice name);

/*
 * The line (from 1) with what is secret covered, NUL terminated and cut to `room`; gives its length. *column, from 1 and in
 * characters, follows what stands there. 0 where there is no such line.
 */
size_t cover_line(const struct cover *c, uint32_t line, char *out, size_t room, uint32_t *column);

/* The same for a sentence about what stands in this line (0: none), in place; gives its length. */
size_t cover_sentence(const struct cover *c, uint32_t line, char *text, size_t n);

/* A value as a sentence shows it: *** where it is secret, else without what may be secret in it. NUL terminated, cut to `room`. */
void cover_value(struct slice value, bool secret, char *out, size_t room);

#endif
