/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What types call from within a call: how it fails, that it is done, what the user
 * should know. Texts go through here so that no secret of the settings gets into a log line, an
 * answer or a metric: types may put what a library said into a fault as it is.
 */
#include <stdarg.h>
#include <stdio.h>

#include "connect/inner.h"

#define SECRET_BYTES_MIN 4u

static void cut_to(char *at, size_t secret, const char *by)
{
	size_t n = strlen(by);

	memcpy(at, by, n);
	memmove(at + n, at + secret, strlen(at + secret) + 1);
}

void source_redact(const struct source *source, char *text)
{
	for (uint32_t i = 0; i < source->secret_count; i++) {
		const char *secret = source->secrets[i];
		size_t n = strlen(secret);
		char *at = text;
		while (n >= SECRET_BYTES_MIN && (at = strstr(at, secret)) != NULL) {
			cut_to(at, n, "***");
			at += 3;
		}
	}
}

static uint32_t count_secrets(const struct setting *s, const void *object)
{
	const void *member = (const char *)object + s->offset;

	if (s->type == SETTING_LIST)
		return ((const struct conf_list *)member)->count;
	if (s->type == SETTING_MAP)
		return ((const struct conf_map *)member)->count;
	return s->type == SETTING_STRING && *(const char *const *)member;
}

static const char *secret_at(const struct setting *s, const void *object, uint32_t i)
{
	const void *member = (const char *)object + s->offset;

	if (s->type == SETTING_LIST)
		return ((const struct conf_list *)member)->items[i];
	if (s->type == SETTING_MAP)
		return ((const struct conf_map *)member)->values[i];
	return *(const char *const *)member;
}

int source_secrets(const struct conf_kind *kind, const void *settings, struct arena *arena,
		   const char *const **secrets, uint32_t *count)
{
	const char **list;
	uint32_t n = 0;

	for (uint32_t i = 0; i < kind->setting_count; i++)
		if (kind->settings[i].flags & SETTING_SECRET)
			n += count_secrets(&kind->settings[i], settings);
	list = arena_zalloc(arena, n ? n : 1, sizeof(*list));
	if (!list)
		return ERR_NOMEM;
	*count = 0;
	for (uint32_t i = 0; i < kind->setting_count; i++)
		for (uint32_t k = 0; (kind->settings[i].flags & SETTING_SECRET) &&
				     k < count_secrets(&kind->settings[i], settings);
		     k++)
			list[(*count)++] = secret_at(&kind->settings[i], settings, k);
	*secrets = list;
	return 0;
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

int source_open(const struct source_type *type, const struct source_setup *setup, void **self,
		struct fault *fault)
{
	if (type->absent)
		return fault_set(fault, ERR_NOT_IMPLEMENTED, "this weir was built without %s", type->absent);
	return type->open(setup, self, fault);
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
