/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_TEXT_TEMPLATE_H
#define WEIR_CONNECT_TEXT_TEMPLATE_H

#include "base/buf.h"
#include "base/err.h"

/*
 * Text with {names} in it, for URLs, headers, bodies and keys. Only names that are
 * known are replaced: {"a":1} stays what it is. Pure text, no I/O.
 */
enum template_form {
	TEMPLATE_PLAIN, /* as it is */
	TEMPLATE_URL,   /* percent-encoded; a `name={x}` of a query whose value is absent is left out */
	TEMPLATE_JSON,  /* with JSON's escapes, as inside of quotes */
};

/* 1 and *value; 0: known and absent; -1: no such name. The value lives until the next call. */
typedef int template_lookup_fn(void *ctx, struct slice name, struct slice *value);

/* Appends. 0, ERR_LIMIT, ERR_NOMEM. */
int template_expand(struct slice text, enum template_form form, template_lookup_fn *lookup, void *ctx,
		    struct buf *out);

/* True where the text has {name}. */
bool template_has(struct slice text, const char *name);

#endif
