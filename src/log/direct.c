/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	file   ...|...h|pppp|pppp|pppp|t...|     | is a page's edge
 *	            ^at                 ^end
 *
 * h completes a page that an earlier write has begun, t begins one that a later
 * write will complete: both go through the cache. The pages between have no
 * bytes of anybody else. They are copied into aligned memory, a piece at a time: the
 * copy is a tenth of what a new page of the cache costs (bench/README.md).
 *
 * Rejected: writing t past the cache too, padded, and cutting the file. The next
 * write would have to remember h, and each would change the size of the file twice.
 */
#include "log/direct.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

/* A place in a vector, moving forward. */
struct cursor {
	const struct iovec *iov;
	size_t skip; /* bytes of *iov that were taken */
};

static void take(struct cursor *c, uint8_t *to, size_t n)
{
	while (n) {
		size_t some = c->iov->iov_len - c->skip < n ? c->iov->iov_len - c->skip : n;

		memcpy(to, (const uint8_t *)c->iov->iov_base + c->skip, some);
		to += some;
		n -= some;
		c->skip += some;
		if (c->skip == c->iov->iov_len) {
			c->iov++;
			c->skip = 0;
		}
	}
}

/* The next n bytes, in pieces that the aligned memory holds. */
static int write_next(struct direct *d, const struct sys *sys, int fd, struct cursor *c, uint64_t n,
		      uint64_t at)
{
	int rc = 0;

	while (n && rc == 0) {
		struct iovec piece = {.iov_base = d->aligned, .iov_len = n < DIRECT_BYTES ? n : DIRECT_BYTES};

		take(c, d->aligned, piece.iov_len);
		rc = sys->ops->pwritev(sys->self, fd, &piece, 1, at);
		n -= piece.iov_len;
		at += piece.iov_len;
	}
	return rc;
}

void direct_fini(struct direct *d)
{
	mem_free(d->aligned);
	d->aligned = NULL;
}

static int prepare(struct direct *d, const struct sys *sys)
{
	if (d->refused || !sys->ops->set_direct)
		return -EOPNOTSUPP;
	if (!d->aligned)
		d->aligned = mem_aligned(DIRECT_ALIGN, DIRECT_BYTES);
	return d->aligned ? 0 : -EOPNOTSUPP;
}

static uint64_t sum_of(const struct iovec *iov, int count)
{
	uint64_t sum = 0;

	for (int i = 0; i < count; i++)
		sum += iov[i].iov_len;
	return sum;
}

int direct_write(struct direct *d, struct files *files, struct file_slot *slot, const char *path, int cached,
		 const struct iovec *iov, int count, uint64_t at)
{
	const struct sys *sys = files_sys(files);
	uint64_t sum = sum_of(iov, count), head = -at % DIRECT_ALIGN, pages;
	struct cursor c = {.iov = iov};
	int fd, rc = prepare(d, sys);

	if (rc)
		return rc;
	head = head < sum ? head : sum;
	pages = direct_edge(sum - head);
	fd = files_pin(files, slot, path, 0);
	if (fd < 0)
		return fd;
	rc = sys->ops->set_direct(sys->self, fd, true);
	if (rc == 0)
		rc = write_next(d, sys, cached, &c, head, at);
	if (rc == 0)
		rc = write_next(d, sys, fd, &c, pages, at + head);
	if (rc == 0)
		rc = write_next(d, sys, cached, &c, sum - head - pages, at + head + pages);
	files_unpin(files, slot);
	if (rc != -EINVAL && rc != -EOPNOTSUPP)
		return rc;
	d->refused = true;
	return -EOPNOTSUPP;
}
