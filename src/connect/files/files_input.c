/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain files are read where they are asked for. A compressed one is a stream: a place in it is
 * reached by unpacking from the beginning and throwing away, which happens once after a restart.
 */
#include "connect/files/files_input.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "proto/coding/unpacker.h"
#include "sys/sys.h"

enum { CHUNK = 64 * 1024 };

struct files_input {
	int fd;
	uint64_t at;               /* of the content */
	uint64_t raw;              /* of the file: what was read of it */
	struct unpacker *unpacker; /* NULL: plain */
	struct slice given;        /* of the chunk: what it has not taken yet */
	uint8_t chunk[];
};

static enum unpack_coding coding_of(int fd)
{
	static const uint8_t gzip[] = {0x1f, 0x8b}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd};
	uint8_t head[4];
	ssize_t n = pread(fd, head, sizeof(head), 0);

	if (n >= 2 && memcmp(head, gzip, sizeof(gzip)) == 0)
		return UNPACK_GZIP;
	return n == 4 && memcmp(head, zstd, sizeof(zstd)) == 0 ? UNPACK_ZSTD : UNPACK_NONE;
}

/* Reads and throws away, up to a place. */
static int go_to(struct files_input *in, uint64_t at, struct fault *fault)
{
	uint8_t *waste = mem_alloc(CHUNK);
	int64_t n = 1;

	while (waste && n > 0 && in->at < at)
		n = files_input_read(in, waste, at - in->at < CHUNK ? (size_t)(at - in->at) : CHUNK, fault);
	mem_free(waste);
	if (!waste)
		return ERR_NOMEM;
	if (n == 0)
		return fault_set(fault, ERR_IO, "the file is shorter than what was read of it before");
	return n < 0 ? (int)n : 0;
}

int files_input_open(const char *path, uint64_t at, struct files_input **out, struct fault *fault)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = 0;

	if (fd < 0)
		return fault_set(fault, ERR_IO, "%s cannot be opened: %s", path, sys_error_text(-errno));
	enum unpack_coding coding = coding_of(fd);
	struct unpack_limits limits = {0};
	struct files_input *in = mem_zalloc(1, sizeof(*in) + (coding == UNPACK_NONE ? 0 : CHUNK));
	if (!in) {
		close(fd);
		return ERR_NOMEM;
	}
	in->fd = fd;
	if (coding == UNPACK_NONE)
		in->at = in->raw = at;
	else if ((rc = unpacker_new(coding, &limits, &in->unpacker)) == 0)
		rc = go_to(in, at, fault);
	if (rc) {
		files_input_close(in);
		return rc;
	}
	*out = in;
	return 0;
}

void files_input_close(struct files_input *in)
{
	if (!in)
		return;
	unpacker_free(in->unpacker);
	close(in->fd);
	mem_free(in);
}

static int64_t read_raw(struct files_input *in, void *bytes, size_t n, struct fault *fault)
{
	ssize_t got;

	do
		got = pread(in->fd, bytes, n, (off_t)in->raw);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return fault_set(fault, ERR_IO, "reading failed at byte %llu: %s",
				 (unsigned long long)in->raw, sys_error_text(-errno));
	in->raw += (uint64_t)got;
	return got;
}

/* The next plain bytes of a stream; 0 at its end. */
static int64_t unpack(struct files_input *in, uint8_t *bytes, size_t n, struct fault *fault)
{
	int64_t made;

	while ((made = unpacker_next(in->unpacker, &in->given, bytes, n, fault)) == 0) {
		int64_t got = read_raw(in, in->chunk, CHUNK, fault);
		if (got < 0)
			return got;
		if (got == 0)
			return unpacker_end(in->unpacker, fault);
		in->given = slice_make(in->chunk, (size_t)got);
	}
	return made;
}

int64_t files_input_read(struct files_input *in, void *bytes, size_t n, struct fault *fault)
{
	int64_t made = in->unpacker ? unpack(in, bytes, n, fault) : read_raw(in, bytes, n, fault);

	in->at += made > 0 ? (uint64_t)made : 0;
	return made;
}

uint64_t files_input_at(const struct files_input *in)
{
	return in->at;
}

int files_input_fd(const struct files_input *in)
{
	return in->fd;
}

bool files_input_compressed(const struct files_input *in)
{
	return in->unpacker != NULL;
}

bool files_input_stat(const struct files_input *in, uint64_t *bytes, uint64_t *device, uint64_t *inode)
{
	struct stat st;

	if (fstat(in->fd, &st) != 0)
		return false;
	*bytes = (uint64_t)st.st_size;
	*device = (uint64_t)st.st_dev;
	*inode = (uint64_t)st.st_ino;
	return true;
}

int64_t files_input_peek(const struct files_input *in, void *bytes, size_t n)
{
	return pread(in->fd, bytes, n, 0);
}
