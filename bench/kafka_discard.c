/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_discard PORT PARTITIONS [BYTES FILE COUNT]
 *
 * A broker that stores nothing: it tells any topic that is asked for, with so many
 * partitions, gives out producer ids, and answers every Produce at once. What a client sends
 * into it is the client's own limit. One thread; each connection is served in turn.
 *
 * With BYTES it also answers every Fetch at once, with one batch of records of so many bytes a partition, as large as librdkafka's
 * producer makes them, which sendfile takes out of a file that was made with so many records, each partition's in a stretch
 * of its own: what client and kernel make of the page cache where a broker does nothing besides.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "proto/batch/batch.h"
#include "proto/kafka/kafka_api.h"
#include "proto/kafka/kafka_frame.h"

#define FRAME_MAX (128u << 20)

#define BATCH_BYTES_MAX 1000000 /* librdkafka's batch.size */
#define BATCH_RECORDS_MAX 10000 /* and batch.num.messages */

static int port, partitions;
static int file = -1; /* batches, all of one length and with one count of records; -1: no Fetch is answered */
static size_t batch_bytes;
static int64_t batch_records;
static int64_t share; /* batches of each partition */

struct peer {
	int fd;
	struct kafka_framer framer;
};

static void *array(struct arena *arena, const struct kafka_layout *layout, size_t count)
{
	void *list = kafka_layout_array(layout, arena, count);

	if (!list)
		die("no memory");
	return list;
}

/* A peer that has gone is noticed by the next read. */
static void give(int fd, const uint8_t *at, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
		if (sent <= 0)
			return;
		at += sent;
		n -= (size_t)sent;
	}
}

static void answer_metadata(const struct kafka_metadata_request *q, struct kafka_metadata_response *r,
			    struct arena *arena)
{
	static const int32_t one[] = {1};
	struct kafka_metadata_response_broker *broker =
		array(arena, &kafka_metadata_response_broker_layout, 1);
	struct kafka_metadata_response_topic *topics =
		array(arena, &kafka_metadata_response_topic_layout, q->topics_count);

	broker->node_id = 1;
	broker->host = SLICE_LIT("127.0.0.1");
	broker->port = port;
	r->brokers = broker;
	r->brokers_count = 1;
	r->controller_id = 1;
	r->topics = topics;
	r->topics_count = q->topics_count;
	for (size_t i = 0; i < q->topics_count; i++) {
		struct kafka_metadata_response_partition *list =
			array(arena, &kafka_metadata_response_partition_layout, (size_t)partitions);
		for (int p = 0; p < partitions; p++) {
			list[p].partition_index = p;
			list[p].leader_id = 1;
			list[p].replica_nodes = one;
			list[p].replica_nodes_count = 1;
			list[p].isr_nodes = one;
			list[p].isr_nodes_count = 1;
		}
		topics[i].name = q->topics[i].name;
		topics[i].partitions = list;
		topics[i].partitions_count = (size_t)partitions;
	}
}

static void answer_produce(const struct kafka_produce_request *q, struct kafka_produce_response *r,
			   struct arena *arena)
{
	struct kafka_produce_response_topic *topics =
		array(arena, &kafka_produce_response_topic_layout, q->topic_data_count);

	r->responses = topics;
	r->responses_count = q->topic_data_count;
	for (size_t i = 0; i < q->topic_data_count; i++) {
		size_t count = q->topic_data[i].partition_data_count;
		struct kafka_produce_response_partition *list =
			array(arena, &kafka_produce_response_partition_layout, count);
		for (size_t p = 0; p < count; p++)
			list[p].index = q->topic_data[i].partition_data[p].index;
		topics[i].name = q->topic_data[i].name;
		topics[i].partition_responses = list;
		topics[i].partition_responses_count = count;
	}
}

static void answer_offsets(const struct kafka_list_offsets_request *q, struct kafka_list_offsets_response *r,
			   struct arena *arena)
{
	struct kafka_list_offsets_response_topic *topics =
		array(arena, &kafka_list_offsets_response_topic_layout, q->topics_count);

	r->topics = topics;
	r->topics_count = q->topics_count;
	for (size_t i = 0; i < q->topics_count; i++) {
		size_t count = q->topics[i].partitions_count;
		struct kafka_list_offsets_response_partition *list =
			array(arena, &kafka_list_offsets_response_partition_layout, count);
		for (size_t p = 0; p < count; p++) {
			list[p].partition_index = q->topics[i].partitions[p].partition_index;
			list[p].offset = 0;
		}
		topics[i].name = q->topics[i].name;
		topics[i].partitions = list;
		topics[i].partitions_count = count;
	}
}

/* The place of its next batch; NULL: it has no more. */
static off_t *find_batch(const struct kafka_fetch_request_partition *q, struct arena *arena)
{
	int64_t batch = q->fetch_offset / batch_records;
	off_t *at;

	if (batch >= share || q->partition >= partitions)
		return NULL;
	at = arena_alloc(arena, sizeof(*at));
	if (!at)
		die("no memory");
	*at = (off_t)(q->partition * share + batch) * (off_t)batch_bytes;
	return at;
}

/* One batch a partition, whatever the limits say. */
static void answer_fetch(const struct kafka_fetch_request *q, struct kafka_fetch_response *r,
			 struct arena *arena)
{
	struct kafka_fetch_response_topic *topics =
		array(arena, &kafka_fetch_response_topic_layout, q->topics_count);

	r->responses = topics;
	r->responses_count = q->topics_count;
	for (size_t i = 0; i < q->topics_count; i++) {
		size_t count = q->topics[i].partitions_count;
		struct kafka_fetch_response_partition *list =
			array(arena, &kafka_fetch_response_partition_layout, count);
		for (size_t p = 0; p < count; p++) {
			off_t *at = find_batch(&q->topics[i].partitions[p], arena);
			list[p].partition_index = q->topics[i].partitions[p].partition;
			list[p].high_watermark = list[p].last_stable_offset = share * batch_records;
			list[p].log_start_offset = 0;
			list[p].records.ptr = (const uint8_t *)"";
			list[p].records.len = at ? batch_bytes : 0;
			list[p].records.source = at;
		}
		topics[i].topic = q->topics[i].topic;
		topics[i].partitions = list;
		topics[i].partitions_count = count;
	}
}

static void send_fetched(int fd, const struct buf *out, const struct kafka_cuts *cuts)
{
	size_t at = 0;

	for (size_t i = 0; i < cuts->count; i++) {
		off_t from = *(const off_t *)cuts->list[i].records->source, end = from + (off_t)batch_bytes;
		if (send(fd, out->ptr + at, cuts->list[i].at - at, MSG_MORE | MSG_NOSIGNAL) < 0)
			return;
		while (from < end) {
			ssize_t sent = sendfile(fd, file, &from, (size_t)(end - from));
			if (sent == 0)
				die("kafka_discard: asked for more than there is");
			if (sent < 0)
				return;
		}
		at = cuts->list[i].at;
	}
	if (at < out->len)
		give(fd, out->ptr + at, out->len - at);
}

static void serve_fetch(struct peer *peer, const struct kafka_header *h, const struct kafka_fetch_request *q,
			struct kafka_fetch_response *r, struct arena *arena, struct buf *out)
{
	struct kafka_cuts cuts = {.count_max = 0};

	answer_fetch(q, r, arena);
	for (size_t i = 0; i < q->topics_count; i++)
		cuts.count_max += q->topics[i].partitions_count;
	cuts.list = arena_alloc(arena, (cuts.count_max + 1) * sizeof(*cuts.list));
	if (!cuts.list || kafka_response_write(h, r, out, &cuts))
		die("kafka_discard: an answer that cannot be written");
	send_fetched(peer->fd, out, &cuts);
	buf_clear(out);
}

/* As many batches for each partition as have so many records together, or some more; they are in the page cache then. */
static void make_file(const char *path, size_t bytes, int64_t count)
{
	uint8_t *room = malloc(BATCH_BYTES_MAX + 1024), *value = malloc(bytes);
	struct batch_record record = {.timestamp = 1700000000000, .value = slice_make(value, bytes)};
	size_t each = batch_record_bytes_max(0, bytes, 0);
	struct batch_build b;

	file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (!room || !value || file < 0 || each > BATCH_BYTES_MAX)
		die("kafka_discard: no file");
	for (size_t i = 0; i < bytes; i++)
		value[i] = (uint8_t)('a' + (i * 7 + i / 13) % 26);
	batch_build_start(&b, room, 0);
	do
		batch_build_put(&b, &record);
	while (b.count < BATCH_RECORDS_MAX && (size_t)(b.at - b.begin) + each < BATCH_BYTES_MAX);
	batch_records = b.count;
	batch_bytes = batch_build_finish(&b).len;
	share = (count + partitions * batch_records - 1) / (partitions * batch_records);
	for (int64_t batch = 0; batch < share * partitions; batch++) {
		batch_place(room, batch % share * batch_records);
		if (write(file, room, batch_bytes) != (ssize_t)batch_bytes)
			die("kafka_discard: cannot write its file");
	}
	free(value);
	free(room);
}

static void serve(struct peer *peer, struct slice frame, struct arena *arena, struct buf *out)
{
	union {
		struct kafka_produce_request produce;
		struct kafka_metadata_request metadata;
		struct kafka_api_versions_request versions;
		struct kafka_init_producer_id_request init;
		struct kafka_list_offsets_request offsets;
		struct kafka_fetch_request fetch;
		struct kafka_find_coordinator_request coordinator;
	} q;
	union {
		struct kafka_produce_response produce;
		struct kafka_metadata_response metadata;
		struct kafka_api_versions_response versions;
		struct kafka_init_producer_id_response init;
		struct kafka_list_offsets_response offsets;
		struct kafka_fetch_response fetch;
		struct kafka_find_coordinator_response coordinator;
	} r;
	struct kafka_header h;
	struct slice body;
	static int64_t ids;
	int error = kafka_header_read(frame, &h, &body);

	if (error) {
		if (h.key != KAFKA_API_VERSIONS)
			die("kafka_discard: a request that it does not know");
		kafka_versions_unsupported(&h, &r.versions);
		error = kafka_response_write(&h, &r, out, NULL);
	} else if (h.key == KAFKA_API_VERSIONS) {
		kafka_versions_answer(&r.versions);
		error = kafka_response_write(&h, &r, out, NULL);
	} else {
		if (h.key != KAFKA_PRODUCE && h.key != KAFKA_METADATA && h.key != KAFKA_INIT_PRODUCER_ID &&
		    (file < 0 || (h.key != KAFKA_FETCH && h.key != KAFKA_LIST_OFFSETS &&
				  h.key != KAFKA_FIND_COORDINATOR)))
			die("kafka_discard: a request that it does not answer");
		if (kafka_request_read(&h, body, arena, &q))
			die("kafka_discard: a request that it cannot read");
		kafka_layout_default(h.api->response, &r, 1);
		if (h.key == KAFKA_METADATA)
			answer_metadata(&q.metadata, &r.metadata, arena);
		else if (h.key == KAFKA_PRODUCE)
			answer_produce(&q.produce, &r.produce, arena);
		else if (h.key == KAFKA_LIST_OFFSETS)
			answer_offsets(&q.offsets, &r.offsets, arena);
		else if (h.key == KAFKA_FIND_COORDINATOR)
			r.coordinator.error_code = 15; /* not available: nobody needs one */
		else if (h.key == KAFKA_FETCH) {
			serve_fetch(peer, &h, &q.fetch, &r.fetch, arena, out);
			return;
		} else
			r.init.producer_id = ++ids;
		if (h.key == KAFKA_PRODUCE && q.produce.acks == 0)
			return;
		error = kafka_response_write(&h, &r, out, NULL);
	}
	if (error)
		die("kafka_discard: an answer that cannot be written");
	give(peer->fd, out->ptr, out->len);
	buf_clear(out);
}

/* What one read brings; false: the peer has gone. */
static bool take(struct peer *peer, struct arena *arena, struct buf *out)
{
	static uint8_t room[1 << 20];
	ssize_t n = recv(peer->fd, room, sizeof(room), 0);
	struct slice bytes = {.ptr = room, .len = n > 0 ? (size_t)n : 0};
	struct slice frame;
	size_t taken;

	if (n <= 0)
		return false;
	for (;;) {
		enum kafka_frame_event e = kafka_framer_next(&peer->framer, bytes, &taken, &frame);
		bytes = slice_from(bytes, taken);
		if (e == KAFKA_FRAME_FAIL)
			return false;
		if (e == KAFKA_FRAME_MORE)
			return true;
		arena_reset(arena);
		serve(peer, frame, arena, out);
	}
}

int main(int argc, char **argv)
{
	int on = 1, poller = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event e = {.events = EPOLLIN}, events[64];
	struct arena arena;
	struct buf out;

	if (argc != 3 && argc != 6)
		die("kafka_discard PORT PARTITIONS [BYTES FILE COUNT]");
	(void)signal(SIGPIPE, SIG_IGN); /* sendfile knows no MSG_NOSIGNAL */
	port = atoi(argv[1]);
	partitions = atoi(argv[2]);
	if (argc == 6)
		make_file(argv[4], (size_t)atol(argv[3]), atol(argv[5]));
	at.sin_port = htons((uint16_t)port);
	(void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 512) ||
	    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e))
		die("kafka_discard: listen");
	arena_init(&arena, 65536, 16u << 20);
	buf_init(&out, 16u << 20);
	for (;;) {
		int n = epoll_wait(poller, events, 64, -1);
		for (int i = 0; i < n; i++) {
			struct peer *peer = events[i].data.ptr;
			if (!peer) {
				peer = calloc(1, sizeof(*peer));
				if (!peer)
					die("no memory");
				peer->fd = accept(listener, NULL, NULL);
				(void)setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
				kafka_framer_init(&peer->framer, FRAME_MAX);
				e.data.ptr = peer;
				if (epoll_ctl(poller, EPOLL_CTL_ADD, peer->fd, &e))
					die("epoll_ctl");
			} else if (!take(peer, &arena, &out)) {
				close(peer->fd);
				kafka_framer_fini(&peer->framer);
				free(peer);
			}
		}
	}
}
