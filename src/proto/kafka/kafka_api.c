/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/kafka/kafka_api.h"

#include "base/err.h"
#include "base/wire.h"

#define NEVER INT16_MAX
#define LENGTH_BYTES 4u

#define API(symbol, number, title, noun, first, lowest, last, flex) \
	{.name = #title,                                            \
	 .request = &kafka_##noun##_request_layout,                 \
	 .response = &kafka_##noun##_response_layout,               \
	 .key = (number),                                           \
	 .from = (first),                                           \
	 .served = (lowest),                                        \
	 .to = (last),                                              \
	 .flexible = (flex)},

const struct kafka_api kafka_apis[KAFKA_APIS_COUNT] = {
#include "proto/kafka/kafka_api.def"
};
#undef API

#define API(symbol, number, title, noun, first, lowest, last, flex) \
	{.api_key = (number), .min_version = (first), .max_version = (last)},

static const struct kafka_api_versions_response_api_key ranges[KAFKA_APIS_COUNT] = {
#include "proto/kafka/kafka_api.def"
};
#undef API

const struct kafka_api *kafka_api_find(int16_t key)
{
	size_t low = 0, high = KAFKA_APIS_COUNT;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (kafka_apis[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low < KAFKA_APIS_COUNT && kafka_apis[low].key == key ? &kafka_apis[low] : NULL;
}

/* ---- headers ---- */

static struct kafka_format format_of(const struct kafka_header *header)
{
	return (struct kafka_format){.version = header->version,
				     .flexible = header->version >= header->api->flexible};
}

/* KIP-482: tags that nobody has given a meaning. */
static void skip_tags(struct wire_reader *r)
{
	uint32_t count = wire_uvarint32(r);

	for (uint32_t i = 0; i < count && !r->bad; i++) {
		(void)wire_uvarint32(r);
		(void)wire_bytes(r, wire_uvarint32(r));
	}
}

/* Even in version 2 of the header this text is not compact, so that it can be read before the version is known. */
static struct slice read_client_id(struct wire_reader *r)
{
	int16_t n = (int16_t)wire_u16(r);

	if (n < -1)
		r->bad = true;
	return n < 0 ? slice_null() : wire_bytes(r, (size_t)n);
}

int kafka_header_read(struct slice frame, struct kafka_header *header, struct slice *body)
{
	struct wire_reader r = wire_reader_make(frame);
	const struct kafka_api *api;

	*header = (struct kafka_header){0};
	header->key = (int16_t)wire_u16(&r);
	header->version = (int16_t)wire_u16(&r);
	header->correlation = (int32_t)wire_u32(&r);
	*body = slice_null();
	if (r.bad)
		return ERR_MALFORMED;
	header->api = api = kafka_api_find(header->key);
	if (!api || header->version < api->served || header->version > api->to)
		return ERR_UNSUPPORTED_API;
	header->client_id = read_client_id(&r);
	if (format_of(header).flexible)
		skip_tags(&r);
	if (r.bad)
		return ERR_MALFORMED;
	*body = slice_make(r.at, wire_left(&r));
	return 0;
}

/*
 * An answer to ApiVersions never has tags in its header: a client that asked with
 * a version which the server does not know must still find the error code.
 */
static bool has_response_tags(const struct kafka_header *header)
{
	return format_of(header).flexible && header->key != KAFKA_API_VERSIONS;
}

/* ---- bodies ---- */

int kafka_request_read(const struct kafka_header *header, struct slice body, struct arena *arena, void *out)
{
	return kafka_layout_read(header->api->request, format_of(header), body, arena, out);
}

int kafka_response_read(const struct kafka_header *header, struct slice frame, struct arena *arena, void *out)
{
	struct wire_reader r = wire_reader_make(frame);
	int32_t correlation = (int32_t)wire_u32(&r);

	if (has_response_tags(header))
		skip_tags(&r);
	if (r.bad)
		return ERR_MALFORMED;
	if (correlation != header->correlation)
		return ERR_PROTOCOL;
	return kafka_layout_read(header->api->response, format_of(header), slice_make(r.at, wire_left(&r)),
				 arena, out);
}

/* ---- writing ---- */

/* What to go back to when a message does not fit. */
struct mark {
	size_t len;
	size_t cuts;
	size_t cut_bytes;
};

static struct mark mark_of(const struct buf *to, const struct kafka_cuts *cuts)
{
	return (struct mark){.len = to->len,
			     .cuts = cuts ? cuts->count : 0,
			     .cut_bytes = cuts ? cuts->bytes : 0};
}

static int take_back(struct mark mark, struct buf *to, struct kafka_cuts *cuts, int error)
{
	to->len = mark.len;
	to->status = 0;
	if (cuts) {
		cuts->count = mark.cuts;
		cuts->bytes = mark.cut_bytes;
	}
	return error;
}

/* Sets the length that was left open at the mark. */
static int close_frame(struct mark mark, struct buf *to, struct kafka_cuts *cuts)
{
	size_t bytes = to->len - mark.len - LENGTH_BYTES + (cuts ? cuts->bytes - mark.cut_bytes : 0);

	if (bytes > INT32_MAX)
		return take_back(mark, to, cuts, ERR_LIMIT);
	wire_put_u32(to->ptr + mark.len, (uint32_t)bytes);
	return 0;
}

int kafka_response_write(const struct kafka_header *header, const void *response, struct buf *to,
			 struct kafka_cuts *cuts)
{
	struct mark mark = mark_of(to, cuts);
	uint8_t head[LENGTH_BYTES + 5] = {0};
	int rc = to->status;

	if (rc)
		return rc;
	wire_put_u32(head + LENGTH_BYTES, (uint32_t)header->correlation);
	buf_append(to, head, sizeof(head) - !has_response_tags(header));
	rc = kafka_layout_write(header->api->response, format_of(header), response, to, cuts);
	return rc ? take_back(mark, to, cuts, rc) : close_frame(mark, to, cuts);
}

int kafka_request_write(const struct kafka_header *header, const void *request, struct buf *to)
{
	struct mark mark = mark_of(to, NULL);
	struct slice id = header->client_id;
	uint8_t head[LENGTH_BYTES + 10] = {0};
	int rc = to->status;

	if (rc || id.len > INT16_MAX)
		return rc ? rc : ERR_LIMIT;
	wire_put_u16(head + 4, (uint16_t)header->key);
	wire_put_u16(head + 6, (uint16_t)header->version);
	wire_put_u32(head + 8, (uint32_t)header->correlation);
	wire_put_u16(head + 12, id.ptr ? (uint16_t)id.len : UINT16_MAX);
	buf_append(to, head, sizeof(head));
	buf_append_slice(to, id);
	if (format_of(header).flexible)
		buf_append_byte(to, 0);
	rc = kafka_layout_write(header->api->request, format_of(header), request, to, NULL);
	return rc ? take_back(mark, to, NULL, rc) : close_frame(mark, to, NULL);
}

/* ---- ApiVersions ---- */

void kafka_versions_answer(struct kafka_api_versions_response *out)
{
	kafka_layout_default(&kafka_api_versions_response_layout, out, 1);
	out->api_keys = ranges;
	out->api_keys_count = KAFKA_APIS_COUNT;
}

void kafka_versions_unsupported(struct kafka_header *header, struct kafka_api_versions_response *out)
{
	kafka_versions_answer(out);
	out->error_code = (int16_t)err_row(ERR_UNSUPPORTED_API)->kafka_code;
	out->api_keys = &ranges[header->api - kafka_apis];
	out->api_keys_count = 1;
	header->version = 0;
}
