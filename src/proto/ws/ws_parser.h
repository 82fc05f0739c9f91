/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_WS_WS_PARSER_H
#define WEIR_PROTO_WS_WS_PARSER_H

#include "proto/ws/ws_deflate.h"
#include "proto/ws/ws_frame.h"

/*
 * Reads WebSocket frames (RFC 6455 section 5, RFC 7692) and gives whole messages
 * and control frames, one event a call, the same ones however the bytes are cut.
 *
 * It unmasks in the caller's own memory, so that a message which lies whole in
 * one frame of the input is given from there and never copied. Only a message
 * that is cut, fragmented or compressed is gathered, in memory that exists until
 * the next call. An idle parser holds nothing but itself.
 *
 * It does not answer pings, send closes or know of time: that is the session's.
 */
enum ws_event_kind {
	WS_EVENT_MORE,    /* all bytes are taken, no event: bring more */
	WS_EVENT_MESSAGE, /* opcode WS_TEXT or WS_BINARY, bytes: all of it, inflated; text is UTF-8 */
	WS_EVENT_PING,    /* bytes: the payload, to be sent back in a pong */
	WS_EVENT_PONG,    /* bytes: the payload */
	WS_EVENT_CLOSE,   /* code and bytes: the peer's, WS_CODE_NONE where it gave none; last event */
	WS_EVENT_FAIL,    /* code and bytes: the close to send, with a sentence; last event */
};

struct ws_event {
	enum ws_event_kind kind;
	enum ws_opcode opcode;
	uint16_t code;
	struct slice bytes; /* borrowed: until the next call or until the input is touched */
};

struct ws_parser_options {
	bool client;              /* reads what a server sends: unmasked */
	uint8_t inflate_bits;     /* window of the peer's compressor, 9 to 15; 0: not negotiated */
	size_t message_bytes_max; /* of one message, inflated; at least 1 */
};

enum ws_parser_state {
	WS_PARSER_HEADER,  /* reads a frame's header */
	WS_PARSER_CONTROL, /* reads the payload of a ping, pong or close */
	WS_PARSER_PAYLOAD, /* reads the payload of a data frame */
	WS_PARSER_ENDED,   /* closed or failed: takes and ignores all bytes */
};

/* To be embedded; the fields are the parser's own. */
struct ws_parser {
	struct ws_parser_options options;
	enum ws_parser_state state;
	bool fin;               /* of the frame */
	bool first;             /* the frame begins its message */
	bool deflated;          /* the message is compressed */
	bool given;             /* `message` was given with the last event */
	uint8_t opcode;         /* of the frame */
	uint8_t message_opcode; /* of the message under way, WS_CONTINUATION: none */
	uint8_t header_len;
	uint8_t control_len;
	uint8_t mask[4];
	uint8_t header[WS_HEADER_MASKED_MAX];
	uint8_t control[WS_CONTROL_MAX];
	uint32_t utf8;
	uint64_t frame_bytes; /* payload of the frame */
	uint64_t frame_done;  /* of these, read */
	uint64_t wire_bytes;  /* payload of the message's frames so far */
	struct buf message;
	struct ws_inflater *inflater;
};

/* Starts behind the handshake. Allocates nothing. Copies the options. */
void ws_parser_init(struct ws_parser *p, const struct ws_parser_options *options);

/* Frees what a message under way holds. */
void ws_parser_fini(struct ws_parser *p);

/*
 * Reads from `bytes` up to the next event and sets *taken; bytes behind *taken are
 * untouched, those before it may be unmasked in place and must not be fed again.
 * To be called with the rest until it gives WS_EVENT_MORE. Gives event->kind.
 * What the peer does wrong is WS_EVENT_FAIL with 1002, 1007 or 1009; without
 * memory it is 1013.
 */
enum ws_event_kind ws_parser_next(struct ws_parser *p, uint8_t *bytes, size_t len, size_t *taken,
				  struct ws_event *event);

/* Bytes of memory that it holds beside itself: for budgets. */
size_t ws_parser_held(const struct ws_parser *p);

#endif
