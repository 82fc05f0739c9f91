/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What types call from within a call: how it fails, that it is done, what the user
 * should know. Texts go through here so that no secret of the settings gets into a log line, an
 * answer or a metric: types may put what a library said into a fault as it is.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "connect/inner.h"
#include "conf/redact.h"

void source_redact(const struct source *source, char *text)
{
	text[redact_text(source->secrets, source->secret_count, text, strlen(text))] = 0;
}

void source_call_init(struct source_call *call, struct source *source,
		      void (*on_done)(struct source_call *call, enum source_end end))
{
	call->source = source;
	call->fault = (struct fault){0};
	call->failure = SOURCE_TRANSIENT;
	call->not_before_ms = 0;
	call->quota_left = call->quota_reset_ms = -1;
	call->requests = 0;
	call->bytes_read = 0;
	atomic_store(&call->cancelled, false);
	call->on_done = on_done;
}

int source_refuse_absent(const struct source_type *type, struct fault *fault)
{
	return fault_set(fault, ERR_NOT_IMPLEMENTED, "this weir was built without %s", type->absent);
}

int source_open(const struct source_type *type, const struct source_setup *setup, void **self,
		struct fault *fault)
{
	if (type->absent)
		return source_refuse_absent(type, fault);
	return type->open(setup, self, fault);
}

int source_refuse_files(const struct source_setup *setup, bool named, const char *what, struct fault *fault)
{
	if (!setup->guarded || !named)
		return 0;
	return fault_set(fault, ERR_BAD_PARAMETER, "%s of this machine: only the configuration file may",
			 what);
}

void source_cut(struct source *source, uint32_t connections)
{
	atomic_fetch_add(&source->cut, connections);
}

enum source_end source_fail(struct source_call *call, enum source_failure failure, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(call->fault.text, sizeof(call->fault.text), format, args);
	va_end(args);
	source_redact(call->source, call->fault.text);
	call->fault.err = ERR_INTERNAL;
	call->failure = failure;
	return SOURCE_FAILED;
}

void source_done(struct source_call *call, enum source_end end)
{
	call->on_done(call, end);
}

void source_warn(struct source *source, const char *format, ...)
{
	char text[504];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	source_redact(source, text);
	source->ops->warn(source, text);
}

void source_wake(struct source_part *part)
{
	part->source->ops->wake(part);
}

void source_plan_again(struct source *source)
{
	source->ops->plan_again(source);
}
