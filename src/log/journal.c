/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files are kept in one list by generation. Each knows the last sequence that
 * was written to it; one whose last sequence is at or below the storage
 * checkpoint is free and gives its blocks to the next generation by rename.
 * A free file beyond the bound is unlinked.
 *
 * Frames of an older generation that stand in a used-again file cannot be taken
 * for new ones: the generation is in the frame's head and under its CRC. Nor can
 * bytes of a record that somebody has made to look like a frame of a generation
 * to come: a head bears a tag under a key that never leaves the machine.
 *
 * Groups are written past the page cache: that halves the processor time of a sync, as no page
 * has to be found, marked dirty, written back and waited for. A small group is copied into aligned
 * memory, a large one was built in it. What goes through the cache: where the file system
 * refuses, and a large group that recovery writes again.
 *
 * Rejected: O_DSYNC. With it the kernel writes the inode each time.
 */
#include "log/journal.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"

#define PATH_BYTES 512u
#define FILL_BYTES (1u << 20)
#define HEAD_READ 4096u
#define FOREIGN 2
#define FIRST_BYTES (16u << 20)

struct journal_file {
	struct journal_file *next; /* by generation, oldest first */
	uint64_t generation;
	uint64_t bytes;         /* size on disk */
	uint64_t used;          /* behind the last group */
	uint64_t last_sequence; /* 0: none written */
	uint64_t last_at;       /* recovery's: where that group begins */
	int fd;                 /* -1: closed */
	bool direct;            /* fd writes past the page cache */
};

struct journal {
	const struct sys *sys;
	char dir[PATH_BYTES - 64];
	uint64_t file_bytes, bytes_max;
	struct hash_key key;
	uint64_t unmarked_to; /* files up to this generation have no tags */
	pthread_mutex_t lock;
	pthread_mutex_t making;        /* held while a file is made ready; taken before lock */
	struct journal_file *oldest;   /* under lock: the list */
	struct journal_file *current;  /* the committer's */
	struct journal_file *prepared; /* under lock: ready to become current */
	uint64_t generation;           /* the highest given */
	uint64_t durable;              /* the committer's */
	uint64_t written;              /* the committer's: last appended sequence */
	uint8_t *aligned;              /* the committer's: JOURNAL_COPY_BYTES; NULL: there was no memory */
	_Atomic bool refused;          /* direct writes do not work here: not asked again */
	uint64_t recycled;             /* under lock: groups up to here are not needed */
};

static void file_path(const struct journal *j, uint64_t generation, char *out)
{
	(void)snprintf(out, PATH_BYTES, "%s/%016llx.wal", j->dir, (unsigned long long)generation);
}

static int io_fault(struct fault *fault, const char *what, const char *path, int rc)
{
	int err = rc == -ENOSPC ? ERR_DISK_FULL : ERR_IO;

	return fault_set(fault, err, "cannot %s %s: %s", what, path, sys_error_text(rc));
}

static void insert_file(struct journal *j, struct journal_file *file)
{
	struct journal_file **at = &j->oldest;

	while (*at && (*at)->generation < file->generation)
		at = &(*at)->next;
	file->next = *at;
	*at = file;
}

static void remove_file(struct journal *j, struct journal_file *file)
{
	struct journal_file **at = &j->oldest;

	while (*at != file)
		at = &(*at)->next;
	*at = file->next;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

uint64_t journal_generation_of(const char *name)
{
	uint64_t generation = 0;

	for (int i = 0; i < 16; i++) {
		int digit = hex_digit(name[i]); /* the end of a short name is no digit */
		if (digit < 0)
			return 0;
		generation = generation << 4 | (uint64_t)digit;
	}
	return strcmp(name + 16, ".wal") == 0 ? generation : 0;
}

struct lister {
	struct journal *j;
	struct fault *fault;
};

static int note_file(void *ctx, const char *name)
{
	struct lister *l = ctx;
	struct journal *j = l->j;
	struct journal_file *file;
	struct sys_stat st;
	char path[PATH_BYTES];
	uint64_t generation;
	int rc;

	generation = journal_generation_of(name);
	if (generation == 0) {
		(void)snprintf(path, sizeof(path), "%s/%s", j->dir, name);
		if (strcmp(name, "new.tmp") == 0)
			(void)j->sys->ops->unlink(j->sys->self, path);
		return 0;
	}
	file_path(j, generation, path);
	rc = j->sys->ops->stat(j->sys->self, path, &st);
	if (rc)
		return io_fault(l->fault, "look at", path, rc);
	file = mem_zalloc(1, sizeof(*file));
	if (!file)
		return fault_set(l->fault, ERR_NOMEM, "no memory for the journal");
	file->generation = generation;
	file->bytes = st.bytes;
	file->fd = -1;
	insert_file(j, file);
	if (generation > j->generation)
		j->generation = generation;
	return 0;
}

int journal_open(const struct journal_options *options, struct journal **out, struct fault *fault)
{
	struct journal *j = mem_zalloc(1, sizeof(*j));
	struct lister lister = {.j = j, .fault = fault};
	int rc;

	if (!j)
		return fault_set(fault, ERR_NOMEM, "no memory for the journal");
	j->sys = options->sys;
	(void)snprintf(j->dir, sizeof(j->dir), "%s", options->dir);
	j->file_bytes = options->file_bytes;
	j->bytes_max = options->bytes_max;
	j->key = options->key;
	j->aligned = mem_aligned(FRAME_ALIGN, JOURNAL_COPY_BYTES);
	(void)pthread_mutex_init(&j->lock, NULL);
	(void)pthread_mutex_init(&j->making, NULL);
	rc = j->sys->ops->mkdir(j->sys->self, j->dir);
	if (!rc)
		rc = j->sys->ops->list(j->sys->self, j->dir, note_file, &lister);
	if (rc) {
		if (!fault || !fault->err)
			(void)io_fault(fault, "read", j->dir, rc);
		journal_close(j);
		return fault && fault->err ? fault->err : ERR_IO;
	}
	j->unmarked_to = options->unmarked_to == UINT64_MAX ? j->generation : options->unmarked_to;
	*out = j;
	return 0;
}

uint64_t journal_newest(const struct journal *j)
{
	return j->generation;
}

uint64_t journal_unmarked_to(const struct journal *j)
{
	return j->unmarked_to;
}

void journal_close(struct journal *j)
{
	struct journal_file *file = j->oldest;

	while (file) {
		struct journal_file *next = file->next;
		if (file->fd >= 0)
			j->sys->ops->close(j->sys->self, file->fd);
		mem_free(file);
		file = next;
	}
	if (j->prepared) {
		j->sys->ops->close(j->sys->self, j->prepared->fd);
		mem_free(j->prepared);
	}
	(void)pthread_mutex_destroy(&j->making);
	(void)pthread_mutex_destroy(&j->lock);
	mem_free(j->aligned);
	mem_free(j);
}

/* ---- recovery ---- */

#define PLACES_MAX 8u

struct scanner {
	struct journal *j;
	struct journal_file *file;
	uint8_t *bytes; /* of one frame */
	size_t cap;
	uint64_t expect; /* the next sequence that matters */
	struct {
		uint64_t generation, at;
	} damaged[PLACES_MAX]; /* since the last group that was taken */
	uint32_t damaged_count;
	struct fault *fault;
};

static bool is_own(const struct scanner *s, const struct frame_head *head)
{
	return s->file->generation <= s->j->unmarked_to || head->tag == frame_tag(&s->j->key, head);
}

/*
 * Reads the frame at `at`. 0 whole, 1 none there (zeros, an older generation, a
 * cut one), FOREIGN whole and not written by who has the key, negative where
 * the disk fails.
 */
static int read_frame(struct scanner *s, uint64_t at, struct frame_head *head)
{
	const struct sys *sys = s->j->sys;
	char path[PATH_BYTES];
	int64_t got = sys->ops->pread(sys->self, s->file->fd, s->bytes, HEAD_READ, at);
	int rc;

	file_path(s->j, s->file->generation, path);
	if (got < 0)
		return io_fault(s->fault, "read", path, (int)got);
	if (frame_head_read(slice_make(s->bytes, (size_t)got), head) ||
	    head->generation != s->file->generation)
		return 1;
	if (head->bytes > s->file->bytes - at)
		return 1;
	if (head->bytes > s->cap) {
		uint8_t *grown = mem_realloc(s->bytes, head->bytes);
		if (!grown)
			return fault_set(s->fault, ERR_NOMEM, "no memory for a group of %u bytes",
					 head->bytes);
		s->bytes = grown;
		s->cap = head->bytes;
	}
	if (head->bytes > (uint64_t)got) {
		int64_t more = sys->ops->pread(sys->self, s->file->fd, s->bytes + got,
					       head->bytes - (uint64_t)got, at + (uint64_t)got);
		if (more < 0)
			return io_fault(s->fault, "read", path, (int)more);
		got += more;
	}
	rc = frame_check(slice_make(s->bytes, (size_t)got), head);
	if (rc)
		return 1;
	return is_own(s, head) ? 0 : FOREIGN;
}

static uint64_t padded(uint64_t bytes)
{
	return (bytes + FRAME_ALIGN - 1) & ~(uint64_t)(FRAME_ALIGN - 1);
}

/*
 * Is the frame that is not whole one of this file that was begun, or only what
 * the file held before? Of magic, generation and sequence two must fit: then
 * even a damaged head is told, and not passed over.
 */
static int look_at_torn(struct scanner *s, uint64_t from, uint64_t *torn_bytes)
{
	const struct sys *sys = s->j->sys;
	struct frame_head head = {0};
	uint8_t block[FRAME_HEAD_BYTES];
	char path[PATH_BYTES];
	int64_t got = sys->ops->pread(sys->self, s->file->fd, block, sizeof(block), from);
	int fits;

	file_path(s->j, s->file->generation, path);
	if (got < 0)
		return io_fault(s->fault, "read", path, (int)got);
	if (got < (int64_t)sizeof(block))
		return 0;
	fits = frame_head_guess(block, &head) + (head.generation == s->file->generation) +
	       (head.sequence == s->expect);
	if (fits >= 2)
		*torn_bytes = head.bytes > s->file->bytes - from ? s->file->bytes - from : head.bytes;
	return 0;
}

/*
 * Behind a frame that is not whole: is there a later one of this file? A group
 * is written when the one before it is durable, so then it is damage; also
 * where the damaged one is not needed itself (a last group that was written
 * again, one below the checkpoint): what stands behind it is.
 */
static int look_behind(struct scanner *s, uint64_t from, uint64_t *torn_bytes)
{
	const struct sys *sys = s->j->sys;
	struct frame_head head;
	uint8_t block[FRAME_HEAD_BYTES];
	char path[PATH_BYTES];
	int rc;

	*torn_bytes = 0;
	rc = look_at_torn(s, from, torn_bytes);
	if (rc)
		return rc;
	for (uint64_t at = from; at + FRAME_HEAD_BYTES <= s->file->bytes; at += FRAME_ALIGN) {
		int64_t got = sys->ops->pread(sys->self, s->file->fd, block, sizeof(block), at);
		bool own;
		file_path(s->j, s->file->generation, path);
		if (got < 0)
			return io_fault(s->fault, "read", path, (int)got);
		own = frame_head_read(slice_make(block, (size_t)got), &head) == 0 &&
		      head.generation == s->file->generation && head.sequence >= s->expect;
		rc = own && at != from ? read_frame(s, at, &head) : 1;
		if (rc < 0)
			return rc;
		if (rc == 0)
			return fault_set(
				s->fault, ERR_CORRUPT,
				"%s: the group at byte %llu is damaged, and a later one at byte %llu proves that it was durable",
				path, (unsigned long long)from, (unsigned long long)at);
	}
	return 0;
}

/*
 * A last group is written again at each start, so the one that is missing may have stood in more
 * than one file. All places are kept where something was not whole; the newest, where they are many.
 */
static void note_damaged(struct scanner *s, uint64_t at)
{
	if (s->damaged_count == PLACES_MAX) {
		s->damaged_count--;
		memmove(s->damaged, s->damaged + 1, s->damaged_count * sizeof(s->damaged[0]));
	}
	s->damaged[s->damaged_count].generation = s->file->generation;
	s->damaged[s->damaged_count++].at = at;
}

/* A group is missing before this one: what was not whole behind the last that was is named, as it is the damage. */
static int refuse_gap(struct scanner *s, uint64_t sequence, uint64_t at)
{
	char path[PATH_BYTES], damaged[PLACES_MAX * 64] = "";
	size_t n = 0;

	file_path(s->j, s->file->generation, path);
	for (uint32_t i = 0; i < s->damaged_count; i++)
		n += (size_t)snprintf(damaged + n, sizeof(damaged) - n, "%s%016llx.wal at byte %llu",
				      i ? ", " : "; damaged: ", (unsigned long long)s->damaged[i].generation,
				      (unsigned long long)s->damaged[i].at);
	return fault_set(s->fault, ERR_CORRUPT,
			 "%s: group %llu stands at byte %llu where %llu was expected%s", path,
			 (unsigned long long)sequence, (unsigned long long)at, (unsigned long long)s->expect,
			 damaged);
}

static int scan_file(struct scanner *s, journal_group_fn *fn, void *ctx, struct journal_scan *out)
{
	struct frame_head head;
	char path[PATH_BYTES];
	uint64_t at = 0, torn_bytes = 0;
	int rc = 0;

	file_path(s->j, s->file->generation, path);
	while (at + FRAME_HEAD_BYTES <= s->file->bytes) {
		rc = read_frame(s, at, &head);
		/* Nobody's record ever stands at the very start: a whole group there is weir's. */
		if (rc == FOREIGN && at == 0)
			return fault_set(s->fault, ERR_CORRUPT,
					 "%s was written under another key than the one in FORMAT", path);
		if (rc)
			break;
		if (head.sequence > s->expect)
			return refuse_gap(s, head.sequence, at);
		s->file->last_at = at;
		at += padded(head.bytes);
		s->file->used = at;
		s->file->last_sequence = head.sequence;
		if (head.sequence < s->expect)
			continue; /* in segments already, or written again after a recovery */
		s->expect = head.sequence + 1;
		out->groups++;
		out->bytes += head.bytes;
		out->last_sequence = head.sequence;
		out->torn_bytes = 0;
		s->damaged_count = 0;
		rc = fn(ctx, &head, slice_make(s->bytes, head.bytes));
		if (rc)
			return rc;
	}
	if (rc < 0)
		return rc;
	rc = 0;
	if (at + FRAME_HEAD_BYTES <= s->file->bytes && (!out->ended || out->groups))
		rc = look_behind(s, at, &torn_bytes);
	if (torn_bytes == 0 && (s->file->bytes == 0 || s->file->bytes % FRAME_ALIGN))
		torn_bytes = FRAME_ALIGN - s->file->bytes % FRAME_ALIGN; /* no file is made so: it was cut */
	if (torn_bytes)
		note_damaged(s, at);
	/* What is missing must have stood behind the group before it: the last such place, since a group is written again. */
	if (torn_bytes && (!out->torn_bytes || s->file->last_sequence + 1 == s->expect)) {
		out->torn_bytes = torn_bytes;
		(void)snprintf(out->torn_file, sizeof(out->torn_file), "%016llx.wal",
			       (unsigned long long)s->file->generation);
		out->torn_at = at;
	}
	return rc;
}

/*
 * Free files at the front of the list may hold only groups at or before the
 * checkpoint, or none of their own generation: what is there is skipped until
 * the first that matters.
 */
int journal_scan(struct journal *j, uint64_t after, journal_group_fn *fn, void *ctx, struct journal_scan *out,
		 struct fault *fault)
{
	struct scanner s = {.j = j, .cap = HEAD_READ, .expect = after + 1, .fault = fault};
	int rc = 0;

	*out = (struct journal_scan){.ended = out->ended};
	s.bytes = mem_alloc(s.cap);
	if (!s.bytes)
		return fault_set(fault, ERR_NOMEM, "no memory to read the journal");
	for (s.file = j->oldest; s.file && rc == 0; s.file = s.file->next) {
		char path[PATH_BYTES];
		file_path(j, s.file->generation, path);
		s.file->fd = j->sys->ops->open(j->sys->self, path, 0);
		if (s.file->fd < 0) {
			rc = io_fault(fault, "open", path, s.file->fd);
			break;
		}
		rc = scan_file(&s, fn, ctx, out);
		j->sys->ops->close(j->sys->self, s.file->fd);
		s.file->fd = -1;
	}
	mem_free(s.bytes);
	j->written = j->durable = s.expect - 1;
	return rc;
}

/* ---- files ---- */

static int set_direct(struct journal *j, struct journal_file *file, bool on)
{
	int rc;

	if (file->direct == on)
		return 0;
	if (!j->sys->ops->set_direct)
		return -EOPNOTSUPP;
	rc = j->sys->ops->set_direct(j->sys->self, file->fd, on);
	if (rc == 0)
		file->direct = on;
	return rc;
}

static bool is_refusal(int rc)
{
	return rc == -EINVAL || rc == -EOPNOTSUPP;
}

static int write_zeros(struct journal *j, struct journal_file *file, bool direct, uint64_t at, uint64_t n)
{
	static _Alignas(FRAME_ALIGN) const uint8_t zeros[FILL_BYTES];
	struct iovec iov = {.iov_base = (void *)(uintptr_t)zeros, .iov_len = n};
	int rc = set_direct(j, file, direct);

	if (rc == 0)
		rc = j->sys->ops->pwritev(j->sys->self, file->fd, &iov, 1, at);
	if (rc == 0 && !direct)
		(void)j->sys->ops->write_back(j->sys->self, file->fd, at, n);
	return rc;
}

/* Past the page cache, whose pages nobody would read; through it where that cannot be. */
static int fill_with_zeros(struct journal *j, struct journal_file *file)
{
	bool direct = !atomic_load(&j->refused) && file->bytes % FRAME_ALIGN == 0;
	int rc = j->sys->ops->allocate(j->sys->self, file->fd, 0, file->bytes);

	if (rc == -EOPNOTSUPP)
		rc = 0;
	for (uint64_t at = 0; at < file->bytes && rc == 0; at += FILL_BYTES) {
		uint64_t n = file->bytes - at < FILL_BYTES ? file->bytes - at : FILL_BYTES;

		rc = write_zeros(j, file, direct, at, n);
		if (direct && is_refusal(rc)) {
			direct = false;
			atomic_store(&j->refused, true);
			rc = write_zeros(j, file, direct, at, n);
		}
	}
	return rc ? rc : j->sys->ops->fsync(j->sys->self, file->fd);
}

/* A file of so many bytes that nobody needs any more, taken off the list; or NULL. */
static struct journal_file *take_free(struct journal *j, uint64_t bytes)
{
	struct journal_file *file;

	for (file = j->oldest; file; file = file->next) {
		if (file == j->current || file == j->prepared || file->last_sequence > j->recycled)
			continue;
		if (file->bytes < bytes)
			continue;
		remove_file(j, file);
		return file;
	}
	return NULL;
}

static int make_file(struct journal *j, uint64_t bytes, struct journal_file **out, struct fault *fault)
{
	struct journal_file *file = mem_zalloc(1, sizeof(*file));
	char temporary[PATH_BYTES];
	int rc;

	if (!file)
		return fault_set(fault, ERR_NOMEM, "no memory for a journal file");
	(void)snprintf(temporary, sizeof(temporary), "%s/new.tmp", j->dir);
	file->bytes = bytes;
	file->fd = j->sys->ops->open(j->sys->self, temporary, SYS_CREATE | SYS_TRUNCATE);
	if (file->fd < 0) {
		rc = io_fault(fault, "make", temporary, file->fd);
		mem_free(file);
		return rc;
	}
	rc = fill_with_zeros(j, file);
	if (rc) {
		rc = io_fault(fault, "fill", temporary, rc);
		j->sys->ops->close(j->sys->self, file->fd);
		(void)j->sys->ops->unlink(j->sys->self, temporary);
		mem_free(file);
		return rc;
	}
	*out = file;
	return 0;
}

/* Gives a file the name of the next generation, durably. */
static int name_file(struct journal *j, struct journal_file *file, const char *from, struct fault *fault)
{
	char path[PATH_BYTES];
	int rc;

	file_path(j, j->generation + 1, path);
	rc = j->sys->ops->rename(j->sys->self, from, path);
	if (rc == 0)
		rc = j->sys->ops->sync_dir(j->sys->self, j->dir);
	if (rc)
		return io_fault(fault, "rename to", path, rc);
	j->generation++;
	file->generation = j->generation;
	file->used = 0;
	file->last_sequence = 0;
	return 0;
}

static int ready_file(struct journal *j, uint64_t bytes, struct journal_file **out, struct fault *fault)
{
	struct journal_file *file;
	char from[PATH_BYTES];
	int rc = 0;

	(void)pthread_mutex_lock(&j->lock);
	file = take_free(j, bytes);
	(void)pthread_mutex_unlock(&j->lock);
	if (file) {
		file_path(j, file->generation, from);
		if (file->fd < 0)
			file->fd = j->sys->ops->open(j->sys->self, from, 0);
		if (file->fd < 0)
			rc = io_fault(fault, "open", from, file->fd);
	} else {
		rc = make_file(j, bytes, &file, fault);
		if (rc)
			return rc;
		(void)snprintf(from, sizeof(from), "%s/new.tmp", j->dir);
	}
	if (rc == 0)
		rc = name_file(j, file, from, fault);
	if (rc) {
		if (file->fd >= 0)
			j->sys->ops->close(j->sys->self, file->fd);
		mem_free(file);
		return rc;
	}
	*out = file;
	return 0;
}

static int write_direct(struct journal *j, uint8_t *aligned, size_t len, uint64_t bytes)
{
	struct iovec iov = {.iov_base = aligned, .iov_len = bytes};
	int rc = set_direct(j, j->current, true);

	if (rc)
		return rc;
	memset(aligned + len, 0, bytes - len);
	return j->sys->ops->pwritev(j->sys->self, j->current->fd, &iov, 1, j->current->used);
}

static int write_cached(struct journal *j, const uint8_t *frame, size_t len, uint64_t bytes)
{
	static const uint8_t zeros[FRAME_ALIGN];
	struct iovec iov[2] = {{.iov_base = (void *)(uintptr_t)frame, .iov_len = len},
			       {.iov_base = (void *)(uintptr_t)zeros, .iov_len = bytes - len}};
	int rc = set_direct(j, j->current, false);

	if (rc)
		return rc;
	return j->sys->ops->pwritev(j->sys->self, j->current->fd, iov, bytes > len ? 2 : 1, j->current->used);
}

/* Where the frame can be written from past the cache, which may be a copy of it; NULL: nowhere. */
static uint8_t *aligned_frame(struct journal *j, uint8_t *frame, size_t cap, size_t len, uint64_t bytes)
{
	if (!j->aligned || atomic_load(&j->refused))
		return NULL;
	if ((uintptr_t)frame % FRAME_ALIGN == 0 && cap >= bytes)
		return frame;
	if (bytes > JOURNAL_COPY_BYTES)
		return NULL;
	memcpy(j->aligned, frame, len);
	return j->aligned;
}

static int write_frame(struct journal *j, uint8_t *frame, size_t cap, size_t len, uint64_t bytes)
{
	uint8_t *aligned = aligned_frame(j, frame, cap, len, bytes);
	int rc;

	if (!aligned)
		return write_cached(j, frame, len, bytes);
	rc = write_direct(j, aligned, len, bytes);
	if (!is_refusal(rc))
		return rc;
	atomic_store(&j->refused, true);
	return write_cached(j, frame, len, bytes);
}

/* The file that the run before wrote to; one that nobody wrote to where there is no such. */
static struct journal_file *go_on_with_last(struct journal *j)
{
	struct journal_file *last = NULL;
	char path[PATH_BYTES];

	for (struct journal_file *file = j->oldest; file; file = file->next)
		if (file->last_sequence || !last || !last->last_sequence)
			last = file;
	if (!last)
		return NULL;
	file_path(j, last->generation, path);
	last->fd = j->sys->ops->open(j->sys->self, path, 0);
	return last->fd >= 0 ? last : NULL;
}

/* The last group of the file, as it reads. 0, ERR_NOMEM, ERR_IO. */
static int read_last(struct journal *j, struct journal_file *file, uint8_t **out, struct fault *fault)
{
	uint64_t n = file->used - file->last_at;
	struct frame_head head;
	char path[PATH_BYTES];
	int64_t got;

	*out = mem_zalloc(1, n);
	if (!*out)
		return fault_set(fault, ERR_NOMEM, "no memory to write the last group again");
	got = j->sys->ops->pread(j->sys->self, file->fd, *out, n, file->last_at);
	if (got >= 0 && frame_check(slice_make(*out, (size_t)got), &head) == 0)
		return 0;
	mem_free(*out);
	file_path(j, file->generation, path);
	return io_fault(fault, "read", path, got < 0 ? (int)got : -EIO);
}

/*
 * In a file that goes on the last group is written over itself, byte for byte,
 * so that it is on disk even where the sync of the run before had failed. It is
 * the file's own last, which may be a copy of one that another file has, or one
 * that segments have: what stands behind it would prove it durable all the same.
 */
static int settle_last(struct journal *j, struct fault *fault)
{
	struct journal_file *file = j->current;
	uint64_t n = file->used - file->last_at;
	uint8_t *frame;
	int rc;

	if (file->last_sequence) {
		rc = read_last(j, file, &frame, fault);
		if (rc)
			return rc;
		file->used = file->last_at;
		rc = write_frame(j, frame, n, n, n);
		file->used += n;
		mem_free(frame);
		if (rc)
			return io_fault(fault, "write to the journal in", j->dir, rc);
	}
	return journal_sync(j, fault);
}

int journal_begin(struct journal *j, struct slice last, struct fault *fault)
{
	uint64_t bytes = padded(last.len) + (j->file_bytes < FIRST_BYTES ? j->file_bytes : FIRST_BYTES);
	struct journal_file *file;
	struct frame_head head;
	uint8_t *copy;
	int rc;

	/* The first file of a run is small, so that an empty directory starts at once. */
	rc = ready_file(j, bytes, &file, fault);
	/* A full disk must not keep weir from starting: only then something can be deleted. */
	if (rc == ERR_DISK_FULL && (j->current = go_on_with_last(j))) {
		fault->err = 0;
		return settle_last(j, fault);
	}
	if (rc)
		return rc;
	insert_file(j, file);
	j->current = file;
	if (last.len == 0)
		return 0;
	copy = mem_alloc(last.len);
	if (!copy)
		return fault_set(fault, ERR_NOMEM, "no memory to write the last group again");
	memcpy(copy, last.ptr, last.len);
	rc = frame_check(last, &head);
	CHECK(rc == 0);
	j->durable = head.sequence - 1;
	rc = journal_append(j, copy, last.len, &head, fault);
	if (rc == 0)
		rc = journal_sync(j, fault);
	mem_free(copy);
	return rc;
}

/* To the next file; one of at least `bytes`, where a group is larger than files usually are. */
static int roll(struct journal *j, uint64_t bytes, struct fault *fault)
{
	struct journal_file *file;
	int rc = 0;

	(void)pthread_mutex_lock(&j->making);
	(void)pthread_mutex_lock(&j->lock);
	file = j->prepared;
	j->prepared = NULL;
	if (file && file->bytes < bytes) { /* stays in the list, unused: the next one takes it */
		insert_file(j, file);
		file = NULL;
	}
	(void)pthread_mutex_unlock(&j->lock);
	if (!file)
		rc = ready_file(j, bytes > j->file_bytes ? bytes : j->file_bytes, &file, fault);
	(void)pthread_mutex_unlock(&j->making);
	if (rc)
		return rc;
	(void)pthread_mutex_lock(&j->lock);
	insert_file(j, file);
	if (j->current) {
		j->sys->ops->close(j->sys->self, j->current->fd);
		j->current->fd = -1;
		j->current->direct = false;
	}
	j->current = file;
	(void)pthread_mutex_unlock(&j->lock);
	return 0;
}

int journal_append(struct journal *j, uint8_t *frame, size_t cap, struct frame_head *head,
		   struct fault *fault)
{
	uint64_t bytes = padded(head->bytes);
	int rc;

	if (j->current->bytes - j->current->used < bytes) {
		rc = roll(j, bytes, fault);
		if (rc)
			return rc;
		CHECK(j->current->bytes >= bytes);
	}
	head->generation = j->current->generation;
	head->durable = j->durable;
	head->tag = frame_tag(&j->key, head);
	frame_seal(frame, head);
	rc = write_frame(j, frame, cap, head->bytes, bytes);
	if (rc)
		return io_fault(fault, "write to the journal in", j->dir, rc);
	(void)pthread_mutex_lock(&j->lock);
	j->current->used += bytes;
	j->current->last_sequence = head->sequence;
	(void)pthread_mutex_unlock(&j->lock);
	j->written = head->sequence;
	return 0;
}

int journal_sync(struct journal *j, struct fault *fault)
{
	int rc = j->sys->ops->fdatasync(j->sys->self, j->current->fd);

	if (rc)
		return io_fault(fault, "sync the journal in", j->dir, rc);
	j->durable = j->written;
	return 0;
}

uint64_t journal_room(struct journal *j)
{
	uint64_t room;

	(void)pthread_mutex_lock(&j->lock);
	room = j->current ? j->current->bytes - j->current->used : 0;
	if (j->prepared)
		room += j->prepared->bytes;
	(void)pthread_mutex_unlock(&j->lock);
	return room;
}

bool journal_wants_file(struct journal *j)
{
	bool wants;

	(void)pthread_mutex_lock(&j->lock);
	wants = !j->prepared && j->current && j->current->used > j->current->bytes / 4;
	(void)pthread_mutex_unlock(&j->lock);
	return wants;
}

/* Free files beyond what the bound allows go (all of them where `all`); one that is too small to use again goes too. */
static bool drop_spare(struct journal *j, bool all)
{
	struct journal_file *file, *victim = NULL;
	uint64_t sum = 0;
	char path[PATH_BYTES];

	(void)pthread_mutex_lock(&j->lock);
	for (file = j->oldest; file; file = file->next) {
		bool free_file =
			file != j->current && file != j->prepared && file->last_sequence <= j->recycled;
		sum += file->bytes;
		if (free_file && (!victim || file->bytes < j->file_bytes))
			victim = file;
	}
	if (victim && (all || sum > j->bytes_max || victim->bytes < j->file_bytes))
		remove_file(j, victim);
	else
		victim = NULL;
	(void)pthread_mutex_unlock(&j->lock);
	if (!victim)
		return false;
	file_path(j, victim->generation, path);
	if (victim->fd >= 0)
		j->sys->ops->close(j->sys->self, victim->fd);
	(void)j->sys->ops->unlink(j->sys->self, path);
	mem_free(victim);
	return true;
}

int journal_prepare(struct journal *j, struct fault *fault)
{
	struct journal_file *file = NULL;
	int rc = 0;

	if (drop_spare(j, false))
		return 1;
	(void)pthread_mutex_lock(&j->making);
	if (journal_wants_file(j))
		rc = ready_file(j, j->file_bytes, &file, fault);
	if (rc == 0 && file) {
		(void)pthread_mutex_lock(&j->lock);
		j->prepared = file;
		(void)pthread_mutex_unlock(&j->lock);
		rc = 1;
	}
	(void)pthread_mutex_unlock(&j->making);
	return rc;
}

void journal_shrink(struct journal *j)
{
	(void)pthread_mutex_lock(&j->making);
	while (drop_spare(j, true))
		;
	(void)pthread_mutex_unlock(&j->making);
}

void journal_recycle(struct journal *j, uint64_t sequence)
{
	(void)pthread_mutex_lock(&j->lock);
	if (sequence > j->recycled)
		j->recycled = sequence;
	(void)pthread_mutex_unlock(&j->lock);
}

uint64_t journal_live_bytes(struct journal *j)
{
	uint64_t sum = 0;

	(void)pthread_mutex_lock(&j->lock);
	for (struct journal_file *file = j->oldest; file; file = file->next)
		if (file->last_sequence > j->recycled)
			sum += file->used;
	(void)pthread_mutex_unlock(&j->lock);
	return sum;
}
