/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/expand.h"

#include <stdio.h>

#include "sys/sys.h"

#define PATH_BYTES_MAX 4096u

static bool is_name(const char *name)
{
	if (!*name || (*name >= '0' && *name <= '9'))
		return false;
	for (; *name; name++) {
		bool letter = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z');
		if (!letter && *name != '_' && !(*name >= '0' && *name <= '9'))
			return false;
	}
	return true;
}

static int put_variable(const char *name, const struct conf_world *world, struct buf *out,
			struct fault *fault)
{
	if (!is_name(name))
		return fault_set(fault, ERR_BAD_CONFIG,
				 "\"%.80s\" is not the name of an environment variable", name);
	const char *value = world->variable(world->self, name);
	if (!value)
		return fault_set(fault, ERR_BAD_CONFIG, "the environment variable %.80s is not set", name);
	return buf_append_str(out, value);
}

static int put_file(const char *path, const struct conf_world *world, struct buf *out,
		    struct expand_result *result, struct fault *fault)
{
	uint32_t mode = 0;
	size_t before = out->len;

	int err = world->file(world->self, path, EXPAND_BYTES_MAX, out, &mode);
	if (err)
		return fault_set(fault, ERR_BAD_CONFIG, "cannot read the file %.200s: %s", path,
				 sys_error_text(err));
	if (out->len > before && out->ptr[out->len - 1] == '\n')
		out->len--;
	if (out->len > before && out->ptr[out->len - 1] == '\r')
		out->len--;
	if (mode & 004)
		snprintf(result->warning, sizeof(result->warning),
			 "the file %.200s can be read by every user of this machine (mode %04o): chmod 600 it",
			 path, mode);
	return 0;
}

/* One ${...}; `body` is what stands inside. */
static int put_one(struct slice body, const struct conf_world *world, struct buf *out,
		   struct expand_result *result, struct fault *fault)
{
	char name[PATH_BYTES_MAX];
	size_t skip = 0;

	if (slice_starts(body, SLICE_LIT("env:")))
		skip = 4;
	else if (slice_starts(body, SLICE_LIT("file:")))
		skip = 5;
	if (!skip)
		return fault_set(
			fault, ERR_BAD_CONFIG,
			"${%.*s} is not known: expected ${env:NAME} or ${file:PATH} ($${ for a literal ${)",
			(int)(body.len < 80 ? body.len : 80), (const char *)body.ptr);
	struct slice rest = slice_from(body, skip);
	if (rest.len == 0 || rest.len >= sizeof(name) || memchr(rest.ptr, 0, rest.len))
		return fault_set(fault, ERR_BAD_CONFIG, "expected a name in ${%s}",
				 skip == 4 ? "env:NAME" : "file:PATH");
	memcpy(name, rest.ptr, rest.len);
	name[rest.len] = 0;
	result->changed = true;
	return skip == 4 ? put_variable(name, world, out, fault) : put_file(name, world, out, result, fault);
}

int expand(struct slice text, const struct conf_world *world, struct buf *out, struct expand_result *result,
	   struct fault *fault)
{
	*result = (struct expand_result){0};
	for (size_t i = 0; i < text.len;) {
		struct slice rest = slice_from(text, i);
		if (slice_starts(rest, SLICE_LIT("$${"))) {
			buf_append_str(out, "${");
			i += 3;
			continue;
		}
		if (!slice_starts(rest, SLICE_LIT("${"))) {
			buf_append_byte(out, text.ptr[i++]);
			continue;
		}
		const uint8_t *end = memchr(rest.ptr, '}', rest.len);
		if (!end)
			return fault_set(fault, ERR_BAD_CONFIG, "${ without a closing }");
		struct slice body = slice_make(rest.ptr + 2, (size_t)(end - rest.ptr) - 2);
		int err = put_one(body, world, out, result, fault);
		if (err == ERR_BAD_CONFIG)
			return err;
		i += body.len + 3;
	}
	if (buf_status(out) == ERR_LIMIT)
		return fault_set(fault, ERR_BAD_CONFIG, "longer than %u bytes", EXPAND_BYTES_MAX);
	return buf_status(out);
}
