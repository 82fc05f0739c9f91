/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_REDACT_H
#define WEIR_CONNECT_REDACT_H

#include "base/arena.h"
#include "conf/conf.h"

/*
 * Which texts of a source's settings say who asks, and how they are kept out of what is shown: failures, log lines,
 * warnings, dead letters, settings, metrics. Whoever puts a text together from what a library or a server
 * said gives it here; types do by source_fail, source_warn and source_add_dead.
 */

/*
 * The secrets of a source: every value of a secret row; in other texts the password of a URL and what stands behind a name such as
 * token, key or password ("api_key=…", "\"token\": \"…\"", a header); and forms in which they come back: without percent signs, as
 * Basic has them, behind "Bearer ". NUL terminated, in the arena. ERR_NOMEM.
 */
int redact_secrets(const struct conf_kind *kind, const void *settings, struct arena *arena,
		   const char *const **secrets, uint32_t *count);

/*
 * In place; gives the new length, which is never more. Secrets of at least 4 bytes become ***, also one that the text was
 * cut in; then of every URL who asks and the query.
 */
size_t redact_text(const char *const *secrets, uint32_t count, char *text, size_t n);

#endif
