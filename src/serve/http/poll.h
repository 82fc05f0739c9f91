/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_POLL_H
#define WEIR_SERVE_HTTP_POLL_H

#include "serve/app.h"
#include "serve/http/exchange.h"

/*
 * Polls and long polls: an exchange with a reader that gives one answer. What
 * the two resources share; records_get.c and partition_get.c say what is asked
 * and what stands behind the records.
 */
extern const struct route route_records_get;   /* GET /v1/topics/{topic}/records */
extern const struct route route_partition_get; /* GET /v1/topics/{topic}/partitions/{partition}/records */

struct poll;

/* Appends members of an answer, each with a comma before it; the reader stands behind the records. */
typedef int poll_put_fn(struct poll *p, struct buf *out);

struct poll_options {
	struct slice topic;
	struct cursor cursor;
	struct partition_set partitions; /* count 0: all */
	struct slice key;                /* ptr NULL: none */
	uint32_t limit;
	int64_t wait_ns;
	poll_put_fn *put_end;   /* behind "records" */
	poll_put_fn *put_moved; /* of a 410: where to go on */
};

struct poll {
	struct exchange *x;
	struct reader *reader;
	struct loop_timer timer;
	struct app_guest guest;
	poll_put_fn *put_end;
	int64_t wait_ns;
	int64_t since_ns;
	uint32_t limit;
	size_t bytes_max;            /* of the page, as memory was when it began */
	uint32_t count;              /* records of the page so far */
	uint32_t encoded, gap_count; /* for the metrics */
	struct buf *out;             /* the page: the loop's scratch, or `kept` */
	struct buf kept;             /* what was gathered before it had to wait for the disk */
	struct buf gaps;             /* JSON items */
	bool watching;
	bool over;   /* new records are not waited for any more; the disk still is */
	bool waited; /* what comes now was waited for */
};

/* Reads the parameters `limit`, `wait` and `key`. 0, ERR_BAD_PARAMETER with *fault. */
int poll_read_options(struct exchange *x, struct poll_options *o, struct fault *fault);

/* Opens the reader and answers, or waits: what a handler returns. Borrows the options. */
int poll_start(struct exchange *x, const struct poll_options *o);

#endif
