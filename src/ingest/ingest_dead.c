/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Letters of errors that the body has are made before the lock, those of errors that only the state tells
 * (a key that was used, a key that is missing) under it: they are few. Nothing of a request is stored where its topic of
 * dead letters cannot be made, or the commit with the letters in it is refused.
 */
#include "ingest/ingest_dead.h"

#include <stdio.h>

#include "json/json.h"

int dead_take_refusal(struct ingest_request *r, int err)
{
	struct ingest_error error = {.err = err, .what = r->result.detail, .raw = r->raw};
	bool of_record = err == ERR_BAD_JSON || err == ERR_RECORD_TOO_LARGE || err == ERR_BAD_EVENT;

	if (r->on_error != INGEST_DEAD || !of_record || !r->raw_is_body || r->result.error_count)
		return err;
	r->index_count = 1;
	r->draft_count = 0;
	r->result.err = 0;
	r->result.detail = NULL;
	return ingest_reject(r, &error);
}

static struct slice text_of(struct ingest_request *r, const struct ingest_error *e)
{
	char text[160];

	if (!e->has_place)
		return slice_str(e->what);
	json_error_text(&(struct json_error){.at = e->at, .what = e->what}, text, sizeof(text));
	return arena_copy(r->arena, slice_str(text));
}

static int make_letter(struct ingest_queue *q, struct ingest_request *r, const struct ingest_error *e,
		       struct log_record *out)
{
	struct dead_letter d;
	char place[48];

	dead_letter_init(&d);
	d.key = r->key;
	d.value = e->raw;
	d.headers = r->record_headers;
	d.header_count = r->record_header_count;
	d.form = r->form;
	d.idempotency_key = r->raw_is_body ? r->unit_key : slice_null();
	d.partition = r->partition;
	d.timestamp_ms = r->timestamp_ms;
	d.from = DEAD_FROM_DOOR;
	d.name = SLICE_LIT("http");
	d.topic = r->topic_found ? slice_str(r->topic_found->name) : r->topic_name;
	d.at_ms = sys_wall_ms(q->ingest->sys);
	d.code = slice_str(err_row(e->err)->code);
	d.text = text_of(r, e);
	if (e->line)
		(void)snprintf(place, sizeof(place), "line %u of the request", e->line);
	else
		(void)snprintf(place, sizeof(place), "record %u of the request", e->index);
	if (!r->raw_is_body)
		d.place = slice_str(place);
	return dead_letter_record(&d, r->arena, out) ? ingest_refuse_plainly(r, ERR_NOMEM) : 0;
}

int dead_prepare(struct ingest_queue *q, struct ingest_request *r)
{
	const struct ingest_result *result = &r->result;
	int rc;

	if (r->on_error != INGEST_DEAD || result->error_count == 0)
		return 0;
	rc = ingest_check_memory(q, r, result->error_count * (sizeof(*r->letters) + 512));
	if (rc)
		return rc;
	r->letters = arena_alloc(r->arena, result->error_count * sizeof(*r->letters));
	if (!r->letters)
		return ingest_refuse_plainly(r, ERR_NOMEM);
	for (uint32_t i = 0; i < result->error_count && rc == 0; i++)
		rc = make_letter(q, r, &result->errors[i], &r->letters[i]);
	return rc;
}

int dead_fill(struct ingest_queue *q, struct ingest_request *r)
{
	struct log_record *to = r->commit.records + r->commit.record_count;
	const struct ingest_result *result = &r->result;
	struct partition *partition;
	struct fault fault = {0};
	int rc;

	r->result.dead_count = 0;
	if (r->on_error != INGEST_DEAD || result->error_count == 0)
		return 0;
	rc = dead_partition(q->ingest->topics, slice_str(r->topic_found->name), &partition, &fault);
	if (rc)
		return ingest_refuse(r, rc, "%s", fault.text[0] ? fault.text : err_row(rc)->sentence);
	for (uint32_t i = 0, body = 0; i < result->error_count; i++) {
		if (result->errors[i].late)
			rc = make_letter(q, r, &result->errors[i], to);
		else
			*to = r->letters[body++];
		if (rc)
			return rc;
		(to++)->partition = partition;
	}
	r->result.dead_count = result->error_count;
	r->commit.record_count += result->error_count;
	return 0;
}
