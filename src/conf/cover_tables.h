/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONF_COVER_TABLES_H
#define WEIR_CONF_COVER_TABLES_H

#include "conf/cover.h"
#include "conf/redact.h"

/* For cover.c, whose cover_is_secret_name stands here too. */

/* ${env:NAME} or ${file:PATH} and nothing else: it says where the secret is. */
bool cover_is_reference(struct slice text);

/* Finds what is secret of the values that stand in this line (0: none), as far as the tree tells. */
void cover_gather(const struct cover *c, uint32_t line, struct redact_found *found);

#endif
