/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_bench [MILLIONS]
 *
 * What the codec of src/proto/kafka takes for the two messages that matter: to
 * read a Produce of one topic, one partition and a batch of 1 KiB, from the frame
 * to the struct; and to write a Fetch response of the same with the records left
 * where they are. In the versions that clients of today settle on. Prints the
 * median of nine rounds (processor time) and the allocations of all of them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proto/kafka/kafka_api.h"
#include "rounds.h"

#define BATCH_BYTES 1024u

static uint8_t batch[BATCH_BYTES];

static void check(int ok)
{
	check_that(ok, "the codec failed");
}

static void make_produce(struct buf *to, int16_t version)
{
	struct kafka_produce_request_partition partition = {.index = 3,
							    .records = {.ptr = batch, .len = sizeof(batch)}};
	struct kafka_produce_request_topic topic = {.name = SLICE_LIT("orders"),
						    .partition_data = &partition,
						    .partition_data_count = 1};
	struct kafka_produce_request q = {.acks = -1,
					  .timeout_ms = 30000,
					  .topic_data = &topic,
					  .topic_data_count = 1};
	struct kafka_header h = {.api = kafka_api_find(KAFKA_PRODUCE),
				 .key = KAFKA_PRODUCE,
				 .version = version};

	h.client_id = SLICE_LIT("producer-1");
	check(kafka_request_write(&h, &q, to) == 0);
}

static double read_produce(struct slice frame, struct arena *arena, long times)
{
	double start = now_ns();

	for (long i = 0; i < times; i++) {
		struct kafka_produce_request q;
		struct kafka_header h;
		struct slice body;
		arena_reset(arena);
		check(kafka_header_read(frame, &h, &body) == 0);
		check(kafka_request_read(&h, body, arena, &q) == 0);
		check(q.topic_data[0].partition_data[0].records.len == BATCH_BYTES);
	}
	return (now_ns() - start) / (double)times;
}

static double write_fetch(struct buf *to, int16_t version, long times)
{
	struct kafka_fetch_response_partition partition;
	struct kafka_fetch_response_topic topic = {.topic = SLICE_LIT("orders"),
						   .partitions = &partition,
						   .partitions_count = 1};
	struct kafka_fetch_response r;
	struct kafka_header h = {.api = kafka_api_find(KAFKA_FETCH), .key = KAFKA_FETCH, .version = version};
	struct kafka_cut cut;
	double start = now_ns();

	for (long i = 0; i < times; i++) {
		struct kafka_cuts cuts = {.list = &cut, .count_max = 1};
		buf_clear(to);
		kafka_layout_default(&kafka_fetch_response_layout, &r, 1);
		kafka_layout_default(&kafka_fetch_response_partition_layout, &partition, 1);
		partition.high_watermark = i;
		partition.records = (struct kafka_records){.len = BATCH_BYTES, .source = batch};
		r.responses = &topic;
		r.responses_count = 1;
		check(kafka_response_write(&h, &r, to, &cuts) == 0 && cuts.count == 1);
	}
	return (now_ns() - start) / (double)times;
}

int main(int argc, char **argv)
{
	long times = (argc > 1 ? atol(argv[1]) : 1) * 1000000 / ROUNDS;
	static const int16_t produce[] = {7, 9, 12}, fetch[] = {4, 11, 12};
	double ns[ROUNDS], median;
	struct arena arena;
	struct buf wire;

	arena_init(&arena, 4096, 1u << 20);
	buf_init(&wire, 1u << 20);
	for (size_t k = 0; k < 3; k++) {
		uint64_t calls;
		buf_clear(&wire);
		make_produce(&wire, produce[k]);
		(void)read_produce(slice_from(buf_slice(&wire), 4), &arena, 1000);
		calls = mem_calls();
		for (int i = 0; i < ROUNDS; i++)
			ns[i] = read_produce(slice_from(buf_slice(&wire), 4), &arena, times);
		median = rounds_median(ns);
		printf("read  Produce %2d  %6.1f ns (%.1f-%.1f)  %" PRIu64 " allocations\n", produce[k],
		       median, ns[0], ns[ROUNDS - 1], mem_calls() - calls);
	}
	for (size_t k = 0; k < 3; k++) {
		uint64_t calls;
		(void)write_fetch(&wire, fetch[k], 1000);
		calls = mem_calls();
		for (int i = 0; i < ROUNDS; i++)
			ns[i] = write_fetch(&wire, fetch[k], times);
		median = rounds_median(ns);
		printf("write Fetch   %2d  %6.1f ns (%.1f-%.1f)  %" PRIu64 " allocations\n", fetch[k], median,
		       ns[0], ns[ROUNDS - 1], mem_calls() - calls);
	}
	buf_fini(&wire);
	arena_fini(&arena);
	return 0;
}
