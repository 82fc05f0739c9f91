/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_WEIR_WEIR_H
#define WEIR_CONNECT_WEIR_WEIR_H

#include "connect/source.h"

/*
 * A topic of another weir, read by cursor over HTTP: long polls, one after the other. The cursor behind a page
 * is the checkpoint and enters with the page's records, so each record is stored once, whichever of the two
 * weirs dies. docs/internals/weir.md.
 */
extern const struct source_type source_weir;

/*
 * And the reverse: a topic of this weir is sent to another one, over connections that this one opens. Each record has an
 * idempotency key made of where it stands here.
 */
extern const struct source_type source_weir_push;

#endif
