/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_WORLD_H
#define WEIR_CONF_WORLD_H

#include "base/buf.h"

/*
 * What a configuration may ask of its surroundings: variables and files. A
 * table of functions, so that tests and the fuzzer have a world of their own.
 */
struct conf_kinds;
struct conf_world {
	void *self;
	/* The value of a variable, borrowed; NULL where it is not set. */
	const char *(*variable)(void *self, const char *name);
	/* Appends a file of at most bytes_max bytes; 0 or -errno (-EFBIG above). *mode gets its permission bits. */
	int (*file)(void *self, const char *path, size_t bytes_max, struct buf *out, uint32_t *mode);
	const struct conf_kinds *kinds; /* of sources (conf.h); NULL: none */
};

/* The process's environment and the file system. Borrowed for ever. */
const struct conf_world *conf_world_process(void);

#endif
