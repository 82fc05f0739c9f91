/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_KAFKA_INNER_H
#define WEIR_CONNECT_KAFKA_INNER_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <regex.h>

#include "base/table.h"
#include "connect/kafka/mark.h"
#include "connect/kafka/settings.h"
#include "connect/source.h"
#include "net/guard.h"

/*
 * A source of type kafka: one client of librdkafka, and a feed for each partition that is being read. The client's
 * threads fetch into one queue and call back when it is no longer empty; nothing of weir waits for them.
 *
 *	plan    topics, partitions, where new ones begin        plan.c, alone
 *	pull    what has come of a partition                    feed.c
 *	intake  from the client's queue to the feeds            intake.c
 *	judge   a place that is not what it was                 judge.c
 *	client  its settings, its life, its troubles            client.c
 */
struct feed;

/* What the client has told that is wrong with all of it, and not with a partition. */
struct trouble {
	bool is;
	enum source_failure failure;
	char text[320];
};

struct kafka_source {
	struct source_setup setup;
	const struct kafka_settings *settings;
	guard_fn *guard;
	regex_t pattern;
	bool has_pattern;
	_Atomic int64_t planned_ns; /* monotonic: when the last plan ended */
	pthread_mutex_t intake;     /* held by who takes from the queue; taken before `lock` */
	pthread_mutex_t lock;       /* what follows. Held for a moment, and never around a call that waits */
	rd_kafka_t *client;         /* NULL: none is needed */
	rd_kafka_queue_t *events;   /* its own, of troubles */
	rd_kafka_queue_t *queue;    /* what it has fetched, of all partitions */
	struct feed *feeds;
	struct table reading;     /* feeds that are started, by topic and partition */
	struct feed *pulled_last; /* of those; NULL: any */
	size_t come_bytes;        /* in all feeds' lists: keys and values */
	uint32_t come_count;
	_Atomic uint32_t sockets; /* of the client, that are open */
	struct trouble trouble;
	char last_error[320]; /* of a connection: why all of them are down */
};

/* ---- client.c ---- */

/* All that the settings say; returns owned. NULL with *fault. */
rd_kafka_conf_t *kafka_client_conf(struct kafka_source *s, struct fault *fault);

/* The client, made where there is none. NULL: the call has failed. */
rd_kafka_t *kafka_client(struct kafka_source *s, struct source_call *call);

/* Ends it where no part has a feed; `alone`: no call runs beside this one, and all feeds are stopped. */
void kafka_client_end(struct kafka_source *s, bool alone);

/* Takes in what the client has to tell, without waiting. */
void kafka_client_serve(struct kafka_source *s, rd_kafka_t *client);

/*
 * Where the queue was full fetching goes on at once, and not when the threads of the client look next, up to a
 * second later: so the queue's bound need not hold what comes in a second.
 */
void kafka_client_nudge(struct kafka_source *s, rd_kafka_t *client);

/* A copy of the trouble there is; false: none. */
bool kafka_trouble(struct kafka_source *s, struct trouble *out);
void kafka_trouble_over(struct kafka_source *s);

/*
 * Is what a call to the cluster gave worth another try at once? The questions here are asked for a second at first and for five
 * at most, so that a cancelled call ends soon and a login that is refused is told of when it is, and not at the end of the time;
 * longer each time, as an answer that came too late is lost.
 */
struct kafka_ask {
	struct kafka_source *source;
	struct source_call *call;
	rd_kafka_t *client;
	int64_t begun_ns, end_ns;
	int step_ms;
};

void kafka_ask_begin(struct kafka_ask *a, struct kafka_source *s, struct source_call *call,
		     rd_kafka_t *client);

/* How long the next try may take, ms. */
int kafka_ask_ms(struct kafka_ask *a);

/* True: try again. False: `err` is what it comes to, and the call has failed with it, `what` said. */
bool kafka_ask_again(struct kafka_ask *a, rd_kafka_resp_err_t err, const char *what);

/* The call fails with an error of Kafka, sorted. */
enum source_end kafka_fail(struct kafka_source *s, struct source_call *call, rd_kafka_resp_err_t err,
			   const char *what);

/* The list's offsets are times, and become offsets. False: the call has failed. */
bool kafka_offsets(struct kafka_ask *a, rd_kafka_topic_partition_list_t *list, const char *what);

/* The ends of a partition, asked for. False: the call has failed. */
bool kafka_ends(struct kafka_ask *a, const char *topic, int32_t partition, int64_t *low, int64_t *high);

/* ---- plan.c ---- */

enum source_end kafka_plan(struct kafka_source *s, struct source_plan *plan);

/* "orders/3" into its two. False: no name that a plan made. */
bool kafka_part_name(struct slice name, char topic[256], int32_t *partition);

/* ---- feed.c ---- */

#define KAFKA_MESSAGE_COST 400u /* bytes of librdkafka's own, about, besides key and value */

struct feed {
	struct feed *next;
	struct kafka_source *source;
	struct source_part *part;
	char topic[256];
	int32_t partition;
	struct kafka_mark mark;         /* behind what was given to batches; its prints may lag, see feed.c */
	bool verify;                    /* the first message must look as the last that was read */
	bool absent;                    /* the cluster does not know the partition */
	bool unmarked;                  /* something was given behind the last mark */
	bool at_end;                    /* the client has told that there is no more for now */
	bool over;                      /* nothing that comes is within the window */
	rd_kafka_topic_t *topic_handle; /* NULL: stopped */
	/* The pull's: messages that came and are not in a batch yet. */
	rd_kafka_message_t **held;
	uint32_t at, count, held_cap;
	/* Under the source's lock. */
	struct table_node node;
	bool reading;              /* it is among those */
	_Atomic bool lost;         /* there was no memory for a message */
	rd_kafka_message_t **come; /* handed to it; the pull takes all at once */
	uint32_t come_count, come_cap;
	size_t come_bytes;
	rd_kafka_message_t *last; /* given last; kept until it was looked at for its print */
	int64_t told_ns;          /* when the group was told last */
};

enum source_end feed_pull(struct feed *f, struct source_batch *batch);

/* Lets go of everything at the client; the place is kept. */
void feed_stop(struct feed *f);

/* Starts at an offset, into the source's queue or, to look at something, into one of the caller's. False: the call has failed. */
bool feed_start_at(struct feed *f, rd_kafka_t *client, struct source_call *call, int64_t offset,
		   rd_kafka_queue_t *queue);

uint64_t feed_print(const rd_kafka_message_t *m);

/* ---- intake.c ---- */

/* The queue is no longer empty. On a thread of the client, under the queue's lock. */
void kafka_intake_on_messages(rd_kafka_t *client, void *opaque);

/* Messages of the partition go to the feed from now on; not any more, not even what somebody has in hand. The latter frees those that it has not taken. */
void kafka_intake_add(struct feed *f);
void kafka_intake_remove(struct feed *f);

/* Its part is being pulled: it is asked when messages come. */
void kafka_intake_pulled(struct feed *f);

/*
 * Into `held`, which is used up, what has come for it. False: nothing; its part is woken when there is. Waits only in a test, so long,
 * ms.
 */
bool kafka_intake_take(struct feed *f, int patience_ms);

/* ---- judge.c ---- */

/*
 * The place of a feed is not there any more, or holds another record than it did: finds out which of the
 * stories it is, tells it, and sets the feed's mark to where it goes on. The feed is stopped. False: the call has failed, nothing has changed.
 */
bool judge(struct feed *f, rd_kafka_t *client, struct source_call *call, bool other_record);

#endif
