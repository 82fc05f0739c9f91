/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_WS_WS_FRAME_H
#define WEIR_PROTO_WS_WS_FRAME_H

#include "base/buf.h"

/*
 * WebSocket frames as RFC 6455 section 5.2 lays them out: writing them, and the
 * words that reader and writer share. A server's frame carries no mask, so that
 * one encoded frame serves every subscriber. Knows nothing of connections.
 */
enum ws_opcode {
	WS_CONTINUATION = 0x0,
	WS_TEXT = 0x1,
	WS_BINARY = 0x2,
	WS_CLOSE = 0x8,
	WS_PING = 0x9,
	WS_PONG = 0xa,
};

/* Flags of the first byte, or-ed to the opcode. */
#define WS_FIN 0x80u      /* last frame of its message */
#define WS_DEFLATED 0x40u /* RSV1: compressed, on the first frame of a message (RFC 7692) */

/* Close codes (RFC 6455 section 7.4.1 and the IANA registry). */
enum ws_code {
	WS_CODE_NORMAL = 1000,
	WS_CODE_GOING_AWAY = 1001,
	WS_CODE_PROTOCOL = 1002,
	WS_CODE_UNSUPPORTED = 1003,
	WS_CODE_NONE = 1005, /* never sent: the peer's close frame had no code */
	WS_CODE_BAD_DATA = 1007,
	WS_CODE_POLICY = 1008,
	WS_CODE_TOO_BIG = 1009,
	WS_CODE_INTERNAL = 1011,
	WS_CODE_RESTART = 1012,
	WS_CODE_TRY_LATER = 1013,
};

#define WS_HEADER_MAX 10u        /* of a frame without a mask */
#define WS_HEADER_MASKED_MAX 14u /* of one with */
#define WS_CONTROL_MAX 125u      /* payload of a control frame */
#define WS_CONTROL_FRAME_MAX (WS_CONTROL_MAX + 2u)

/* True for a code that may stand in a close frame. */
bool ws_code_valid(uint32_t code);

/* Bytes of the header of an unmasked frame with so much payload: 2, 4 or 10. */
size_t ws_frame_header_len(uint64_t payload_bytes);

/*
 * Writes the header of an unmasked frame: `first` is the opcode with its flags,
 * `to` has room for WS_HEADER_MAX. Gives the bytes written, as ws_frame_header_len.
 */
size_t ws_frame_header(uint8_t *to, uint32_t first, uint64_t payload_bytes);

/* The same for a client, with the mask behind; `to` has room for WS_HEADER_MASKED_MAX. */
size_t ws_frame_header_masked(uint8_t *to, uint32_t first, uint64_t payload_bytes, const uint8_t mask[4]);

/* Appends header and payload, unmasked. Errors: ERR_LIMIT, ERR_NOMEM. Borrows. */
int ws_frame_append(struct buf *to, uint32_t first, struct slice payload);

/* The same for a client: the payload's copy is masked. */
int ws_frame_append_masked(struct buf *to, uint32_t first, struct slice payload, const uint8_t mask[4]);

/*
 * Writes a whole ping or pong of at most WS_CONTROL_MAX bytes of payload (CHECKed)
 * to `to`, which has room for WS_CONTROL_FRAME_MAX; gives the bytes written.
 */
size_t ws_frame_control(uint8_t *to, enum ws_opcode opcode, struct slice payload);

/*
 * Writes a whole close frame to `to` (WS_CONTROL_FRAME_MAX). A reason that is too
 * long is cut before the character that does not fit. WS_CODE_NONE gives a frame
 * without payload; any other code must be valid (CHECKed).
 */
size_t ws_frame_close(uint8_t *to, uint32_t code, struct slice reason);

/*
 * Masks or unmasks in place (the same operation, RFC 6455 section 5.3): the first
 * byte is the payload's byte `offset`.
 */
void ws_mask(uint8_t *bytes, size_t n, const uint8_t mask[4], uint64_t offset);

#endif
