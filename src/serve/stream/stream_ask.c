/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/stream/stream_ask.h"

#define STREAM_PARTITIONS_MAX 256u

static int split_topics(struct stream_ask *ask, struct slice list, struct fault *fault)
{
	for (;;) {
		const uint8_t *comma = list.len ? memchr(list.ptr, ',', list.len) : NULL;
		size_t n = comma ? (size_t)(comma - list.ptr) : list.len;
		if (n == 0)
			return fault_set(fault, ERR_BAD_PARAMETER,
					 "topics names one or more topics, such as topics=a,b");
		if (ask->topic_count == CURSOR_TOPICS_MAX)
			return fault_set(fault, ERR_BAD_PARAMETER, "topics names more than %u topics",
					 CURSOR_TOPICS_MAX);
		ask->topics[ask->topic_count++] = slice_make(list.ptr, n);
		if (!comma)
			return 0;
		list = slice_from(list, n + 1);
	}
}

static int read_topics(struct stream_ask *ask, struct exchange *x, struct fault *fault)
{
	struct slice list;

	if (x->params == 0) {
		(void)exchange_query(x, "topics", &list);
		return split_topics(ask, list, fault);
	}
	ask->topics[0] = x->param[0];
	ask->topic_count = 1;
	return 0;
}

int stream_ask_read(struct stream_ask *ask, struct exchange *x, struct slice resume, struct fault *fault)
{
	struct slice cursor, partitions;
	int rc;

	*ask = (struct stream_ask){.cursor = {.kind = CURSOR_LATEST}};
	ask->selects = exchange_query(x, "cursor", &cursor) == 1;
	if (resume.len)
		cursor = resume;
	rc = read_topics(ask, x, fault);
	if (rc == 0 && cursor.ptr)
		rc = cursor_parse(cursor, x->arena, &ask->cursor, fault);
	if (rc == 0 && exchange_query(x, "partitions", &partitions) == 1) {
		ask->selects = true;
		rc = partition_set_parse(partitions, &ask->partitions, fault);
	}
	ask->selects |= exchange_query(x, "key", &ask->key) == 1;
	return rc;
}

int stream_ask_open(const struct stream_ask *ask, struct exchange *x, uint8_t way, reader_ready_fn *on_ready,
		    void *ctx, struct reader **out, struct fault *fault)
{
	const struct app *app = x->app;
	struct reader_options options = {
		.topics = ask->topics,
		.topic_count = ask->topic_count,
		.cursor = &ask->cursor,
		.partitions = ask->partitions.count ? &ask->partitions : NULL,
		.key = ask->key,
		.partitions_max = app->limits.stream_partitions_max,
		.wait_for_topics = true,
		.watch = true,
		.on_ready = on_ready,
		.ctx = ctx,
		.tag = way,
	};

	if (options.partitions_max == 0)
		options.partitions_max = STREAM_PARTITIONS_MAX;
	return reader_open(app_loop(app, x->loop)->hub, &options, out, fault);
}

int stream_ask_refuse(struct exchange *x, int err, const struct fault *fault)
{
	if (fault->err == err && fault->text[0])
		return exchange_problem(x, err, "%s", fault->text);
	return exchange_problem(x, err, NULL);
}
