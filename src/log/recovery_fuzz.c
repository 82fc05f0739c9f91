/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data directory, damaged as the input says, over the disk in memory: it is
 * opened, read, written to, stopped and opened again.
 *
 * The directory is one that a log has left behind when it was killed: journal
 * with groups behind the checkpoint, checkpoint, segments with their indexes,
 * keys. The input is a list of edits:
 *
 *	byte 0     1: checksums and tags are made right again after the edits, so
 *	           that what stands behind them is reached
 *	per edit   file, what, at (2 bytes), n, n bytes
 *
 * A file may be replaced whole, by another of the directory too. Whatever it is,
 * opening gives a log or an error with a text; a log that opened gives only batches
 * whose checksums are right, always gets on, takes records, and opens again with
 * the same records where none were damaged.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/wire.h"
#include "log/format.h"
#include "log/frame.h"
#include "log/log.h"
#include "proto/batch/batch.h"
#include "sys/sim/sim.h"

#define FILES_MAX 64u
#define PARTITIONS 3u
#define CHECKPOINT_AT 24u
#define COMMITS 36u
#define BATCH_CRC_AT 17u
#define STEPS_MAX 10000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct image_file {
	char path[160];
	struct buf bytes;
	bool gone;
};

struct image {
	struct image_file files[FILES_MAX];
	uint32_t count;
};

static struct sim *sim;
static struct image original, image;
static struct hash_key journal_key;
static bool sealed; /* checksums were made right again */

/* ---- the log ---- */

static void on_fatal(void *ctx, const char *text)
{
	(void)ctx;
	(void)fprintf(stderr, "fatal: %s\n", text);
	abort();
}

static void on_wake(void *ctx)
{
	(void)ctx;
}

struct life {
	struct log *log;
	struct log_port *port;
	struct partition *partitions[PARTITIONS];
};

static int life_open(struct life *f, struct fault *fault)
{
	static const struct partition_options keep_all = {.retention_ms = -1, .retention_bytes = -1};
	struct log_options o = {.sys = sim_sys(sim),
				.dir = "data",
				.journal_file_bytes = 65536,
				.segment_bytes = 1200,
				.tail_bytes_max = 1,
				.index_interval_bytes = 200,
				.files_max = 8,
				.steps = true,
				.on_fatal = on_fatal};
	int rc = log_open(&o, &f->log, fault);

	if (rc)
		return rc;
	for (uint32_t i = 0; i < PARTITIONS && rc == 0; i++)
		rc = partition_open(f->log, &(struct topic_id){{(uint8_t)(1 + i / 2)}}, i % 2, &keep_all,
				    &f->partitions[i]);
	CHECK(rc == 0 && log_port_new(f->log, on_wake, NULL, &f->port) == 0);
	rc = log_start(f->log, fault);
	if (rc)
		log_close(f->log);
	return rc;
}

static void run_steps(struct life *f)
{
	static const enum log_step steps[] = {LOG_STEP_COMMIT, LOG_STEP_MOVE, LOG_STEP_READ};

	for (uint32_t i = 0, idle = 0; idle < 3; i++) {
		CHECK(i < STEPS_MAX);
		idle = log_step(f->log, steps[i % 3]) > 0 ? 0 : idle + 1;
	}
	log_port_run(f->port);
}

struct sent {
	struct log_commit commit;
	struct log_record records[2];
	struct log_key key;
	bool done;
};

static void on_done(struct log_commit *commit)
{
	((struct sent *)(void *)commit)->done = true;
}

/* One record for each of two partitions, under a key. False where it was refused. */
static bool send(struct life *f, uint32_t n)
{
	struct sent s = {.commit = {.record_count = 2, .key_count = 1, .port = f->port, .on_done = on_done}};
	struct seen_key key = {.fingerprint = {.lo = n, .hi = n}, .payload = n, .expires_ms = INT64_MAX / 2};
	struct seen_answer answer = {0};
	int rc;

	s.commit.records = s.records;
	s.commit.keys = &s.key;
	for (uint32_t i = 0; i < 2; i++)
		s.records[i] =
			(struct log_record){.partition = f->partitions[(n + i) % PARTITIONS],
					    .timestamp_ms = 1000 + n * 10,
					    .key = SLICE_LIT("key"),
					    .value = slice_make("the same words over and over", n % 29)};
	s.key.count = 2;
	log_enter_begin(f->log);
	rc = seen_claim(log_seen(f->log), &key, 1000, &s.key.claim, &answer, NULL);
	if (rc != SEEN_NEW)
		s.commit.key_count = 0;
	rc = log_enter(f->log, &s.commit);
	if (rc && s.commit.key_count)
		log_wake_waiters(seen_release(log_seen(f->log), &s.key.claim));
	log_enter_end(f->log);
	if (rc)
		return false;
	run_steps(f);
	CHECK(s.done);
	return true;
}

/* ---- the directory ---- */

struct walk {
	char dir[100];
};

static int load_file(void *ctx, const char *name)
{
	const struct sys *sys = sim_sys(sim);
	struct walk *w = ctx, inner;
	struct image_file *file = &original.files[original.count];
	struct sys_stat st;
	int fd;

	CHECK(original.count < FILES_MAX);
	CHECK((size_t)snprintf(file->path, sizeof(file->path), "%s/%s", w->dir, name) < sizeof(w->dir));
	CHECK(sys->ops->stat(sys->self, file->path, &st) == 0);
	if (st.is_dir) {
		memcpy(inner.dir, file->path, sizeof(inner.dir));
		return sys->ops->list(sys->self, inner.dir, load_file, &inner);
	}
	buf_init(&file->bytes, 1u << 20);
	CHECK(buf_reserve(&file->bytes, st.bytes + 1) == 0);
	fd = sys->ops->open(sys->self, file->path, SYS_READ);
	CHECK(fd >= 0 && sys->ops->pread(sys->self, fd, file->bytes.ptr, st.bytes, 0) == (int64_t)st.bytes);
	sys->ops->close(sys->self, fd);
	file->bytes.len = st.bytes;
	original.count++;
	return 0;
}

static void make_parents(const struct sys *sys, const char *path)
{
	char dir[160];

	for (const char *at = strchr(path, '/'); at; at = strchr(at + 1, '/')) {
		memcpy(dir, path, (size_t)(at - path));
		dir[at - path] = '\0';
		CHECK(sys->ops->mkdir(sys->self, dir) == 0);
	}
}

static void store_file(const struct image_file *file)
{
	const struct sys *sys = sim_sys(sim);
	struct iovec iov = {.iov_base = file->bytes.ptr, .iov_len = file->bytes.len};
	int fd;

	make_parents(sys, file->path);
	fd = sys->ops->open(sys->self, file->path, SYS_CREATE | SYS_TRUNCATE);
	CHECK(fd >= 0 && (iov.iov_len == 0 || sys->ops->pwritev(sys->self, fd, &iov, 1, 0) == 0));
	sys->ops->close(sys->self, fd);
}

static void make_original(void)
{
	struct sim_options o = {.seed = 1, .pages_max = 4096, .files_max = 128, .file_pages_max = 256};
	struct walk w = {.dir = "data"};
	struct fault fault = {0};
	struct format format;
	struct life f;

	CHECK(sim_new(&o, &sim) == 0);
	CHECK(life_open(&f, &fault) == 0);
	for (uint32_t i = 0; i < COMMITS; i++) {
		CHECK(send(&f, i));
		if (i == CHECKPOINT_AT / 2 || i == CHECKPOINT_AT)
			CHECK(log_checkpoint(f.log, &fault) == 0);
	}
	CHECK(sim_sys(sim)->ops->list(sim_sys(sim)->self, w.dir, load_file, &w) == 0);
	CHECK(log_stop(f.log, &fault) == 0);
	log_close(f.log);
	CHECK(format_read(sim_sys(sim), "data", &format, &fault) == 0);
	journal_key = format.journal_key;
}

/* ---- edits ---- */

static void copy_original(void)
{
	for (uint32_t i = 0; i < original.count; i++) {
		struct image_file *to = &image.files[i];
		if (image.count == 0)
			buf_init(&to->bytes, 1u << 20);
		buf_clear(&to->bytes);
		memcpy(to->path, original.files[i].path, sizeof(to->path));
		to->gone = false;
		CHECK(buf_append_slice(&to->bytes, buf_slice(&original.files[i].bytes)) == 0);
	}
	image.count = original.count;
}

enum edit_kind {
	EDIT_OVERWRITE,
	EDIT_TRUNCATE,
	EDIT_INSERT,
	EDIT_REPLACE,
	EDIT_REMOVE,
	EDIT_FLIP,
	EDIT_COPY,
	EDIT_KINDS
};

static void overwrite(struct buf *b, size_t at, struct slice with)
{
	if (at + with.len > b->len)
		with.len = b->len - at;
	if (with.len)
		memcpy(b->ptr + at, with.ptr, with.len);
}

static void insert(struct buf *b, size_t at, struct slice what)
{
	if (what.len == 0 || buf_reserve(b, what.len))
		return;
	memmove(b->ptr + at + what.len, b->ptr + at, b->len - at);
	memcpy(b->ptr + at, what.ptr, what.len);
	b->len += what.len;
}

static void apply(struct image_file *file, enum edit_kind kind, size_t at, struct slice bytes)
{
	struct buf *b = &file->bytes;
	const struct image_file *other = &original.files[at % original.count];

	if (at > b->len)
		at = b->len ? at % b->len : 0;
	switch (kind) {
	case EDIT_OVERWRITE:
		overwrite(b, at, bytes);
		break;
	case EDIT_TRUNCATE:
		b->len = at;
		break;
	case EDIT_INSERT:
		insert(b, at, bytes);
		break;
	case EDIT_REPLACE:
		buf_clear(b);
		(void)buf_append_slice(b, bytes);
		break;
	case EDIT_REMOVE:
		file->gone = true;
		break;
	case EDIT_FLIP:
		if (at < b->len)
			b->ptr[at] ^= (uint8_t)(1u << (bytes.len ? bytes.ptr[0] % 8 : 0));
		break;
	case EDIT_COPY:
		buf_clear(b);
		(void)buf_append_slice(b, buf_slice(&other->bytes));
		break;
	case EDIT_KINDS:
		break;
	}
}

/* The last edit's bytes may go on to the end of the input: a whole file as input. */
static void edit(struct wire_reader *r)
{
	struct image_file *file = &image.files[wire_u8(r) % image.count];
	enum edit_kind kind = (enum edit_kind)(wire_u8(r) % EDIT_KINDS);
	size_t at = wire_u16(r), n = wire_u8(r);

	if (kind == EDIT_REPLACE || n > wire_left(r))
		n = wire_left(r);
	apply(file, kind, at, wire_bytes(r, n));
}

static void seal_journal(struct buf *b)
{
	struct frame_head head;

	for (size_t at = 0; at + FRAME_HEAD_BYTES <= b->len; at += FRAME_ALIGN) {
		if (frame_head_read(slice_from(buf_slice(b), at), &head) || head.bytes > b->len - at)
			continue;
		head.tag = frame_tag(&journal_key, &head);
		frame_seal(b->ptr + at, &head);
	}
}

static void seal_segment(struct buf *b)
{
	struct batch_head head;

	for (size_t at = 0; batch_head_read(slice_from(buf_slice(b), at), &head) == 0; at += head.bytes) {
		if (head.bytes > b->len - at)
			return;
		(void)wire_put_u32(b->ptr + at + BATCH_CRC_AT,
				   crc32c(0, b->ptr + at + BATCH_CRC_AT + 4, head.bytes - BATCH_CRC_AT - 4));
	}
}

static void seal_checkpoint(struct buf *b)
{
	if (b->len > 12)
		(void)wire_put_u32(b->ptr + 8, crc32c(0, b->ptr + 12, b->len - 12));
}

static void seal(struct image_file *file)
{
	if (strstr(file->path, ".wal"))
		seal_journal(&file->bytes);
	else if (strstr(file->path, ".log"))
		seal_segment(&file->bytes);
	else if (strstr(file->path, "CHECKPOINT"))
		seal_checkpoint(&file->bytes);
}

static void store_image(struct slice input)
{
	struct wire_reader r = wire_reader_make(input);

	sealed = wire_u8(&r) & 1;
	copy_original();
	while (wire_left(&r) >= 5)
		edit(&r);
	sim_reset(sim, 2);
	for (uint32_t i = 0; i < image.count; i++) {
		if (sealed)
			seal(&image.files[i]);
		if (!image.files[i].gone)
			store_file(&image.files[i]);
	}
}

/* ---- reading ---- */

static uint64_t read_batches(struct slice rest, uint64_t sum)
{
	while (rest.len) {
		struct batch_head head;
		struct batch_walk walk;
		struct batch_record r;
		CHECK(batch_check(rest, &head) == 0);
		sum = sum * 31 + head.crc;
		if (batch_walk_start(&walk, slice_make(rest.ptr, head.bytes)) == 0)
			while (batch_walk_next(&walk, &r) == 1)
				CHECK(r.offset >= head.base_offset && r.offset <= batch_last_offset(&head));
		rest = slice_from(rest, head.bytes);
	}
	return sum;
}

/* Everything from the start on: a number that says what was there, and whether something was damaged. */
static uint64_t read_all(struct partition *p, bool *damaged)
{
	struct partition_range range;
	struct log_view view;
	uint64_t sum = 0;
	int64_t at;
	int rc;

	partition_range(p, &range);
	at = range.start;
	for (uint32_t i = 0; (rc = log_read_wait(p, at, 4096, &view)) == LOG_READ_OK; i++) {
		CHECK(i < STEPS_MAX && view.next_offset > at);
		sum = read_batches(view.batches, sum);
		*damaged |= view.gap.to != view.gap.from;
		blob_unref(view.blob);
		at = view.next_offset;
	}
	/* A batch whose checksum is right and that says it goes on past the end was put there on purpose. */
	CHECK((rc == LOG_READ_END && at == range.end) || (sealed && rc == ERR_CURSOR_AHEAD));
	return sum;
}

static void look_for_times(struct partition *p)
{
	struct partition_range range;
	int64_t offset;

	partition_range(p, &range);
	for (int64_t ms = 990; ms < 1400; ms += 100) {
		int rc = log_find_wait(p, ms, &offset);
		CHECK(rc == 0 && offset >= range.start && offset <= range.end);
	}
}

struct seen_state {
	struct partition_range range;
	uint64_t sum;
	bool damaged;
};

static void look(struct life *f, struct seen_state *all)
{
	for (uint32_t i = 0; i < PARTITIONS; i++) {
		partition_range(f->partitions[i], &all[i].range);
		all[i].damaged = false;
		all[i].sum = read_all(f->partitions[i], &all[i].damaged);
		look_for_times(f->partitions[i]);
	}
}

static void close_life(struct life *f, struct fault *fault)
{
	CHECK(log_stop(f->log, fault) == 0);
	log_port_run(f->port);
	log_close(f->log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen_state before[PARTITIONS], after[PARTITIONS];
	struct fault fault = {0};
	struct life f;
	int rc;

	if (!sim)
		make_original();
	store_image(slice_make(data, size));
	rc = life_open(&f, &fault);
	if (rc) {
		CHECK(rc < 0 && fault.text[0]);
		return 0;
	}
	run_steps(&f);
	look(&f, before);
	(void)send(&f, 100);
	(void)send(&f, 101);
	look(&f, before);
	close_life(&f, &fault);
	CHECK(life_open(&f, &fault) == 0);
	look(&f, after);
	for (uint32_t i = 0; i < PARTITIONS; i++) {
		CHECK(before[i].range.start == after[i].range.start &&
		      before[i].range.end == after[i].range.end);
		/* How much damage costs, up to an index interval, goes by which entries the index has. */
		CHECK(before[i].damaged || after[i].damaged || before[i].sum == after[i].sum);
	}
	close_life(&f, &fault);
	return 0;
}
