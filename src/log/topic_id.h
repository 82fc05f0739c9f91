/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_TOPIC_ID_H
#define WEIR_LOG_TOPIC_ID_H

#include "base/slice.h"

/* The stable UUID of a topic. Names are state's affair. */
struct topic_id {
	uint8_t bytes[16];
};

static inline bool topic_id_eq(const struct topic_id *a, const struct topic_id *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* Writes xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx and a NUL: 37 bytes. */
void topic_id_text(const struct topic_id *id, char *out);

/* False where the text is no UUID in that form. */
bool topic_id_parse(struct slice text, struct topic_id *out);

#endif
