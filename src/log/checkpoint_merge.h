/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_CHECKPOINT_MERGE_H
#define WEIR_LOG_CHECKPOINT_MERGE_H

#include "base/buf.h"

/*
 * Makes the one checkpoint that both copies (borrowed) were, where neither is whole but they are damaged in different
 * places. 0 and *out (initialised here, the caller's to free in any case); 1 where no choice between them is whole, or more
 * than one; ERR_NOMEM.
 */
int checkpoint_merge(struct slice a, struct slice b, struct buf *out);

#endif
