/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/ws/ws_frame.h"

#include "base/check.h"
#include "base/utf8.h"
#include "base/wire.h"

#define MASK_BIT 0x80u

bool ws_code_valid(uint32_t code)
{
	if (code >= 3000 && code <= 4999)
		return true;
	/* 1004 is reserved; 1005, 1006 and 1015 must not be sent. */
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}

size_t ws_frame_header_len(uint64_t payload_bytes)
{
	if (payload_bytes < 126)
		return 2;
	return payload_bytes <= UINT16_MAX ? 4 : 10;
}

static size_t put_header(uint8_t *to, uint32_t first, uint64_t payload_bytes, uint32_t mask_bit)
{
	to[0] = (uint8_t)first;
	if (payload_bytes < 126) {
		to[1] = (uint8_t)(mask_bit | payload_bytes);
		return 2;
	}
	if (payload_bytes <= UINT16_MAX) {
		to[1] = (uint8_t)(mask_bit | 126);
		wire_put_u16(to + 2, (uint16_t)payload_bytes);
		return 4;
	}
	to[1] = (uint8_t)(mask_bit | 127);
	wire_put_u64(to + 2, payload_bytes);
	return 10;
}

size_t ws_frame_header(uint8_t *to, uint32_t first, uint64_t payload_bytes)
{
	return put_header(to, first, payload_bytes, 0);
}

size_t ws_frame_header_masked(uint8_t *to, uint32_t first, uint64_t payload_bytes, const uint8_t mask[4])
{
	size_t len = put_header(to, first, payload_bytes, MASK_BIT);

	memcpy(to + len, mask, 4);
	return len + 4;
}

/* Header and payload enter together or not at all. */
static int append_frame(struct buf *to, struct slice header, struct slice payload)
{
	int rc = buf_reserve(to, header.len + payload.len);

	if (rc)
		return rc;
	(void)buf_append_slice(to, header);
	return buf_append_slice(to, payload);
}

int ws_frame_append(struct buf *to, uint32_t first, struct slice payload)
{
	uint8_t header[WS_HEADER_MAX];

	return append_frame(to, slice_make(header, ws_frame_header(header, first, payload.len)), payload);
}

int ws_frame_append_masked(struct buf *to, uint32_t first, struct slice payload, const uint8_t mask[4])
{
	uint8_t header[WS_HEADER_MASKED_MAX];
	size_t len = ws_frame_header_masked(header, first, payload.len, mask);
	int rc = append_frame(to, slice_make(header, len), payload);

	if (rc == 0)
		ws_mask(to->ptr + to->len - payload.len, payload.len, mask, 0);
	return rc;
}

size_t ws_frame_control(uint8_t *to, enum ws_opcode opcode, struct slice payload)
{
	CHECK(payload.len <= WS_CONTROL_MAX);
	to[0] = (uint8_t)(WS_FIN | opcode);
	to[1] = (uint8_t)payload.len;
	if (payload.len)
		memcpy(to + 2, payload.ptr, payload.len);
	return payload.len + 2;
}

/* The longest part of the reason that fits beside the code and ends with a whole character. */
static struct slice cut_reason(struct slice reason)
{
	if (reason.len <= WS_CONTROL_MAX - 2)
		return reason;
	reason.len = WS_CONTROL_MAX - 2;
	while (reason.len && utf8_feed(0, reason) != 0)
		reason.len--;
	return reason;
}

size_t ws_frame_close(uint8_t *to, uint32_t code, struct slice reason)
{
	uint8_t payload[WS_CONTROL_MAX];

	if (code == WS_CODE_NONE)
		return ws_frame_control(to, WS_CLOSE, slice_null());
	CHECK(ws_code_valid(code));
	reason = cut_reason(reason);
	wire_put_u16(payload, (uint16_t)code);
	if (reason.len)
		memcpy(payload + 2, reason.ptr, reason.len);
	return ws_frame_control(to, WS_CLOSE, slice_make(payload, reason.len + 2));
}

/*
 * The mask is turned to where the bytes begin and repeated to a word; the loop
 * over words is one that compilers turn into vector instructions by themselves,
 * which is why none are written here.
 */
void ws_mask(uint8_t *bytes, size_t n, const uint8_t mask[4], uint64_t offset)
{
	uint8_t turned[8];
	uint64_t key;
	size_t i = 0;

	for (size_t k = 0; k < 8; k++)
		turned[k] = mask[(offset + k) & 3];
	memcpy(&key, turned, 8);
	for (; i + 8 <= n; i += 8) {
		uint64_t word;
		memcpy(&word, bytes + i, 8);
		word ^= key;
		memcpy(bytes + i, &word, 8);
	}
	for (; i < n; i++)
		bytes[i] ^= turned[i & 3];
}
