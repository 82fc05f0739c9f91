/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka_discard PORT PARTITIONS
 *
 * A broker that stores nothing: it tells any topic that is asked for, with so many
 * partitions, gives out producer ids, and answers every Produce at once. What a client sends
 * into it is the client's own limit. One thread; each connection is served in turn.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "proto/kafka/kafka_api.h"
#include "proto/kafka/kafka_frame.h"

#define FRAME_MAX (128u << 20)

static int port, partitions;

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

static void serve(struct peer *peer, struct slice frame, struct arena *arena, struct buf *out)
{
	union {
		struct kafka_produce_request produce;
		struct kafka_metadata_request metadata;
		struct kafka_api_versions_request versions;
		struct kafka_init_producer_id_request init;
	} q;
	union {
		struct kafka_produce_response produce;
		struct kafka_metadata_response metadata;
		struct kafka_api_versions_response versions;
		struct kafka_init_producer_id_response init;
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
		if (h.key != KAFKA_PRODUCE && h.key != KAFKA_METADATA && h.key != KAFKA_INIT_PRODUCER_ID)
			die("kafka_discard: a request that it does not answer");
		if (kafka_request_read(&h, body, arena, &q))
			die("kafka_discard: a request that it cannot read");
		kafka_layout_default(h.api->response, &r, 1);
		if (h.key == KAFKA_METADATA)
			answer_metadata(&q.metadata, &r.metadata, arena);
		else if (h.key == KAFKA_PRODUCE)
			answer_produce(&q.produce, &r.produce, arena);
		else
			r.init.producer_id = ++ids;
		if (h.key == KAFKA_PRODUCE && q.produce.acks == 0)
			return;
		error = kafka_response_write(&h, &r, out, NULL);
	}
	if (error)
		die("kafka_discard: an answer that cannot be written");
	send_all(peer->fd, out->ptr, out->len);
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

	if (argc != 3)
		die("kafka_discard PORT PARTITIONS");
	port = atoi(argv[1]);
	partitions = atoi(argv[2]);
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
