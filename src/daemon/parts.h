/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_DAEMON_PARTS_H
#define WEIR_DAEMON_PARTS_H

#include <pthread.h>

#include "conf/conf.h"
#include "daemon/daemon.h"
#include "net/jobs.h"
#include "serve/app.h"
#include "serve/http/server.h"
#include "serve/kafka/server.h"

/*
 * The parts of a running weir, in the order in which they are built; they are
 * taken down in the other. Only the files of this folder see it whole.
 */
#define DAEMON_LOOPS_MAX 64u

struct parts {
	const struct daemon_options *options;
	const struct conf *conf;    /* read last; owned where it came from a reload */
	const struct conf *started; /* what was started with: in force still where a restart is needed */
	bool conf_owned;
	const struct sys *sys;
	struct budget budget; /* `memory`: what grows with what clients do */
	struct app app;       /* log, topics, ingest, metrics, health and the loops' parts */
	struct state *state;
	struct txn_clock *txn_clock;
	struct group_clock *group_clock;
	struct jobs *jobs;
	struct jobs *source_jobs; /* of sources that block; NULL until there is a source */
	struct http_server *http;
	struct kafka_server *kafka;        /* NULL: the port is off */
	struct listener_limit connections; /* of both ports */
	struct listener *listener, *kafka_listener;
	char http_address[64], kafka_address[64]; /* empty: off */
	char kafka_host[300];                     /* that clients are told */
	struct loop *loops[DAEMON_LOOPS_MAX];
	pthread_t threads[DAEMON_LOOPS_MAX];
	uint32_t loop_count, thread_count;
	const char **hosts, **origins; /* NULL at the end; for the HTTP server */
	_Atomic int64_t reload_ok, reload_ns;
};

/* Builds everything up to listening. 0, or an exit code with the reason said. */
int parts_build(struct parts *p);

/* Takes down what was built; whatever is in flight has ended. Gives 0, or 1 where the log could not stop cleanly. */
int parts_tear_down(struct parts *p);

/* Stops accepting and lets what is in flight end, within the deadline; then ends the loops. */
void parts_drain(struct parts *p);

/* file_topics.c: makes and changes topics as the configuration names them; waits until that is durable. */
int file_topics_apply(struct parts *p, const struct conf *conf, struct fault *fault);

/* reload.c: SIGHUP. */
void parts_reload(struct parts *p);
void parts_apply_limits(struct parts *p, const struct conf *conf);
void parts_apply_say(struct parts *p, const struct conf *conf);

/* sources.c: sources begin, follow a reload, and end. 0 or ERR_NOMEM. */
int sources_build(struct parts *p);
int sources_follow(struct parts *p, const struct conf *conf);
void sources_drain(struct parts *p, int64_t deadline_ns);

/* ports.c: makes the servers and opens their listeners, once loops, log and doors are there. 0, or 1 with the reason said. */
int ports_open(struct parts *p);
/* Nobody new comes, who is there is told to leave; then parts_drain waits. */
void ports_drain(struct parts *p);
uint32_t ports_connections(const struct parts *p);
/* Before the loops are freed, and behind that. */
void ports_close(struct parts *p);
void ports_free(struct parts *p);

/* figures.c: gives metrics and health their sources. */
int figures_start(struct parts *p);
void figures_observe(struct parts *p, struct http_observer *out);
void figures_observe_kafka(struct parts *p, struct kafka_server_options *out);

/* routes.c: every route there is. */
const struct route *const *routes_all(size_t *count);

#endif
