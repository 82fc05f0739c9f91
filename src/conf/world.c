/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process's own variables and files. It calls the kernel itself and not
 * through sys: configuration is read before there is a sys, secrets may be
 * pipes (`--config /dev/fd/3`), and the permission bits matter here alone.
 */
#include "conf/world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *process_variable(void *self, const char *name)
{
	(void)self;
	return getenv(name);
}

static int read_all(int fd, size_t bytes_max, struct buf *out)
{
	size_t before = out->len;
	char chunk[4096];

	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk)); /* banned-ok: see above */
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		if (out->len - before + (size_t)n > bytes_max)
			return -EFBIG;
		if (buf_append(out, chunk, (size_t)n) != 0)
			return -ENOMEM;
	}
}

static int process_file(void *self, const char *path, size_t bytes_max, struct buf *out, uint32_t *mode)
{
	struct stat st;

	(void)self;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY); /* banned-ok: see above */
	if (fd < 0)
		return -errno;
	int err = fstat(fd, &st) == 0 ? 0 : -errno; /* banned-ok: see above */
	if (!err) {
		*mode = (uint32_t)st.st_mode & 07777;
		err = read_all(fd, bytes_max, out);
	}
	close(fd); /* banned-ok: see above */
	return err;
}

const struct conf_world *conf_world_process(void)
{
	static const struct conf_world world = {.variable = process_variable, .file = process_file};

	return &world;
}
