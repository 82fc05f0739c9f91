/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program that uses librdkafka gets out of a broker, a mode a row:
 *
 *	kafka_load produce BOOTSTRAP TOPIC BYTES SECONDS [PARTITION]  as fast as it will go, acks=all, defaults
 *	kafka_load fill BOOTSTRAP TOPIC BYTES COUNT         the same, so many records in all, as fast as it takes
 *	kafka_load consume BOOTSTRAP TOPIC PARTITIONS COUNT [PROPERTY=VALUE]  from the beginning, until it has so many
 *	kafka_load pace BOOTSTRAP TOPIC RATE SECONDS        produce to consume, from when the record was due
 *
 * One JSON object at the end. Only librdkafka's defaults, but for linger.ms (5 as by
 * default; 0 for pace) and a queue that holds what the rate needs.
 */
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "client.h"

#define ERRORS 512

static rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, const char *bootstrap)
{
	char error[ERRORS];
	rd_kafka_t *k;

	if (rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, error, sizeof(error)))
		die(error);
	k = rd_kafka_new(type, conf, error, sizeof(error));
	if (!k)
		die(error);
	return k;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char error[ERRORS];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)))
		die(error);
}

static double cpu_seconds(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ---- produce ---- */

struct delivery {
	uint64_t good, bad;
	struct samples waits; /* of one in 64 */
};

static void on_delivery(rd_kafka_t *k, const rd_kafka_message_t *m, void *opaque)
{
	struct delivery *d = opaque;
	int64_t wait_us;

	(void)k;
	if (m->err) {
		d->bad++;
		return;
	}
	d->good++;
	wait_us = rd_kafka_message_latency(m);
	if (d->good % 64 == 0 && wait_us >= 0)
		samples_add(&d->waits, wait_us * 1000);
}

/* Until the seconds are over or, where those are 0, until there are so many. */
static bool goes_on(uint64_t done, uint64_t count, int64_t end)
{
	return count ? done < count : done % 256 || now_ns() < end;
}

static void produce(const char *bootstrap, const char *topic, size_t bytes, double seconds, uint64_t count,
		    int32_t partition)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	struct delivery d = {0};
	char *value = malloc(bytes);
	int64_t start, end;
	rd_kafka_t *k;
	rd_kafka_topic_t *t;

	if (!value)
		die("no memory");
	/* Not all the same, as no record is. */
	for (size_t i = 0; i < bytes; i++)
		value[i] = (char)('a' + (i * 7 + i / 13) % 26);
	set(conf, "queue.buffering.max.messages", "500000");
	set(conf, "queue.buffering.max.kbytes", "262144");
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rd_kafka_conf_set_opaque(conf, &d);
	k = client_new(RD_KAFKA_PRODUCER, conf, bootstrap);
	t = rd_kafka_topic_new(k, topic, NULL);
	/* The first one waits for connections and metadata. */
	(void)rd_kafka_produce(t, partition, RD_KAFKA_MSG_F_COPY, value, bytes, NULL, 0, NULL);
	if (rd_kafka_flush(k, 20000) || d.good != 1)
		die("kafka_load: the first record did not arrive");
	d.good = 0;
	start = now_ns();
	end = start + (int64_t)(seconds * 1e9);
	for (uint64_t i = count ? 1 : 0; goes_on(i, count, end); i++) {
		while (rd_kafka_produce(t, partition, RD_KAFKA_MSG_F_COPY, value, bytes, NULL, 0, NULL))
			rd_kafka_poll(k, 10);
		if (i % 256 == 0)
			rd_kafka_poll(k, 0);
	}
	if (rd_kafka_flush(k, 60000))
		die("kafka_load: records are left in the queue");
	seconds = (double)(now_ns() - start) / 1e9;
	if (d.bad)
		die("kafka_load: records failed");
	printf("{\"records\":%llu,\"rate\":%.0f,\"mb\":%.1f,\"client_us\":%.3f,\"p50_us\":%.0f,\"p99_us\":%.0f}\n",
	       (unsigned long long)d.good, (double)d.good / seconds,
	       (double)d.good * (double)bytes / seconds / 1e6, cpu_seconds() * 1e6 / (double)d.good,
	       samples_us(&d.waits, 0.5), samples_us(&d.waits, 0.99));
	rd_kafka_topic_destroy(t);
	rd_kafka_destroy(k);
	free(value);
}

/* ---- consume ---- */

/* One more property of the consumer, NAME=VALUE; NULL: none. */
static char *property;

static void set_property(rd_kafka_conf_t *conf)
{
	char *value = property ? strchr(property, '=') : NULL;

	if (!value)
		return;
	*value++ = 0;
	set(conf, property, value);
}

static rd_kafka_t *consumer_new(const char *bootstrap, const char *topic, int partitions, int64_t offset)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
	rd_kafka_t *k;

	set(conf, "group.id", "bench");
	set(conf, "enable.auto.commit", "false");
	set_property(conf);
	k = client_new(RD_KAFKA_CONSUMER, conf, bootstrap);
	(void)rd_kafka_poll_set_consumer(k);
	for (int p = 0; p < partitions; p++)
		rd_kafka_topic_partition_list_add(list, topic, p)->offset = offset;
	if (rd_kafka_assign(k, list))
		die("kafka_load: assign");
	rd_kafka_topic_partition_list_destroy(list);
	return k;
}

static void consume(const char *bootstrap, const char *topic, int partitions, uint64_t count)
{
	static rd_kafka_message_t *batch[10000];
	rd_kafka_t *k = consumer_new(bootstrap, topic, partitions, RD_KAFKA_OFFSET_BEGINNING);
	rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(k);
	uint64_t seen = 0, bytes = 0;
	int64_t start = 0, give_up = now_ns() + 120 * (int64_t)1000000000;
	double seconds;

	while (seen < count && now_ns() < give_up) {
		ssize_t n = rd_kafka_consume_batch_queue(queue, 100, batch, 10000);
		if (n > 0 && !start)
			start = now_ns(); /* connections and offsets are not what is measured */
		for (ssize_t i = 0; i < n; i++) {
			if (!batch[i]->err) {
				seen++;
				bytes += batch[i]->len;
			}
			rd_kafka_message_destroy(batch[i]);
		}
	}
	seconds = (double)(now_ns() - start) / 1e9;
	if (seen < count)
		die("kafka_load: not all records came");
	printf("{\"records\":%llu,\"rate\":%.0f,\"mb\":%.1f,\"client_us\":%.3f}\n", (unsigned long long)seen,
	       (double)seen / seconds, (double)bytes / seconds / 1e6, cpu_seconds() * 1e6 / (double)seen);
	rd_kafka_queue_destroy(queue);
	(void)rd_kafka_consumer_close(k);
	rd_kafka_destroy(k);
}

/* ---- pace ---- */

struct pace {
	rd_kafka_t *consumer;
	struct samples waits;
	uint64_t wanted;
};

static void *take(void *arg)
{
	struct pace *p = arg;
	int64_t give_up = now_ns() + 120 * (int64_t)1000000000, due;

	while (p->waits.count < p->wanted && now_ns() < give_up) {
		rd_kafka_message_t *m = rd_kafka_consumer_poll(p->consumer, 100);
		if (!m)
			continue;
		if (!m->err && m->len >= sizeof(due)) {
			memcpy(&due, m->payload, sizeof(due));
			if (due)
				samples_add(&p->waits, now_ns() - due);
		}
		rd_kafka_message_destroy(m);
	}
	return NULL;
}

static void pace(const char *bootstrap, const char *topic, int rate, double seconds)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	struct pace p = {.wanted = (uint64_t)(rate * seconds)};
	char value[100] = {0};
	int64_t start, due;
	pthread_t thread;
	rd_kafka_t *k;
	rd_kafka_topic_t *t;

	set(conf, "linger.ms", "0");
	k = client_new(RD_KAFKA_PRODUCER, conf, bootstrap);
	t = rd_kafka_topic_new(k, topic, NULL);
	(void)rd_kafka_produce(t, 0, RD_KAFKA_MSG_F_COPY, value, sizeof(value), NULL, 0, NULL);
	if (rd_kafka_flush(k, 20000))
		die("kafka_load: the first record did not arrive");
	p.consumer = consumer_new(bootstrap, topic, 1, RD_KAFKA_OFFSET_BEGINNING);
	if (pthread_create(&thread, NULL, take, &p))
		die("thread");
	sleep_until(now_ns() + 1000000000); /* both are connected and wait */
	start = now_ns();
	for (uint64_t i = 0; i < p.wanted; i++) {
		due = start + (int64_t)i * 1000000000 / rate;
		sleep_until(due);
		memcpy(value, &due, sizeof(due));
		while (rd_kafka_produce(t, 0, RD_KAFKA_MSG_F_COPY, value, sizeof(value), NULL, 0, NULL))
			rd_kafka_poll(k, 1);
		rd_kafka_poll(k, 0);
	}
	(void)rd_kafka_flush(k, 20000);
	(void)pthread_join(thread, NULL);
	if (p.waits.count < p.wanted)
		die("kafka_load: not all records came");
	/* The first tenth warms up. */
	memmove(p.waits.list, p.waits.list + p.waits.count / 10,
		(p.waits.count - p.waits.count / 10) * sizeof(p.waits.list[0]));
	p.waits.count -= p.waits.count / 10;
	printf("{\"records\":%llu,\"p50_us\":%.0f,\"p90_us\":%.0f,\"p99_us\":%.0f,\"max_us\":%.0f}\n",
	       (unsigned long long)p.wanted, samples_us(&p.waits, 0.5), samples_us(&p.waits, 0.9),
	       samples_us(&p.waits, 0.99), samples_us(&p.waits, 1));
	(void)rd_kafka_consumer_close(p.consumer);
	rd_kafka_destroy(p.consumer);
	rd_kafka_topic_destroy(t);
	rd_kafka_destroy(k);
}

int main(int argc, char **argv)
{
	if (argc == 7 && !strcmp(argv[1], "consume"))
		property = argv[6];
	if ((argc == 6 || argc == 7) && !strcmp(argv[1], "produce"))
		produce(argv[2], argv[3], (size_t)atol(argv[4]), atof(argv[5]), 0,
			argc == 7 ? atoi(argv[6]) : RD_KAFKA_PARTITION_UA);
	else if (argc == 6 && !strcmp(argv[1], "fill"))
		produce(argv[2], argv[3], (size_t)atol(argv[4]), 0, strtoull(argv[5], NULL, 10),
			RD_KAFKA_PARTITION_UA);
	else if ((argc == 6 || argc == 7) && !strcmp(argv[1], "consume"))
		consume(argv[2], argv[3], atoi(argv[4]), strtoull(argv[5], NULL, 10));
	else if (argc == 6 && !strcmp(argv[1], "pace"))
		pace(argv[2], argv[3], atoi(argv[4]), atof(argv[5]));
	else
		die("kafka_load: see the top of the source");
	return 0;
}
