/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES (64u << 10)

int lines_open(struct lines *l, const char *path, struct fault *fault)
{
	*l = (struct lines){.fd = STDIN_FILENO};
	buf_init(&l->bytes, LINE_BYTES_MAX + READ_BYTES);
	if (!path || strcmp(path, "-") == 0)
		return 0;
	l->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (l->fd < 0)
		return fault_set(fault, ERR_IO, "cannot open %.300s: %s", path, strerrordesc_np(errno));
	return 0;
}

void lines_close(struct lines *l)
{
	if (l->fd > STDIN_FILENO)
		close(l->fd);
	buf_fini(&l->bytes);
	*l = (struct lines){.fd = -1, .ended = true};
}

int lines_read(struct lines *l, struct fault *fault)
{
	ssize_t n;

	buf_consume(&l->bytes, l->at);
	l->at = 0;
	if (l->bytes.len > LINE_BYTES_MAX)
		return fault_set(fault, ERR_LIMIT, "line %llu is longer than %u MiB",
				 (unsigned long long)l->count + 1, LINE_BYTES_MAX >> 20);
	int err = buf_reserve(&l->bytes, READ_BYTES);
	if (err)
		return fault_set(fault, err, "no memory for line %llu", (unsigned long long)l->count + 1);
	do {
		n = read(l->fd, l->bytes.ptr + l->bytes.len, READ_BYTES);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		return fault_set(fault, ERR_IO, "cannot read: %s", strerrordesc_np(errno));
	if (n == 0)
		l->ended = true;
	if (n > 0)
		l->bytes.len += (size_t)n;
	return 0;
}

bool lines_next(struct lines *l, struct slice *line)
{
	size_t left = l->bytes.len - l->at;
	const uint8_t *from = l->bytes.ptr + l->at;

	const uint8_t *end = left > l->seen ? memchr(from + l->seen, '\n', left - l->seen) : NULL;
	if (!end && !(l->ended && left > 0)) {
		l->seen = left;
		return false;
	}
	*line = slice_make(from, end ? (size_t)(end - from) : left);
	l->at += line->len + (end != NULL);
	l->seen = 0;
	l->count++;
	return true;
}

bool lines_done(const struct lines *l)
{
	return l->ended && l->at == l->bytes.len;
}
