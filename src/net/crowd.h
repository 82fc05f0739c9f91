/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_CROWD_H
#define WEIR_NET_CROWD_H

#include "base/hash.h"

/*
 * How many connections each peer's address has, so that one alone cannot have
 * all. An IPv6 address counts by its first 64 bits, which is what one subscriber
 * gets; loopback is not counted, since behind it is a proxy as often as a client.
 * Addresses without a connection take no memory. Any thread.
 */
struct crowd;

/* Returns owned, NULL without memory. */
struct crowd *crowd_new(const struct hash_key *key, uint32_t per_address_max);
void crowd_free(struct crowd *c); /* NULL is allowed */

/* One more of that address (IPv4 mapped into IPv6): 0, ERR_LIMIT or ERR_NOMEM, and it is not counted. */
int crowd_enter(struct crowd *c, const uint8_t ip[16]);
void crowd_leave(struct crowd *c, const uint8_t ip[16]);

/* Addresses that are counted at present. */
uint32_t crowd_addresses(struct crowd *c);

#endif
