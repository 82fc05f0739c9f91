/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/sendfile.h>

#include "base/mem.h"
#include "net/net_private.h"

/*
 * What is to leave a connection: a list of parts, each some copied bytes or a
 * reference to a piece of a blob or of a file. Parts come from a pool of the loop and go
 * back when they have left, so that a connection without output holds none.
 *
 * Copied bytes go where there is room behind others, else into the smallest part
 * that takes them, and behind one that was filled into a larger one. A usual answer
 * fits in a small part, which is what ten thousand subscribers get in one turn. The
 * framing between two blobs fits in a tiny one: with large ones for that, a peer that
 * stands still with ten shared records before it held 40 KiB of memory of its own.
 */

#define TINY_BYTES 128u
#define SMALL_BYTES 1024u
#define LARGE_BYTES 16384u
#define SEND_PARTS 64
#define SEND_BYTES_MAX (4 << 20) /* in one turn */
#define READ_BYTES (64u << 10)   /* of a file, where a filter wants to see them */

/* Below this a copy costs less than the two atomic counts, which loops would fight for. */
#define SHARE_BYTES_MIN 512u

static const uint32_t part_bytes[PART_SIZES] = {
	[PART_BLOB] = 0,
	[PART_FILE] = 0,
	[PART_TINY] = TINY_BYTES - sizeof(struct out_part),
	[PART_SMALL] = SMALL_BYTES - sizeof(struct out_part),
	[PART_LARGE] = LARGE_BYTES - sizeof(struct out_part),
};

static const uint32_t pool_max[PART_SIZES] = {
	[PART_BLOB] = 1024, [PART_FILE] = 64, [PART_TINY] = 1024, [PART_SMALL] = 1024, [PART_LARGE] = 64,
};

static struct out_part *take_part(struct loop *loop, enum part_size size)
{
	struct out_pool *pool = &loop->pool;
	struct out_part *p = pool->free[size];

	if (p) {
		pool->free[size] = p->next;
		pool->count[size]--;
	} else {
		p = mem_alloc(sizeof(*p) + part_bytes[size]);
		if (!p)
			return NULL;
		p->size = size;
		p->cap = part_bytes[size];
	}
	budget_add(&loop->share, sizeof(*p) + part_bytes[size]);
	p->next = NULL;
	p->blob = NULL;
	p->at = p->bytes;
	p->len = 0;
	return p;
}

static void give_part(struct loop *loop, struct out_part *p)
{
	struct out_pool *pool = &loop->pool;

	if (p->size == PART_FILE)
		file_ref_release(p->file);
	else
		blob_unref(p->blob);
	budget_sub(&loop->share, sizeof(*p) + p->cap);
	if (pool->count[p->size] >= pool_max[p->size]) {
		mem_free(p);
		return;
	}
	p->next = pool->free[p->size];
	pool->free[p->size] = p;
	pool->count[p->size]++;
}

static void give_chain(struct loop *loop, struct out_part *p)
{
	while (p) {
		struct out_part *next = p->next;

		give_part(loop, p);
		p = next;
	}
}

void out_pool_fini(struct out_pool *pool)
{
	for (int size = 0; size < PART_SIZES; size++) {
		while (pool->free[size]) {
			struct out_part *p = pool->free[size];

			pool->free[size] = p->next;
			mem_free(p);
		}
		pool->count[size] = 0;
	}
}

static void add_parts(struct conn *c, struct out_part *first, struct out_part *last)
{
	if (c->out_last)
		c->out_last->next = first;
	else
		c->out_first = first;
	c->out_last = last;
}

static size_t room_behind(const struct out_part *p)
{
	if (!p || p->blob)
		return 0;
	return p->cap - (size_t)(p->at - p->bytes) - p->len;
}

static size_t fill_part(struct out_part *p, struct slice bytes)
{
	size_t n = room_behind(p);

	if (n > bytes.len)
		n = bytes.len;
	memcpy(p->bytes + (p->at - p->bytes) + p->len, bytes.ptr, n);
	p->len += n;
	return n;
}

static enum part_size size_for(const struct conn *c, size_t bytes)
{
	const struct out_part *last = c->out_last;
	enum part_size size = last && !last->blob ? (enum part_size)(last->size + 1) : PART_TINY;

	while (size < PART_LARGE && bytes > part_bytes[size])
		size++;
	return size < PART_LARGE ? size : PART_LARGE;
}

/* A chain of parts that holds a copy of all bytes, or NULL. */
static struct out_part *copy_to_chain(struct conn *c, struct slice bytes, struct out_part **last)
{
	enum part_size size = size_for(c, bytes.len);
	struct out_part *first = NULL, **end = &first;

	*last = NULL;
	while (bytes.len > 0) {
		struct out_part *p = take_part(c->loop, size);

		if (!p) {
			give_chain(c->loop, first);
			return NULL;
		}
		bytes = slice_from(bytes, fill_part(p, bytes));
		*end = p;
		end = &p->next;
		*last = p;
	}
	return first;
}

int out_append(struct conn *c, struct slice bytes)
{
	size_t fits = room_behind(c->out_last);
	struct slice rest = slice_from(bytes, fits);

	if (rest.len > 0) {
		struct out_part *old = c->out_last, *last, *first = copy_to_chain(c, rest, &last);

		if (!first)
			return ERR_NOMEM;
		add_parts(c, first, last);
		if (fits)
			(void)fill_part(old, slice_make(bytes.ptr, fits));
	} else if (bytes.len > 0) {
		(void)fill_part(c->out_last, bytes);
	}
	c->out_bytes += bytes.len;
	return 0;
}

int out_append_blob(struct conn *c, struct blob *blob, struct slice part)
{
	struct out_part *p;

	if (part.len < SHARE_BYTES_MIN)
		return out_append(c, part);
	p = take_part(c->loop, PART_BLOB);
	if (!p)
		return ERR_NOMEM;
	p->blob = blob_ref(blob);
	p->at = part.ptr;
	p->len = part.len;
	add_parts(c, p, p);
	c->out_bytes += part.len;
	return 0;
}

int out_append_file(struct conn *c, struct file_ref *file, uint64_t at, size_t bytes)
{
	struct out_part *p = take_part(c->loop, PART_FILE);

	if (!p)
		return ERR_NOMEM;
	p->file = file;
	p->file_at = at;
	p->len = bytes;
	add_parts(c, p, p);
	c->out_bytes += bytes;
	return 0;
}

static void take_away(struct conn *c, size_t n)
{
	c->out_bytes -= n;
	c->bytes_out += n;
	acceptor_count(c->acceptor, 0, n);
	while (c->out_first && n >= c->out_first->len) {
		struct out_part *p = c->out_first;

		n -= p->len;
		c->out_first = p->next;
		give_part(c->loop, p);
	}
	if (!c->out_first) {
		c->out_last = NULL;
		return;
	}
	if (c->out_first->size == PART_FILE)
		c->out_first->file_at += n;
	else
		c->out_first->at += n;
	c->out_first->len -= n;
}

/* ---- files ---- */

/*
 * A filter wants to see the bytes: the next of them are read and stand before the rest of the
 * range, where they stay until they are counted, as filters ask (filter.h).
 */
static int read_file_part(struct conn *c)
{
	struct out_part *rest = c->out_first, *p = take_part(c->loop, PART_BLOB);
	size_t n = rest->len < READ_BYTES ? rest->len : READ_BYTES;
	struct blob *blob = p ? blob_new(n, NULL) : NULL;
	const struct sys *sys = c->loop->sys;

	if (p)
		p->blob = blob;
	if (!blob ||
	    sys->ops->pread(sys->self, rest->file->fd, blob->bytes, n, rest->file_at) != (int64_t)n) {
		if (p)
			give_part(c->loop, p);
		return FILTER_RESET;
	}
	blob->len = n;
	p->at = blob->bytes;
	p->len = n;
	p->next = rest;
	c->out_first = p;
	rest->file_at += n;
	rest->len -= n;
	if (rest->len > 0)
		return 0;
	p->next = rest->next;
	if (!p->next)
		c->out_last = p;
	give_part(c->loop, rest);
	return 0;
}

static int64_t send_file_part(struct conn *c)
{
	struct out_part *p = c->out_first;
	off_t at = (off_t)p->file_at;
	ssize_t n;

	do
		n = sendfile(c->fd, p->file->fd, &at, p->len);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return n;
	/* 0: the file is shorter than was promised, and the peer waits for the rest. */
	return n < 0 && errno == EAGAIN ? FILTER_WANTS_WRITE : FILTER_RESET;
}

/* ---- sending ---- */

/* Up to the next file. */
static int64_t send_bytes(struct conn *c, size_t *offered)
{
	/* Not cleared, as other variables are for safety: what is shown of it has been written. */
	__attribute__((uninitialized)) struct iovec iov[SEND_PARTS];
	struct out_part *p;
	int count = 0;
	int64_t n;

	*offered = 0;
	for (p = c->out_first; p && count < SEND_PARTS && p->size != PART_FILE; p = p->next) {
		iov[count].iov_base = (void *)(uintptr_t)p->at;
		iov[count++].iov_len = p->len;
		*offered += p->len;
	}
	if (p) /* one packet with what follows */
		c->flags |= CONN_MORE;
	n = c->filter->ops->send(c->filter, iov, count);
	c->flags &= (uint16_t)~CONN_MORE;
	return n;
}

static int64_t send_front(struct conn *c, size_t *offered)
{
	const struct conn_filter *f = c->filter;

	if (c->out_first->size == PART_FILE) {
		int rc = 0;
		*offered = c->out_first->len;
		if (f->ops->is_direct && f->ops->is_direct(f))
			return send_file_part(c);
		rc = read_file_part(c);
		if (rc)
			return rc;
	}
	return send_bytes(c, offered);
}

/* Goes on while all that was offered is taken; a peer that is as fast as this does not keep the loop for ever. */
int64_t out_send(struct conn *c)
{
	int64_t n, all = 0;
	size_t offered;

	do {
		n = send_front(c, &offered);
		if (n > 0) {
			all += n;
			take_away(c, (size_t)n);
		}
	} while (n == (int64_t)offered && c->out_first && all < SEND_BYTES_MAX);
	return n > 0 ? all : n;
}

void out_drop(struct conn *c)
{
	give_chain(c->loop, c->out_first);
	c->out_first = NULL;
	c->out_last = NULL;
	c->out_bytes = 0;
}
