/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_SOURCE_RUNS_H
#define WEIR_SERVE_HTTP_SOURCE_RUNS_H

#include "base/buf.h"
#include "connect/sources.h"

/* Appends the runs of a source as a JSON array. ERR_UNKNOWN_SOURCE; errors of the buffer stick in it. */
int source_put_runs(struct sources *sources, struct slice source, struct buf *out);

#endif
