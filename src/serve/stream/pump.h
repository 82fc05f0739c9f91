/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_STREAM_PUMP_H
#define WEIR_SERVE_STREAM_PUMP_H

#include "deliver/reader.h"
#include "obs/metrics.h"
#include "serve/app.h"

/*
 * From a reader to a socket, as much as the socket has credit for: the part of
 * a stream that SSE and WebSocket share. It keeps no queue and no bytes: what
 * does not fit stays in the log, and is pulled when credit is back.
 *
 * What is the same for every subscriber is shared, not copied; a reader over
 * several partitions gets its own cursor put to each record.
 */

/* How one kind of stream looks; const, one a form. `ctx` is the stream's. */
struct pump_kind {
	enum metric_WAY way;
	enum encode_form whole; /* ready to send, for readers of one partition */
	enum encode_form
		part; /* for others: put() adds their cursor; the same as whole where no cursor is told */
	/* Appends one record with its cursor. Not used where part is whole. */
	int (*put)(struct buf *to, struct slice record, struct slice cursor);
	/* Appends the message of a gap, whose JSON is given. `cursor` is the place behind it. */
	int (*put_gap)(struct buf *to, struct slice json, struct slice cursor);
	/* Bytes of credit. */
	size_t (*room)(const void *ctx);
	/* 0, or an error after which the stream can only be cut. */
	int (*write)(void *ctx, struct slice bytes);
	int (*write_blob)(void *ctx, struct blob *blob, struct slice part);
};

/* Scratch that all pumps of a kind and loop share. */
struct pump_bufs {
	struct buf out, cursor, json;
};
void pump_bufs_init(struct pump_bufs *bufs);
void pump_bufs_fini(struct pump_bufs *bufs);

struct pump {
	const struct pump_kind *kind;
	void *ctx;
	const struct sys *sys;
	struct app_loop *al;
	struct pump_bufs *bufs;
	struct reader *reader;
	bool names_topic; /* of gaps: where there are several */
	bool waited;      /* was at the end, and has had credit since: what comes is new */
	bool blocked;     /* out of credit */
};

enum pump_result {
	PUMP_DONE = 0,  /* waits for records or for credit: run again in on_ready and when credit is back */
	PUMP_AGAIN = 1, /* no memory or no room for a read at present: run again in a while */
};

/* Begins. Borrows everything but the reader, which it takes. Counts the reader. */
void pump_start(struct pump *p, const struct pump *with);

/* Closes the reader. May be called twice, and where pump_start never was. */
void pump_stop(struct pump *p);

/*
 * Gives what there is and what fits. A pump_result; ERR_CANCELLED where a write
 * failed; else the reader's error: tell it and end. Never calls back into the stream but for the kind's functions.
 */
int pump_run(struct pump *p);

/* The detail that goes with an error of pump_run. */
const char *pump_error_text(int err);

#endif
