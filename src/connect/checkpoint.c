/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "connect/inner.h"

int source_checkpoint_copy(struct source_checkpoint *out, struct source_checkpoint from)
{
	*out = (struct source_checkpoint){.version = from.version};
	if (!from.bytes.ptr)
		return 0;
	out->bytes = slice_make(mem_strndup(from.bytes.ptr, from.bytes.len), from.bytes.len);
	return out->bytes.ptr ? 0 : ERR_NOMEM;
}

void source_checkpoint_free(struct source_checkpoint *c)
{
	mem_free((void *)(uintptr_t)c->bytes.ptr);
	*c = (struct source_checkpoint){0};
}

void source_checkpoint_move(struct source_checkpoint *to, struct source_checkpoint *from)
{
	source_checkpoint_free(to);
	*to = *from;
	*from = (struct source_checkpoint){0};
}
