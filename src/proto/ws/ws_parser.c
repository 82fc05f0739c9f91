/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four states, one function each. Every function works on a `struct input`, the
 * bytes not yet taken, and either makes progress, gives an event or asks for
 * more. A fault is found at the earliest byte that shows it, and by nothing that
 * depends on where the input was cut:
 *
 *   header   -> reserved bits, opcode, mask, length form, order, size: 1002, 1009
 *   payload  -> unmask, inflate, UTF-8 as the bytes come: 1007, 1009
 *   end      -> text or deflate stream cut short: 1007
 *
 * The length in a header is never a reason to allocate: memory grows with the
 * bytes that have come. Rejected: giving parts of messages to the session. All
 * that a message becomes here is one record, which is needed whole anyway.
 */
#include "proto/ws/ws_parser.h"

#include "base/check.h"
#include "base/err.h"
#include "base/utf8.h"
#include "base/wire.h"

#define RSV_BITS 0x70u
#define OPCODE_BITS 0x0fu
#define CONTROL_BIT 0x08u
#define MASK_BIT 0x80u
#define LENGTH_BITS 0x7fu

/* Flat overhead that the inflater is charged with in ws_parser_held. */
#define INFLATER_BYTES (48u << 10)

struct input {
	uint8_t *at;
	size_t left;
};

void ws_parser_init(struct ws_parser *p, const struct ws_parser_options *options)
{
	CHECK(options->message_bytes_max > 0);
	*p = (struct ws_parser){.options = *options, .state = WS_PARSER_HEADER};
	buf_init(&p->message, options->message_bytes_max);
}

/* Forgets the message that was under way or given, with its memory. */
static void drop_message(struct ws_parser *p)
{
	buf_fini(&p->message);
	ws_inflater_free(p->inflater);
	p->inflater = NULL;
	p->message_opcode = WS_CONTINUATION;
	p->deflated = false;
	p->given = false;
	p->utf8 = 0;
	p->wire_bytes = 0;
}

void ws_parser_fini(struct ws_parser *p)
{
	drop_message(p);
	p->state = WS_PARSER_ENDED;
}

size_t ws_parser_held(const struct ws_parser *p)
{
	return p->message.cap + (p->inflater ? INFLATER_BYTES : 0);
}

static bool fail(struct ws_parser *p, enum ws_code code, const char *why, struct ws_event *event)
{
	drop_message(p);
	p->state = WS_PARSER_ENDED;
	*event = (struct ws_event){.kind = WS_EVENT_FAIL, .code = (uint16_t)code, .bytes = slice_str(why)};
	return true;
}

static bool broken(struct ws_parser *p, const char *why, struct ws_event *event)
{
	return fail(p, WS_CODE_PROTOCOL, why, event);
}

/* ---- header ---- */

/* Bytes of the whole header, as far as those that are there tell. */
static size_t header_bytes(const struct ws_parser *p)
{
	size_t need = 2;
	uint32_t length;

	if (p->header_len < 2)
		return need;
	length = p->header[1] & LENGTH_BITS;
	if (length == 126)
		need += 2;
	else if (length == 127)
		need += 8;
	return need + (p->header[1] & MASK_BIT ? 4 : 0);
}

/* Copies what is there of the header; true when it is whole. */
static bool gather_header(struct ws_parser *p, struct input *in)
{
	for (;;) {
		size_t need = header_bytes(p) - p->header_len;
		size_t n = need < in->left ? need : in->left;

		if (need == 0)
			return true;
		if (n == 0)
			return false;
		memcpy(p->header + p->header_len, in->at, n);
		p->header_len = (uint8_t)(p->header_len + n);
		in->at += n;
		in->left -= n;
	}
}

static const char *check_control(const struct ws_parser *p)
{
	if (p->opcode > WS_PONG)
		return "reserved opcode";
	if (p->header[0] & RSV_BITS)
		return "reserved bit in a control frame";
	if (!p->fin)
		return "fragmented control frame";
	if (p->frame_bytes > WS_CONTROL_MAX)
		return "control frame of more than 125 bytes";
	return NULL;
}

static const char *check_data(const struct ws_parser *p)
{
	uint32_t rsv = p->header[0] & RSV_BITS;

	if (p->opcode > WS_BINARY)
		return "reserved opcode";
	if (rsv & ~WS_DEFLATED || (rsv && !p->options.inflate_bits))
		return "reserved bit that was not negotiated";
	if (rsv && !p->first)
		return "compression bit in a continuation frame";
	if (p->first && p->message_opcode != WS_CONTINUATION)
		return "new message inside a fragmented one";
	if (!p->first && p->message_opcode == WS_CONTINUATION)
		return "continuation of no message";
	return NULL;
}

/* Length and mask (section 5.2); false where the length is not in its shortest form. */
static bool read_length(struct ws_parser *p)
{
	uint32_t length = p->header[1] & LENGTH_BITS;

	p->frame_done = 0;
	p->frame_bytes = length;
	if (length == 126)
		p->frame_bytes = wire_load_u16(p->header + 2);
	else if (length == 127)
		p->frame_bytes = wire_load_u64(p->header + 2);
	memset(p->mask, 0, sizeof(p->mask));
	if (p->header[1] & MASK_BIT)
		memcpy(p->mask, p->header + p->header_len - 4, sizeof(p->mask));
	if (length == 126)
		return p->frame_bytes >= 126;
	return length != 127 || (p->frame_bytes > UINT16_MAX && p->frame_bytes <= INT64_MAX);
}

/* What a compressed message may take on the wire: no deflate makes its input larger than this. */
static uint64_t wire_bytes_max(const struct ws_parser *p)
{
	uint64_t max = p->options.message_bytes_max;

	return p->deflated ? max + max / 8 + 64 : max;
}

static bool start_data(struct ws_parser *p, struct ws_event *event)
{
	const char *wrong = check_data(p);

	if (wrong)
		return broken(p, wrong, event);
	if (p->first) {
		p->message_opcode = p->opcode;
		p->deflated = p->header[0] & WS_DEFLATED;
	}
	if (p->frame_bytes > wire_bytes_max(p) - p->wire_bytes)
		return fail(p, WS_CODE_TOO_BIG, "message over the limit", event);
	p->wire_bytes += p->frame_bytes;
	p->state = WS_PARSER_PAYLOAD;
	return false;
}

static bool start_control(struct ws_parser *p, struct ws_event *event)
{
	const char *wrong = check_control(p);

	if (wrong)
		return broken(p, wrong, event);
	p->control_len = 0;
	p->state = WS_PARSER_CONTROL;
	return false;
}

static bool read_header(struct ws_parser *p, struct input *in, struct ws_event *event)
{
	bool masked;

	if (!gather_header(p, in))
		return false;
	p->fin = p->header[0] & WS_FIN;
	p->opcode = p->header[0] & OPCODE_BITS;
	p->first = p->opcode != WS_CONTINUATION;
	masked = p->header[1] & MASK_BIT;
	if (!read_length(p))
		return broken(p, "length not in its shortest form", event);
	if (masked == p->options.client)
		return broken(p, masked ? "masked frame from a server" : "frame without a mask", event);
	p->header_len = 0;
	return p->opcode & CONTROL_BIT ? start_control(p, event) : start_data(p, event);
}

/* ---- control frames ---- */

static bool end_close(struct ws_parser *p, struct ws_event *event)
{
	struct slice payload = slice_make(p->control, p->control_len);
	uint16_t code = WS_CODE_NONE;

	if (payload.len == 1)
		return broken(p, "close frame with half a code", event);
	if (payload.len >= 2) {
		code = wire_load_u16(p->control);
		if (!ws_code_valid(code))
			return broken(p, "close code that must not be sent", event);
		payload = slice_from(payload, 2);
	}
	if (!utf8_valid(payload))
		return fail(p, WS_CODE_BAD_DATA, "close reason is not UTF-8", event);
	drop_message(p);
	p->state = WS_PARSER_ENDED;
	*event =
		(struct ws_event){.kind = WS_EVENT_CLOSE, .opcode = WS_CLOSE, .code = code, .bytes = payload};
	return true;
}

static bool end_control(struct ws_parser *p, struct ws_event *event)
{
	if (p->opcode == WS_CLOSE)
		return end_close(p, event);
	p->state = WS_PARSER_HEADER;
	*event = (struct ws_event){
		.kind = p->opcode == WS_PING ? WS_EVENT_PING : WS_EVENT_PONG,
		.opcode = (enum ws_opcode)p->opcode,
		.bytes = slice_make(p->control, p->control_len),
	};
	return true;
}

static bool read_control(struct ws_parser *p, struct input *in, struct ws_event *event)
{
	size_t need = (size_t)p->frame_bytes - p->control_len;
	size_t n = need < in->left ? need : in->left;

	if (n) {
		memcpy(p->control + p->control_len, in->at, n);
		ws_mask(p->control + p->control_len, n, p->mask, p->control_len);
	}
	p->control_len = (uint8_t)(p->control_len + n);
	in->at += n;
	in->left -= n;
	return n == need && end_control(p, event);
}

/* ---- data frames ---- */

/* Unmasks the next bytes of the frame where they lie and takes them from the input. */
static struct slice take_payload(struct ws_parser *p, struct input *in)
{
	uint64_t need = p->frame_bytes - p->frame_done;
	size_t n = need < in->left ? (size_t)need : in->left;
	struct slice piece = slice_make(in->at, n);

	if (!p->options.client)
		ws_mask(in->at, n, p->mask, p->frame_done);
	p->frame_done += n;
	in->at += n;
	in->left -= n;
	return piece;
}

static bool check_text(struct ws_parser *p, struct slice piece)
{
	if (p->message_opcode == WS_TEXT)
		p->utf8 = utf8_feed(p->utf8, piece);
	return p->utf8 != UTF8_BAD;
}

static bool fail_gathering(struct ws_parser *p, int rc, struct ws_event *event)
{
	if (rc == ERR_LIMIT)
		return fail(p, WS_CODE_TOO_BIG, "message over the limit", event);
	if (rc == ERR_MALFORMED)
		return fail(p, WS_CODE_BAD_DATA, "compressed data is damaged", event);
	return fail(p, WS_CODE_TRY_LATER, "no memory for this message", event);
}

static int inflate_piece(struct ws_parser *p, struct slice piece)
{
	int rc = p->inflater ? 0 : ws_inflater_new(p->options.inflate_bits, &p->inflater);

	return rc ? rc : ws_inflater_feed(p->inflater, piece, &p->message);
}

/*
 * The text is looked at before the return code: what came out before a fault
 * counts first, as it would have if the input had been cut there.
 */
static bool gather(struct ws_parser *p, struct slice piece, bool end, struct ws_event *event)
{
	size_t before = p->message.len;
	int rc;

	if (p->deflated)
		rc = inflate_piece(p, piece);
	else
		rc = buf_append_slice(&p->message, piece);
	if (rc == 0 && end && p->deflated)
		rc = ws_inflater_end(p->inflater, &p->message);
	if (!check_text(p, slice_from(buf_slice(&p->message), before)))
		return fail(p, WS_CODE_BAD_DATA, "text is not UTF-8", event);
	return rc && fail_gathering(p, rc, event);
}

static bool give_message(struct ws_parser *p, struct slice bytes, struct ws_event *event)
{
	if (p->utf8 != 0)
		return fail(p, WS_CODE_BAD_DATA, "text is not UTF-8", event);
	if (!bytes.ptr) /* empty, never absent */
		bytes = slice_make(p->header, 0);
	p->state = WS_PARSER_HEADER;
	p->given = true;
	*event = (struct ws_event){.kind = WS_EVENT_MESSAGE,
				   .opcode = (enum ws_opcode)p->message_opcode,
				   .bytes = bytes};
	return true;
}

/* A message whole in one frame, whole in the input: given from where it lies. */
static bool read_in_place(struct ws_parser *p, struct input *in, struct ws_event *event)
{
	struct slice payload = take_payload(p, in);

	(void)check_text(p, payload);
	return give_message(p, payload, event);
}

static bool read_payload(struct ws_parser *p, struct input *in, struct ws_event *event)
{
	bool alone = p->first && p->fin && !p->deflated && p->frame_done == 0;
	struct slice piece;
	bool end;

	if (alone && p->frame_bytes <= in->left)
		return read_in_place(p, in, event);
	piece = take_payload(p, in);
	end = p->frame_done == p->frame_bytes;
	if (gather(p, piece, end && p->fin, event))
		return true;
	if (end && p->fin)
		return give_message(p, buf_slice(&p->message), event);
	if (end)
		p->state = WS_PARSER_HEADER;
	return false;
}

/* ---- */

static bool step(struct ws_parser *p, struct input *in, struct ws_event *event)
{
	switch (p->state) {
	case WS_PARSER_HEADER:
		return read_header(p, in, event);
	case WS_PARSER_CONTROL:
		return read_control(p, in, event);
	case WS_PARSER_PAYLOAD:
		return read_payload(p, in, event);
	case WS_PARSER_ENDED:
		in->at += in->left;
		in->left = 0;
		return false;
	}
	return false;
}

/* A frame without payload ends with its header: no byte is needed to go on. */
static bool frame_is_empty(const struct ws_parser *p)
{
	return (p->state == WS_PARSER_CONTROL || p->state == WS_PARSER_PAYLOAD) && p->frame_bytes == 0;
}

enum ws_event_kind ws_parser_next(struct ws_parser *p, uint8_t *bytes, size_t len, size_t *taken,
				  struct ws_event *event)
{
	struct input in = {.at = bytes, .left = len};
	bool done = false;

	if (p->given)
		drop_message(p);
	*event = (struct ws_event){.kind = WS_EVENT_MORE};
	while (!done && (in.left || frame_is_empty(p)))
		done = step(p, &in, event);
	*taken = len - in.left;
	return event->kind;
}
