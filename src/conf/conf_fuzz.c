/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a configuration file, and as one size, duration and topic key.
 * Held: no crash, a conf or at least one error, and what is written parses to
 * the same again.
 */
#include <errno.h>

#include "base/check.h"
#include "conf/conf.h"
#include "conf/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* libfyaml 0.7.12 loses a buffer of its error reporting on some malformed keys; the process reads a file a reload. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libfyaml";
}

static const char *no_variable(void *self, const char *name)
{
	(void)self;
	return name[0] == 'A' ? "4" : NULL;
}

static int no_file(void *self, const char *path, size_t bytes_max, struct buf *out, uint32_t *mode)
{
	(void)self;
	(void)bytes_max;
	*mode = 0644;
	return path[0] == 'a' ? buf_append_str(out, "text\n") : -ENOENT;
}

static void check_file(struct slice text)
{
	const struct conf_world world = {.variable = no_variable, .file = no_file};
	struct conf_problems problems;
	struct conf *c;
	struct buf out;

	conf_problems_init(&problems);
	int err = conf_load_text(text, "fuzz.yaml", &world, &c, &problems);
	CHECK((err == 0) == (c != NULL));
	CHECK((err == ERR_BAD_CONFIG) == (problems.errors > 0) || err == ERR_NOMEM);
	buf_init(&out, 4u << 20);
	CHECK(conf_problems_text(&problems, true, &out) == 0);
	buf_fini(&out);
	conf_free(c);
	conf_problems_fini(&problems);
}

static void check_value(struct slice text)
{
	struct conf_topic topic;
	struct fault fault;
	struct buf out;
	int64_t value, again;

	buf_init(&out, 256);
	if (conf_parse_duration(text, &value)) {
		CHECK(conf_format_duration(&out, value) == 0);
		CHECK(conf_parse_duration(buf_slice(&out), &again) && again == value);
	}
	buf_clear(&out);
	if (conf_parse_size(text, &value)) {
		CHECK(conf_format_size(&out, value) == 0);
		CHECK(conf_parse_size(buf_slice(&out), &again) && again == value);
	}
	buf_fini(&out);
	conf_topic_init(&topic);
	(void)conf_topic_set(&topic, SLICE_LIT("retention"), text, &fault);
	(void)conf_topic_set(&topic, text, SLICE_LIT("1"), &fault);
	(void)conf_is_address(text);
	(void)conf_is_origin(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct slice text = slice_make(bytes, n);

	if (n < 64)
		check_value(text);
	check_file(text);
	return 0;
}
