/* SPDX-License-Identifier: Apache-2.0 */
#include "net/guard.h"

#include <stddef.h>
#include <string.h>

/* A prefix: the first `bits` of ip. IPv4 is mapped, so that its bits count from 96. */
struct range {
	uint8_t ip[16];
	uint8_t bits;
};

#define V4(a, b, c, d, n)                                        \
	{                                                        \
		{[10] = 0xff, [11] = 0xff, a, b, c, d}, 96 + (n) \
	}
#define V6(a, b, c, d, n)       \
	{                       \
		{a, b, c, d}, n \
	}

/* RFC 6890 and its successors (IANA special-purpose registries). */
static const struct range not_public[] = {
	V4(0, 0, 0, 0, 8),
	V4(10, 0, 0, 0, 8),
	V4(100, 64, 0, 0, 10),
	V4(127, 0, 0, 0, 8),
	V4(169, 254, 0, 0, 16),
	V4(172, 16, 0, 0, 12),
	V4(192, 0, 0, 0, 24),
	V4(192, 0, 2, 0, 24),
	V4(192, 88, 99, 0, 24),
	V4(192, 168, 0, 0, 16),
	V4(198, 18, 0, 0, 15),
	V4(198, 51, 100, 0, 24),
	V4(203, 0, 113, 0, 24),
	V4(224, 0, 0, 0, 4),
	V4(240, 0, 0, 0, 4),
	V6(0x20, 0x01, 0, 0, 32),       /* Teredo */
	V6(0x20, 0x01, 0, 0x10, 28),    /* ORCHID */
	V6(0x20, 0x01, 0, 0x20, 28),    /* ORCHIDv2 */
	V6(0x20, 0x01, 0x0d, 0xb8, 32), /* documentation */
	V6(0x20, 0x02, 0, 0, 16),       /* 6to4 */
	V6(0x3f, 0xff, 0, 0, 20),       /* documentation */
};

static const struct range never[] = {
	V4(169, 254, 0, 0, 16),
	V4(100, 100, 100, 200, 32),
	V4(224, 0, 0, 0, 4),
	V4(255, 255, 255, 255, 32),
	V6(0xfe, 0x80, 0, 0, 10),
	V6(0xff, 0, 0, 0, 8),
	{{0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}, 128},
};

static const struct range mapped = V4(0, 0, 0, 0, 0);
static const struct range global_unicast = V6(0x20, 0, 0, 0, 3);

static bool within(const struct range *r, const uint8_t ip[16])
{
	size_t whole = r->bits / 8, rest = r->bits % 8;
	uint8_t mask = (uint8_t)(0xff00u >> rest);

	return memcmp(r->ip, ip, whole) == 0 && (rest == 0 || ((r->ip[whole] ^ ip[whole]) & mask) == 0);
}

static bool within_any(const struct range *ranges, size_t count, const uint8_t ip[16])
{
	for (size_t i = 0; i < count; i++)
		if (within(&ranges[i], ip))
			return true;
	return false;
}

bool guard_public(void *ctx, const uint8_t ip[16], uint16_t port)
{
	(void)ctx;
	(void)port;
	if (!within(&mapped, ip) && !within(&global_unicast, ip))
		return false;
	return !within_any(not_public, sizeof(not_public) / sizeof(not_public[0]), ip);
}

bool guard_operator(void *ctx, const uint8_t ip[16], uint16_t port)
{
	(void)ctx;
	(void)port;
	return !within_any(never, sizeof(never) / sizeof(never[0]), ip);
}
