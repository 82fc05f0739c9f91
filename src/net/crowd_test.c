/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "net/crowd.h"

static const struct hash_key key = {.k0 = 1, .k1 = 2};

static void v4(uint8_t ip[16], uint32_t address)
{
	memset(ip, 0, 16);
	ip[10] = ip[11] = 0xff;
	for (int i = 0; i < 4; i++)
		ip[12 + i] = (uint8_t)(address >> (24 - 8 * i));
}

static void an_address_has_its_share_and_others_theirs(void **state)
{
	struct crowd *c = crowd_new(&key, 3);
	uint8_t a[16], b[16];

	(void)state;
	v4(a, 0x0a000001);
	v4(b, 0x0a000002);
	for (int i = 0; i < 3; i++)
		assert_int_equal(crowd_enter(c, a), 0);
	assert_int_equal(crowd_enter(c, a), ERR_LIMIT);
	assert_int_equal(crowd_enter(c, b), 0);
	crowd_leave(c, a);
	assert_int_equal(crowd_enter(c, a), 0);
	assert_int_equal(crowd_enter(c, a), ERR_LIMIT);
	assert_int_equal(crowd_addresses(c), 2);
	crowd_leave(c, b);
	assert_int_equal(crowd_addresses(c), 1);
	crowd_free(c);
}

static void an_ipv6_subscriber_counts_once_and_loopback_not_at_all(void **state)
{
	struct crowd *c = crowd_new(&key, 2);
	uint8_t ip[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 7}, one[16] = {[15] = 1};

	(void)state;
	ip[15] = 1;
	assert_int_equal(crowd_enter(c, ip), 0);
	ip[9] = 99;
	assert_int_equal(crowd_enter(c, ip), 0);
	ip[12] = 3;
	assert_int_equal(crowd_enter(c, ip), ERR_LIMIT);
	ip[7] = 8; /* the neighbour */
	assert_int_equal(crowd_enter(c, ip), 0);
	for (int i = 0; i < 9; i++)
		assert_int_equal(crowd_enter(c, one), 0);
	v4(ip, 0x7f000001);
	for (int i = 0; i < 9; i++)
		assert_int_equal(crowd_enter(c, ip), 0);
	assert_int_equal(crowd_addresses(c), 2);
	crowd_leave(c, one);
	crowd_free(c);
}

static void many_addresses_come_and_go_and_leave_nothing(void **state)
{
	struct crowd *c = crowd_new(&key, 2);
	uint8_t ip[16];

	(void)state;
	for (int round = 0; round < 2; round++)
		for (uint32_t i = 0; i < 5000; i++) {
			v4(ip, i * 0x9e3779b9u | 0x80000000u);
			assert_int_equal(crowd_enter(c, ip), 0);
		}
	assert_true(crowd_addresses(c) > 4000);
	for (int round = 0; round < 2; round++)
		for (uint32_t i = 0; i < 5000; i++) {
			v4(ip, i * 0x9e3779b9u | 0x80000000u);
			crowd_leave(c, ip);
		}
	assert_int_equal(crowd_addresses(c), 0);
	crowd_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_has_its_share_and_others_theirs),
		cmocka_unit_test(an_ipv6_subscriber_counts_once_and_loopback_not_at_all),
		cmocka_unit_test(many_addresses_come_and_go_and_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
