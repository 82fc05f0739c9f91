/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	weir 2
 *	journal 0000000000000004 9f86d081884c7d659a2feaa0c55ad015 6ec2b1a7
 *	        unmarked_to      key                              CRC-32C of the line before it
 *
 * The key stands here and not in a file of its own, so that there is no moment
 * and no copy of the directory in which one is there without the other. Version 1
 * had the first line alone.
 */
#include "log/format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"
#include "log/files.h"

#define TEXT_BYTES 96u
#define VERSION_1 "weir 1\n"
#define VERSION_2 "weir 2\n"

/* Of a line up to its checksum, which is eight digits and the end. */
static int put_line(const struct format *f, char *text, size_t size)
{
	int n = snprintf(text, size, VERSION_2 "journal %016" PRIx64 " %016" PRIx64 "%016" PRIx64 " ",
			 f->unmarked_to, f->journal_key.k0, f->journal_key.k1);

	return n + snprintf(text + n, size - (size_t)n, "%08" PRIx32 "\n", crc32c(0, text, (size_t)n));
}

static uint64_t hex_u64(const char *digits)
{
	uint64_t value = 0;

	for (int i = 0; i < 16; i++) {
		char c = digits[i];
		value = value << 4 | (uint64_t)(c >= 'a' ? c - 'a' + 10 : c - '0');
	}
	return value;
}

/* Each field has its place; what is read must come out the same again, so nothing else is whole. */
static bool parse_line(const char *text, struct format *out)
{
	char again[TEXT_BYTES];
	const char *digits = text + strlen(VERSION_2 "journal ");

	if (strnlen(text, TEXT_BYTES) < strlen(VERSION_2 "journal ") + 49)
		return false;
	out->unmarked_to = hex_u64(digits);
	out->journal_key.k0 = hex_u64(digits + 17);
	out->journal_key.k1 = hex_u64(digits + 33);
	(void)put_line(out, again, sizeof(again));
	return strcmp(text, again) == 0;
}

int format_read(const struct sys *sys, const char *dir, struct format *out, struct fault *fault)
{
	char path[512], text[TEXT_BYTES + 1] = {0};
	int64_t got;
	int fd;

	*out = (struct format){0};
	(void)snprintf(path, sizeof(path), "%s/FORMAT", dir);
	fd = sys->ops->open(sys->self, path, SYS_READ);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fault_set(fault, ERR_IO, "cannot open %s: %s", path, sys_error_text(fd));
	got = sys->ops->pread(sys->self, fd, text, TEXT_BYTES, 0);
	sys->ops->close(sys->self, fd);
	if (got < 0)
		return fault_set(fault, ERR_IO, "cannot read %s: %s", path, sys_error_text((int)got));
	if (got == 0)
		return 0;
	out->version = strcmp(text, VERSION_1) == 0 ? 1 : 2;
	if (out->version == 1)
		return 0;
	if (strncmp(text, VERSION_2, strlen(VERSION_2)) != 0)
		return fault_set(fault, ERR_BAD_VERSION,
				 "%s says \"%.*s\"; this weir reads \"weir 1\" and \"weir 2\"", path,
				 (int)strnlen(text, 6), text);
	if (!parse_line(text, out))
		return fault_set(fault, ERR_CORRUPT, "%s is damaged: its key and checksum do not fit", path);
	return 0;
}

int format_write(const struct sys *sys, const char *dir, const struct format *format)
{
	char text[TEXT_BYTES];

	return files_put(sys, dir, "FORMAT", slice_make(text, (size_t)put_line(format, text, sizeof(text))));
}
