/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kafka's protocol by hand, where a client library would be the limit:
 *
 *	kafka_wire small PORT TOPIC PARTITIONS PRODUCERS BYTES SECONDS
 *		connections that each send one record, wait for its answer (acks=all), and send the next
 *	kafka_wire spread PORT TOPIC PARTITIONS SECONDS
 *		one connection, five requests under way, each ten records of 100 bytes for each of twelve
 *		partitions; the next request is for the next twelve
 *	kafka_wire drain PORT TOPIC PARTITIONS COUNT
 *		one connection that fetches all partitions again and again, from the beginning until it has so many
 *		records, with librdkafka's limits; it looks at the heads of batches and throws everything away
 *	kafka_wire idle PORT TOPIC CONSUMERS WAIT_MS
 *		connections that wait in a fetch at the end of the topic; prints `waiting` and stays until its input ends
 *
 * Produce 7, Fetch 11. The frames are made once and sent again and again.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "client.h"

struct frame {
	unsigned char *at;
	size_t len, cap;
};

static void put(struct frame *f, const void *bytes, size_t n)
{
	if (f->len + n > f->cap) {
		f->cap = (f->len + n) * 2;
		f->at = realloc(f->at, f->cap);
		if (!f->at)
			die("no memory");
	}
	memcpy(f->at + f->len, bytes, n);
	f->len += n;
}

static void put8(struct frame *f, int v)
{
	unsigned char c = (unsigned char)v;

	put(f, &c, 1);
}

static void put16(struct frame *f, int v)
{
	uint16_t n = htons((uint16_t)v);

	put(f, &n, 2);
}

static void put32(struct frame *f, int64_t v)
{
	uint32_t n = htonl((uint32_t)v);

	put(f, &n, 4);
}

static void put64(struct frame *f, int64_t v)
{
	uint64_t n = htobe64((uint64_t)v);

	put(f, &n, 8);
}

static void put_text(struct frame *f, const char *s)
{
	put16(f, (int)strlen(s));
	put(f, s, strlen(s));
}

static void put_varint(struct frame *f, int64_t v)
{
	uint64_t n = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);

	for (; n > 127; n >>= 7)
		put8(f, (int)(n & 127) | 128);
	put8(f, (int)n);
}

static void set32(struct frame *f, size_t at, uint32_t v)
{
	v = htonl(v);
	memcpy(f->at + at, &v, 4);
}

static int varint_len(int64_t v)
{
	struct frame f = {0};
	size_t n;

	put_varint(&f, v);
	n = f.len;
	free(f.at);
	return (int)n;
}

/* One record batch v2 of `count` records with values of so many bytes, no keys. */
static void put_batch(struct frame *f, int count, size_t bytes)
{
	size_t length = 0, crc, from;
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz";

	from = f->len;
	put64(f, 0);
	length = f->len;
	put32(f, 0);
	put32(f, -1);
	put8(f, 2);
	crc = f->len;
	put32(f, 0);
	put16(f, 0);
	put32(f, count - 1);
	put64(f, 1700000000000);
	put64(f, 1700000000000);
	put64(f, -1);
	put16(f, -1);
	put32(f, -1);
	put32(f, count);
	for (int i = 0; i < count; i++) {
		int64_t size = 1 + 1 + varint_len(i) + 1 + varint_len((int64_t)bytes) + (int64_t)bytes + 1;
		put_varint(f, size);
		put8(f, 0);
		put_varint(f, 0);
		put_varint(f, i);
		put_varint(f, -1);
		put_varint(f, (int64_t)bytes);
		for (size_t k = 0; k < bytes; k++)
			put(f, &letters[(k * 7 + k / 13) % 26], 1);
		put_varint(f, 0);
	}
	set32(f, length, (uint32_t)(f->len - from - 12));
	set32(f, crc, crc32c(0, f->at + crc + 4, f->len - crc - 4));
}

static void begin(struct frame *f, int key, int version)
{
	put32(f, 0);
	put16(f, key);
	put16(f, version);
	put32(f, 1);
	put_text(f, "kafka_wire");
}

static void end(struct frame *f)
{
	set32(f, 0, (uint32_t)(f->len - 4));
}

/* For partitions [first, first+count) of those that there are, counted round. */
static struct frame produce(const char *topic, int first, int count, int partitions, int records,
			    size_t bytes)
{
	struct frame f = {0}, batch = {0};

	put_batch(&batch, records, bytes);
	begin(&f, 0, 7);
	put16(&f, -1); /* transactional_id */
	put16(&f, -1); /* acks */
	put32(&f, 30000);
	put32(&f, 1);
	put_text(&f, topic);
	put32(&f, count);
	for (int i = 0; i < count; i++) {
		put32(&f, (first + i) % partitions);
		put32(&f, (int64_t)batch.len);
		put(&f, batch.at, batch.len);
	}
	end(&f);
	free(batch.at);
	return f;
}

/* Of each partition from its offset on, beginning with `first`; without a session. */
static void put_fetch(struct frame *f, const char *topic, int partitions, const int64_t *offsets, int first,
		      int wait_ms)
{
	begin(f, 1, 11);
	put32(f, -1);
	put32(f, wait_ms);
	put32(f, 1);
	put32(f, 50 << 20);
	put8(f, 0);
	put32(f, 0);
	put32(f, -1);
	put32(f, 1);
	put_text(f, topic);
	put32(f, partitions);
	for (int i = 0; i < partitions; i++) {
		int partition = (first + i) % partitions;
		put32(f, partition);
		put32(f, -1);
		put64(f, offsets[partition]);
		put64(f, -1);
		put32(f, 1 << 20);
	}
	put32(f, 0);
	put_text(f, "");
	end(f);
}

/* A connection with its answers: only their lengths and the first error code of a Produce are looked at. */
struct conn {
	int fd;
	unsigned char in[65536];
	size_t have;
	int64_t sent_ns;
	struct frame frame;
};

static void send_frame(struct conn *c, const struct frame *f)
{
	c->sent_ns = now_ns();
	send_all(c->fd, f->at, f->len);
}

/* The error of the first partition in an answer to Produce: behind correlation, topics, name, partitions, index. */
static int produce_error(const unsigned char *answer)
{
	uint16_t name = (uint16_t)(answer[8] << 8 | answer[9]);
	const unsigned char *code = answer + 10 + name + 8;

	return (int16_t)(code[0] << 8 | code[1]);
}

/* Reads what is there; gives how many answers were whole. */
static int take_answers(struct conn *c)
{
	ssize_t n = recv(c->fd, c->in + c->have, sizeof(c->in) - c->have, 0);
	size_t at = 0;
	int count = 0;

	if (n <= 0)
		die("kafka_wire: the broker closed the connection");
	c->have += (size_t)n;
	while (c->have - at >= 4) {
		uint32_t length;
		memcpy(&length, c->in + at, 4);
		length = ntohl(length);
		if (length > sizeof(c->in) - 4)
			die("kafka_wire: an answer is too long");
		if (c->have - at < 4 + length)
			break;
		if (produce_error(c->in + at + 4)) {
			fprintf(stderr, "error %d\n", produce_error(c->in + at + 4));
			die("kafka_wire: the broker refused");
		}
		at += 4 + length;
		count++;
	}
	memmove(c->in, c->in + at, c->have - at);
	c->have -= at;
	return count;
}

static double cpu_seconds(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void small(int port, const char *topic, int partitions, int producers, size_t bytes, double seconds)
{
	struct conn *conns = calloc((size_t)producers, sizeof(*conns));
	struct epoll_event events[256];
	struct samples waits = {0};
	int poller = epoll_create1(0), open = producers;
	int64_t start, stop;
	uint64_t done = 0;

	if (!conns)
		die("no memory");
	for (int i = 0; i < producers; i++) {
		struct epoll_event e = {.events = EPOLLIN, .data.ptr = &conns[i]};
		conns[i].fd = tcp_connect(port);
		conns[i].frame = produce(topic, i % partitions, 1, partitions, 1, bytes);
		if (epoll_ctl(poller, EPOLL_CTL_ADD, conns[i].fd, &e))
			die("epoll_ctl");
	}
	start = now_ns();
	stop = start + (int64_t)(seconds * 1e9);
	for (int i = 0; i < producers; i++)
		send_frame(&conns[i], &conns[i].frame);
	while (open > 0) {
		int n = epoll_wait(poller, events, 256, 30000);
		if (n <= 0)
			die("kafka_wire: no answer for 30 s");
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (!take_answers(c))
				continue;
			samples_add(&waits, now_ns() - c->sent_ns);
			done++;
			if (now_ns() < stop)
				send_frame(c, &c->frame);
			else
				open--;
		}
	}
	seconds = (double)(now_ns() - start) / 1e9;
	printf("{\"records\":%llu,\"rate\":%.0f,\"client_us\":%.2f,\"p50_us\":%.0f,\"p99_us\":%.0f,\"max_us\":%.0f}\n",
	       (unsigned long long)done, (double)done / seconds, cpu_seconds() * 1e6 / (double)done,
	       samples_us(&waits, 0.5), samples_us(&waits, 0.99), samples_us(&waits, 1));
}

#define WIDTH 12
#define DEEP 5
#define RECORDS 10

static void spread(int port, const char *topic, int partitions, double seconds)
{
	int count = (partitions + WIDTH - 1) / WIDTH, next = 0, under_way = 0;
	struct frame *frames = calloc((size_t)count, sizeof(*frames));
	static struct conn c;
	int64_t start, stop;
	uint64_t done = 0;

	if (!frames)
		die("no memory");
	for (int i = 0; i < count; i++)
		frames[i] = produce(topic, i * WIDTH, WIDTH, partitions, RECORDS, 100);
	c.fd = tcp_connect(port);
	/* Each partition once before the clock runs: its first segment is made then. */
	for (int i = 0; i < count; i++) {
		send_frame(&c, &frames[i]);
		while (!take_answers(&c))
			;
	}
	start = now_ns();
	stop = start + (int64_t)(seconds * 1e9);
	while (now_ns() < stop || under_way) {
		int got;
		while (under_way < DEEP && now_ns() < stop) {
			send_frame(&c, &frames[next]);
			next = (next + 1) % count;
			under_way++;
		}
		got = take_answers(&c);
		under_way -= got;
		done += (uint64_t)got * WIDTH * RECORDS;
	}
	seconds = (double)(now_ns() - start) / 1e9;
	printf("{\"records\":%llu,\"rate\":%.0f}\n", (unsigned long long)done, (double)done / seconds);
}

/* ---- drain ---- */

struct drain {
	int64_t *offsets; /* by partition: to be asked for next */
	uint64_t records, bytes, batches;
	const unsigned char *at, *end; /* of the answer */
};

static const unsigned char *take(struct drain *d, size_t n)
{
	const unsigned char *at = d->at;

	if ((size_t)(d->end - at) < n)
		die("kafka_wire: an answer is too short");
	d->at += n;
	return at;
}

static int64_t take_int(struct drain *d, size_t n)
{
	const unsigned char *at = take(d, n);
	uint64_t v = at[0] & 128 ? UINT64_MAX : 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | at[i];
	return (int64_t)v;
}

/* Heads alone; a batch that is cut off at the end is not looked at, as clients do. */
static void take_batches(struct drain *d, int partition)
{
	int64_t len = take_int(d, 4);
	const unsigned char *end = len > 0 ? take(d, (size_t)len) + len : d->at;
	struct drain b = {.at = end - (len > 0 ? len : 0), .end = end};

	d->bytes += len > 0 ? (uint64_t)len : 0;
	while (b.end - b.at >= 61) {
		int64_t base = take_int(&b, 8), bytes = take_int(&b, 4), last, count;
		if (b.end - b.at < bytes)
			return;
		b.at += 11;
		last = base + take_int(&b, 4);
		b.at += 30;
		count = take_int(&b, 4);
		if (last >= d->offsets[partition]) /* the first one may begin before what was asked for */
			d->records += (uint64_t)count;
		d->batches++;
		d->offsets[partition] = last + 1;
		b.at += bytes - 49;
	}
}

static void take_fetched(struct drain *d)
{
	(void)take(d, 4 + 4); /* correlation, throttle */
	if (take_int(d, 2))
		die("kafka_wire: the broker refused");
	(void)take(d, 4);
	for (int64_t topics = take_int(d, 4); topics > 0; topics--) {
		(void)take(d, (size_t)take_int(d, 2));
		for (int64_t parts = take_int(d, 4); parts > 0; parts--) {
			int partition = (int)take_int(d, 4);
			if (take_int(d, 2))
				die("kafka_wire: the broker refused a partition");
			(void)take(d, 24);
			for (int64_t aborted = take_int(d, 4); aborted > 0; aborted--)
				(void)take(d, 16);
			(void)take(d, 4);
			take_batches(d, partition);
		}
	}
}

static void receive(int fd, unsigned char *to, size_t n)
{
	for (size_t have = 0; have < n;) {
		ssize_t got = recv(fd, to + have, n - have, MSG_WAITALL);
		if (got <= 0)
			die("kafka_wire: the broker closed the connection");
		have += (size_t)got;
	}
}

static void drain(int port, const char *topic, int partitions, uint64_t count)
{
	struct drain d = {.offsets = calloc((size_t)partitions, sizeof(int64_t))};
	struct frame f = {0}, in = {0};
	struct samples waits = {0};
	uint64_t fetches = 0;
	int fd = tcp_connect(port);
	int64_t start = now_ns();
	double seconds;

	if (!d.offsets)
		die("no memory");
	for (; d.records < count; fetches++) {
		int64_t asked = now_ns();
		uint32_t length;
		f.len = 0;
		put_fetch(&f, topic, partitions, d.offsets, (int)(fetches % (uint64_t)partitions), 500);
		send_all(fd, f.at, f.len);
		receive(fd, (unsigned char *)&length, 4);
		in.len = ntohl(length);
		if (in.len > in.cap) {
			in.cap = in.len * 2;
			in.at = realloc(in.at, in.cap);
		}
		if (!in.at || in.len > 1u << 30)
			die("kafka_wire: an answer is too long");
		receive(fd, in.at, in.len);
		d.at = in.at;
		d.end = in.at + in.len;
		take_fetched(&d);
		samples_add(&waits, now_ns() - asked);
	}
	seconds = (double)(now_ns() - start) / 1e9;
	printf("{\"records\":%llu,\"rate\":%.0f,\"mb\":%.1f,\"fetch_kib\":%.0f,\"batch_kib\":%.0f,\"client_us\":%.3f,\"p50_us\":%.0f,\"p99_us\":%.0f}\n",
	       (unsigned long long)d.records, (double)d.records / seconds, (double)d.bytes / seconds / 1e6,
	       (double)d.bytes / 1024 / (double)fetches, (double)d.bytes / 1024 / (double)d.batches,
	       cpu_seconds() * 1e6 / (double)d.records, samples_us(&waits, 0.5), samples_us(&waits, 0.99));
}

static void idle(int port, const char *topic, int consumers, int wait_ms)
{
	struct frame f = {0};
	int64_t from = 0;
	char c;

	put_fetch(&f, topic, 1, &from, 0, wait_ms);
	for (int i = 0; i < consumers; i++)
		send_all(tcp_connect(port), f.at, f.len);
	printf("waiting\n");
	(void)fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
}

int main(int argc, char **argv)
{
	raise_file_limit();
	if (argc == 8 && !strcmp(argv[1], "small"))
		small(atoi(argv[2]), argv[3], atoi(argv[4]), atoi(argv[5]), (size_t)atol(argv[6]),
		      atof(argv[7]));
	else if (argc == 6 && !strcmp(argv[1], "spread"))
		spread(atoi(argv[2]), argv[3], atoi(argv[4]), atof(argv[5]));
	else if (argc == 6 && !strcmp(argv[1], "drain"))
		drain(atoi(argv[2]), argv[3], atoi(argv[4]), strtoull(argv[5], NULL, 10));
	else if (argc == 6 && !strcmp(argv[1], "idle"))
		idle(atoi(argv[2]), argv[3], atoi(argv[4]), atoi(argv[5]));
	else
		die("kafka_wire: see the top of the source");
	return 0;
}
