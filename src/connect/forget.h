/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_FORGET_H
#define WEIR_CONNECT_FORGET_H

#include "connect/runner.h"

/*
 * Deletes the rows of a source or of a run whose kinds are among `kinds` ("sp"), some hundred a commit. Nothing that
 * writes them may run. 0, or what log_enter gives, with some of them gone. Any thread.
 */
int source_forget(const struct runner_shared *shared, const char *name, const char *kinds);

#endif
