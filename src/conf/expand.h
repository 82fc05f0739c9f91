/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_EXPAND_H
#define WEIR_CONF_EXPAND_H

#include "base/err.h"
#include "conf/world.h"

#define EXPAND_BYTES_MAX 65536u

struct expand_result {
	bool changed;      /* something was put in */
	char warning[504]; /* a secret that others may read; empty: none */
};

/*
 * Appends the text with ${env:NAME} and ${file:PATH} replaced (a file without
 * its last line end). $${ gives ${ literally; any other $ stands for itself.
 * What was put in is not looked at again. 0, ERR_NOMEM, or ERR_BAD_CONFIG with
 * *fault: unknown form, not set, not readable, over EXPAND_BYTES_MAX.
 */
int expand(struct slice text, const struct conf_world *world, struct buf *out, struct expand_result *result,
	   struct fault *fault);

#endif
