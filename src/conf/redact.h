/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_REDACT_H
#define WEIR_CONF_REDACT_H

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

/* Does the name say that its value is secret: password, api_key, Authorization? */
bool redact_is_name(struct slice name);

/* Secrets as they are found. The caller's lists; the arena's copies. */
#define REDACT_SECRETS_MAX 256u
struct redact_found {
	struct arena *arena;
	const char *list[REDACT_SECRETS_MAX];
	uint32_t count;
	int err; /* ERR_NOMEM: some are missing */
};
/* A value that is secret by its setting, or by `name` (may be null), or has secrets in it. */
void redact_look_at(struct redact_found *found, bool secret, struct slice name, struct slice value);

/* Where "user:password" of the authority ends that begins at `at`; `at` where nobody is named. */
size_t redact_end_of_user(struct slice text, size_t at);

/* Only the secrets, in place, as redact_text does it. */
size_t redact_secrets_in(const char *const *secrets, uint32_t count, char *text, size_t n);

/*
 * In place; gives the new length, which is never more. Secrets of at least 4 bytes become ***, also one that the text was
 * cut in; then of every URL who asks and the query.
 */
size_t redact_text(const char *const *secrets, uint32_t count, char *text, size_t n);

#endif
