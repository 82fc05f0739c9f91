/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch_bench [MILLIONS]
 *
 * What the door's check of a record batch takes (src/ingest/batch_check.h): checksum, inflating, and
 * the walk over its records. Batches of about 16 KiB (the Java client's usual one) and 1 MiB, of records of
 * 100 bytes and 1 KiB, plain and in each codec. Prints nanoseconds a record and bytes a nanosecond,
 * the median of nine rounds, processor time; beside them what the checksum alone takes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/batch_check.h"
#include "rounds.h"

#define ROOM ((size_t)4 << 20)

static struct codec *codec;
static uint8_t memory[ROOM];
static uint8_t value[1024];

static void check(int ok)
{
	check_that(ok, "a batch was refused");
}

/* Text that compresses to about a third, as JSON does. */
static void fill_value(uint32_t seed)
{
	static const char *const words[] = {"\"order\":",  "\"customer\":", "{\"id\":", "\"total\":",
					    "\"items\":[", "\"street\":",   "}],",      "\"2026-11-21T"};
	size_t at = 0;

	while (at + 24 < sizeof(value)) {
		seed = seed * 1103515245 + 12345;
		at += (size_t)sprintf((char *)value + at, "%s%u,", words[seed >> 16 & 7], seed >> 8 & 0xffff);
	}
}

static struct slice make_batch(size_t bytes, size_t value_bytes, enum batch_codec to, struct buf *out)
{
	struct batch_build b;
	struct buf scratch;
	struct slice plain;

	batch_build_start(&b, memory, 0);
	for (uint32_t i = 0; (size_t)(b.at - b.begin) + value_bytes < bytes; i++) {
		fill_value(i);
		batch_build_put(&b, &(struct batch_record){.timestamp = 1700000000000 + i,
							   .key = SLICE_LIT("key-17"),
							   .value = slice_make(value, value_bytes)});
	}
	plain = batch_build_finish(&b);
	if (to == BATCH_PLAIN)
		return plain;
	buf_init(&scratch, ROOM);
	buf_init(out, ROOM);
	check(batch_recode(codec, plain, to, 0, &scratch, out) == 0);
	buf_fini(&scratch);
	return buf_slice(out);
}

static double median(struct slice batch, long times, bool whole)
{
	struct batch_rules rules = {.bytes_max = ROOM, .plain_bytes_max = ROOM, .record_bytes_max = ROOM};
	double rounds[ROUNDS];
	struct batch_verdict v;
	struct batch_head head;
	struct buf scratch;

	buf_init(&scratch, ROOM);
	for (int r = 0; r < ROUNDS; r++) {
		double start = now_ns();
		for (long i = 0; i < times; i++)
			check((whole ? batch_verify(codec, batch, &rules, &scratch, &v) :
				       batch_check(batch, &head)) == 0);
		rounds[r] = (now_ns() - start) / (double)times;
	}
	buf_fini(&scratch);
	return rounds_median(rounds);
}

static void bench_one(size_t bytes, size_t value_bytes, enum batch_codec to, double millions)
{
	struct buf out = {0};
	struct slice batch = make_batch(bytes, value_bytes, to, &out);
	struct batch_head head;
	double whole, sum;
	long times;

	check(batch_head_read(batch, &head) == 0);
	times = (long)(millions * 1e6 / head.count / (to ? 4 : 1)) + 1;
	whole = median(batch, times, true);
	sum = median(batch, times, false);
	printf("%8zu %6zu %-7s %7u %8u %9.1f %9.1f %9.2f\n", bytes, value_bytes, codec_name(to), head.count,
	       head.bytes, whole / head.count, sum / head.count, (double)head.bytes / whole);
	buf_fini(&out);
}

int main(int argc, char **argv)
{
	double millions = argc > 1 ? atof(argv[1]) : 1;

	check(codec_new(&codec) == 0);
	printf("   batch  value codec   records    bytes ns/record  checksum  bytes/ns\n");
	for (int size = 0; size < 2; size++)
		for (int record = 0; record < 2; record++)
			for (unsigned to = 0; to <= BATCH_ZSTD; to++)
				bench_one(size ? 1000000 : 16384, record ? 1000 : 100, (enum batch_codec)to,
					  millions);
	codec_free(codec);
	return 0;
}
