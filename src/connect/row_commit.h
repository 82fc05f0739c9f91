/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_ROW_COMMIT_H
#define WEIR_CONNECT_ROW_COMMIT_H

#include "connect/runner.h"

/* Rows of state (source_row.h) in commits of their own. Those that change with records are row_changes.h. */

/*
 * Puts or removes (value.ptr NULL) one row. frees and done as state.h has them. 0, or what log_enter gives, with nothing
 * changed. Any thread.
 */
int row_commit(const struct runner_shared *shared, struct slice key, struct slice value, bool frees,
	       const struct state_done *done);

/*
 * Deletes the rows of a source or of a run whose kinds are among `kinds` ("sp"), some hundred a commit. Nothing that
 * writes them may run. 0, or what log_enter gives, with some of them gone. done, NULL: nobody: told when all of them are gone
 * from the disk too, after 0, also where there were none. Any thread.
 */
int row_commit_forget(const struct runner_shared *shared, const char *name, const char *kinds,
		      const struct state_done *done);

#endif
