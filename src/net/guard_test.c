/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "net/guard.h"

static bool ask(guard_fn *guard, const char *text)
{
	uint8_t ip[16];
	char mapped[64];

	if (!strchr(text, ':')) {
		(void)snprintf(mapped, sizeof(mapped), "::ffff:%s", text);
		text = mapped;
	}
	assert_int_equal(inet_pton(AF_INET6, text, ip), 1);
	return guard(NULL, ip, 80);
}

static void the_public_are_allowed(void **state)
{
	static const char *const good[] = {"1.1.1.1",        "9.255.255.255",   "11.0.0.0",
					   "100.63.255.255", "100.128.0.0",     "172.15.255.255",
					   "172.32.0.1",     "192.167.1.1",     "198.17.255.255",
					   "198.20.0.0",     "223.255.255.255", "2606:4700::1111",
					   "2a00:1450::1",   "3ffe::1"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(ask(guard_public, good[i]));
		assert_true(ask(guard_operator, good[i]));
	}
}

static void those_of_the_inside_are_not(void **state)
{
	static const char *const bad[] = {
		"0.0.0.0",         "10.1.2.3",       "100.64.0.1",      "127.0.0.1",    "127.255.255.255",
		"169.254.169.254", "172.16.0.1",     "172.31.255.1",    "192.0.0.1",    "192.0.2.1",
		"192.88.99.1",     "192.168.1.1",    "198.18.0.1",      "198.19.255.1", "198.51.100.1",
		"203.0.113.1",     "224.0.0.1",      "255.255.255.255", "::",           "::1",
		"::7f00:1",        "64:ff9b::a00:1", "2001::1",         "2001:db8::1",  "2002:a00:1::",
		"fc00::1",         "fd00:ec2::254",  "fe80::1",         "ff02::1",      "3fff::1",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(ask(guard_public, bad[i]));
}

static void the_operator_may_reach_his_own_but_no_credentials_of_the_machine(void **state)
{
	static const char *const good[] = {"127.0.0.1", "10.1.2.3", "192.168.1.1",
					   "::1",       "fc00::1",  "0.0.0.0"};
	static const char *const bad[] = {"169.254.169.254", "169.254.0.1",  "100.100.100.200",
					  "224.0.0.1",       "fe80::1",      "febf::1",
					  "ff02::1",         "fd00:ec2::254"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(ask(guard_operator, good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(ask(guard_operator, bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_public_are_allowed),
		cmocka_unit_test(those_of_the_inside_are_not),
		cmocka_unit_test(the_operator_may_reach_his_own_but_no_credentials_of_the_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
