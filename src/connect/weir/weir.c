/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One part, one long poll at a time:
 *
 *	pull ──► GET …/records?cursor=C&limit=N&wait=20s ──► page: records, cursor behind them ──► MORE
 *	                                                └──► 410: records were gone before they were read;
 *	                                                     warned of, and on with the cursor that comes with it
 *
 * The answer is gathered whole, then read: a weir bounds it by itself (16 MiB of records), and half
 * a page has no cursor. Rejected: SSE (a cursor a record, and a connection that has to be held back while the
 * log has no room: the long poll has both for nothing, and costs one request more for a full page), a part a partition
 * (the cursor names all of them, and partitions that are added).
 */
#include "connect/weir/weir.h"

#include <stdio.h>

#include "base/mem.h"
#include "conf/value.h"
#include "connect/weir/page.h"
#include "connect/weir/settings.h"
#include "net/fetcher.h"
#include "proto/http/http.h"

#define CHECKPOINT_VERSION 1u
#define ANSWER_BYTES_MAX ((size_t)448 << 20)
#define URL_BYTES_MAX (80u << 10)
#define PATIENCE_MS 60000

struct reader {
	const struct weir_settings *settings;
	struct source *source;
	struct loop *loop;
	guard_fn *guard;
	/* Of the poll under way. */
	struct fetcher_call *call;
	struct source_part *part;
	struct source_batch *batch;
	struct buf body;
};

static int weir_open(const struct source_setup *setup, void **self, struct fault *fault)
{
	const struct weir_settings *s = setup->settings;
	struct reader *r;
	int rc = source_refuse_files(setup, s->ca, "ca names a file", fault);

	if (rc)
		return rc;
	r = mem_zalloc(1, sizeof(*r));
	if (!r)
		return fault_set(fault, ERR_NOMEM, "there is no memory for the source");
	r->settings = s;
	r->source = setup->source;
	r->loop = setup->loop;
	r->guard = setup->guarded ? guard_public : guard_operator;
	buf_init(&r->body, ANSWER_BYTES_MAX);
	*self = r;
	return 0;
}

static void weir_close(void *self)
{
	struct reader *r = self;

	buf_fini(&r->body);
	mem_free(r);
}

/* ---- asking ---- */

static int put_url(const struct reader *r, const struct source_batch *batch, struct buf *url)
{
	const struct weir_settings *s = r->settings;
	struct slice base = slice_str(s->url), from = r->part->checkpoint.bytes;
	uint64_t limit = (uint64_t)s->limit < batch->records_max ? (uint64_t)s->limit : batch->records_max;

	while (base.len && base.ptr[base.len - 1] == '/')
		base.len--;
	(void)buf_append_slice(url, base);
	(void)buf_append_str(url, "/v1/topics/");
	(void)http_percent_append(url, slice_str(s->from));
	(void)buf_append_str(url, "/records?cursor=");
	(void)http_percent_append(url, from.ptr ? from : slice_str(s->start));
	(void)buf_appendf(url, "&limit=%llu", (unsigned long long)(limit ? limit : 1));
	if (!batch->test && s->wait_ms)
		(void)buf_appendf(url, "&wait=%lldms", (long long)s->wait_ms);
	return buf_status(url);
}

static void on_body(void *ctx, struct slice piece)
{
	struct reader *r = ctx;

	(void)buf_append_slice(&r->body, piece); /* an error sticks, and is found at the end */
}

/* ---- what came ---- */

static enum source_end fail_status(struct source_call *call, const struct fetcher_result *f,
				   const struct page *page)
{
	/* A topic that is not there yet, or a weir that starts, will be there. */
	enum source_failure failure =
		f->class == FETCHER_TRANSIENT || f->status == 404 ? SOURCE_TRANSIENT : SOURCE_FINAL;

	return source_fail(call, failure, "%s%s%.*s", f->text, page->detail.len ? ": " : "",
			   (int)page->detail.len, (const char *)page->detail.ptr);
}

static enum source_end take_page(struct reader *r, const struct fetcher_result *f, const struct page *page)
{
	struct source_batch *batch = r->batch;

	if (!page->cursor.ptr)
		return source_fail(&batch->call, SOURCE_FINAL,
				   "the answer of %s has no cursor: is there a weir at this URL?", f->url);
	if (f->status == 410)
		source_warn(
			r->source,
			"records of %s were deleted there before they were read: its retention is too short, or "
			"this source was away for too long; it goes on behind them",
			r->settings->from);
	if (page->gaps)
		source_warn(r->source, "the other weir has lost records of %s to damage: %u gaps",
			    r->settings->from, page->gaps);
	if (source_mark(batch, CHECKPOINT_VERSION, page->cursor))
		return source_fail(&batch->call, SOURCE_TRANSIENT, "there is no memory for the page");
	batch->unchanged = page->records == 0;
	return batch->test && page->caught_up ? SOURCE_IDLE : SOURCE_MORE;
}

static enum source_end take_answer(struct reader *r, const struct fetcher_result *f)
{
	struct source_batch *batch = r->batch;
	bool is_page = f->class == FETCHER_OK;
	struct fault fault = {0};
	struct arena arena;
	struct page page = {0};
	enum source_end end;
	int rc = buf_status(&r->body);

	batch->call.requests++;
	batch->call.bytes_read += f->wire_bytes;
	batch->call.not_before_ms = f->retry_after_ms;
	if (rc)
		return source_fail(&batch->call, SOURCE_TRANSIENT,
				   "there is no memory for an answer of %zu bytes", r->body.len);
	arena_init(&arena, 4096, 1u << 20);
	if (f->status)
		rc = page_read(buf_slice(&r->body), r->settings->keep_partitions, &arena,
			       is_page ? batch : NULL, &page, &fault);
	if (is_page && rc == ERR_MALFORMED)
		end = source_fail(&batch->call, SOURCE_FINAL, "%s: %s", f->url, fault.text);
	else if (is_page && rc)
		end = source_fail(&batch->call, SOURCE_TRANSIENT, "there is no memory for the page");
	else if (is_page || (f->status == 410 && page.cursor.ptr))
		end = take_page(r, f, &page);
	else
		end = fail_status(&batch->call, f, &page);
	arena_fini(&arena);
	return end;
}

static void on_done(void *ctx, const struct fetcher_result *result)
{
	struct reader *r = ctx;
	struct source_batch *batch = r->batch;
	enum source_end end = take_answer(r, result);

	r->call = NULL;
	r->batch = NULL;
	buf_fini(&r->body); /* a page may be large, and the next poll may wait for long */
	buf_init(&r->body, ANSWER_BYTES_MAX);
	source_done(&batch->call, end);
}

static const struct fetcher_handler handler = {.on_body = on_body, .on_done = on_done};

static enum source_end weir_pull(void *self, struct source_part *part, struct source_batch *batch)
{
	struct reader *r = self;
	struct fetcher_options options = {.handler = &handler,
					  .ctx = r,
					  .packed = true,
					  .bodies = true,
					  .guard = r->guard,
					  .auth = r->settings->token ? FETCHER_AUTH_BEARER :
								       FETCHER_AUTH_NONE,
					  .secret = slice_str(r->settings->token ? r->settings->token : ""),
					  .tls = {.ca_file = r->settings->ca},
					  .limits = {.bytes_max = ANSWER_BYTES_MAX,
						     .total_ms = r->settings->wait_ms + PATIENCE_MS,
						     .slow_seconds =
							     (uint32_t)(r->settings->wait_ms / 1000) + 30}};
	struct fault fault = {0};
	struct buf url;
	int rc;

	if (part->checkpoint.bytes.ptr && part->checkpoint.version != CHECKPOINT_VERSION)
		return source_fail(&batch->call, SOURCE_FINAL,
				   "the checkpoint is of a later version of weir: %u",
				   part->checkpoint.version);
	r->part = part;
	r->batch = batch;
	buf_init(&url, URL_BYTES_MAX);
	rc = put_url(r, batch, &url);
	options.url = buf_slice(&url);
	if (rc == 0)
		rc = fetcher_start(r->loop, &options, &r->call, &fault);
	buf_fini(&url);
	if (rc == 0)
		return SOURCE_LATER;
	r->batch = NULL;
	return source_fail(&batch->call, rc == ERR_BAD_PARAMETER ? SOURCE_FINAL : SOURCE_TRANSIENT, "%s",
			   fault.text[0] ? fault.text : err_row(rc)->sentence);
}

/* A poll that waits is given up: it has changed nothing there. */
static void weir_cancel(void *self, struct source_part *part)
{
	struct reader *r = self;
	struct source_batch *batch = r->batch;

	(void)part;
	if (!r->call)
		return;
	fetcher_cancel(r->call); /* and with it the connection */
	source_cut(r->source, 1);
	r->call = NULL;
	r->batch = NULL;
	buf_clear(&r->body);
	source_done(&batch->call, SOURCE_MORE);
}

/* What stood between two polls is kept by the loop for the next. */
static void weir_rest(void *self)
{
	struct reader *r = self;

	source_cut(r->source, fetcher_close_kept(r->loop, slice_str(r->settings->url)));
}

static void weir_show(uint8_t version, struct slice checkpoint, struct buf *json)
{
	(void)version; /* a cursor is URL-safe text: it needs no escapes */
	(void)buf_append_byte(json, '"');
	(void)buf_append_slice(json, checkpoint);
	(void)buf_append_byte(json, '"');
}

const struct source_type source_weir = {
	.kind = WEIR_KIND,
	.flags = SOURCE_STREAMS,
	.open = weir_open,
	.close = weir_close,
	.pull = weir_pull,
	.cancel = weir_cancel,
	.rest = weir_rest,
	.show = weir_show,
};
