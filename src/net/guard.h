/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_GUARD_H
#define WEIR_NET_GUARD_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Which addresses an outbound connection may go to. Asked with the address that
 * is about to be connected to, after names were resolved, so that no spelling
 * of an address and no name that answers differently each time gets past it.
 * Addresses are IPv6, or IPv4 mapped into it (::ffff:a.b.c.d).
 */
typedef bool guard_fn(void *ctx, const uint8_t ip[16], uint16_t port);

/*
 * For targets that come over the API: addresses of the public Internet alone. Not loopback,
 * private, link-local, shared (100.64/10), documentation, multicast or reserved ones, nor IPv6
 * outside 2000::/3, nor what carries an IPv4 address inside (mapped ones are looked at as IPv4;
 * NAT64, 6to4 and Teredo are refused). `ctx` is not used. Any thread.
 */
guard_fn guard_public;

/*
 * For targets that the operator has written into the configuration file: everything but
 * link-local addresses, multicast and the places where clouds answer for the machine's own
 * credentials (169.254/16, fe80::/10, fd00:ec2::254, 100.100.100.200).
 */
guard_fn guard_operator;

#endif
