/* SPDX-License-Identifier: Apache-2.0 */
/* What a source of type kafka may be told, and what is said of the rest. */
#include "connect/kafka/settings.h"

#include <stdio.h>
#include <string.h>

#include "connect/kafka/kafka.h"
#include "connect/source_test.h"

static void says(const char *yaml, const char *word)
{
	char *text = source_test_check(&source_kafka, yaml);

	if (word ? !strstr(text, word) : text[0] != 0)
		fail_msg("%s\nwant %s\ngot %s", yaml, word ? word : "nothing", text);
	free(text);
}

static void what_is_right_is_taken(void **state)
{
	(void)state;
	says("brokers: [a:9092]\ntopics: [orders]\n", NULL);
	says("brokers: [a:9092, b:9092]\npattern: 'orders\\..*'\nstart: latest\n", NULL);
	says("brokers: [a:9092]\ntopics: [o]\nstart: '@2026-01-31T12:00:00Z'\ngroup: g\ngroup_commit: true\n",
	     NULL);
	says("brokers: [a:9092]\ntopics: [o]\nsasl: {mechanism: SCRAM-SHA-256, user: u, password: p}\n",
	     NULL);
	says("brokers: [a:9092]\ntopics: [o]\nsasl: {mechanism: plain, user: u, password: p}\ntls: {enabled: true}\n",
	     NULL);
	says("brokers: [a:9092]\ntopics: [o]\nproperties: {client.id: me, socket.keepalive.enable: true}\n",
	     NULL);
}

static void what_does_not_go_together_is_named(void **state)
{
	(void)state;
	says("topics: [o]\n", "brokers");
	says("brokers: [a:9092]\n", "pattern");
	says("brokers: [a:9092]\ntopics: [o]\npattern: x\n", "one or the other");
	says("brokers: [a:9092]\npattern: '('\n", "no regular expression");
	says("brokers: [a:9092]\ntopics: [o/p]\n", "topics");
	says("brokers: [a:9092]\ntopics: [o]\nstart: yesterday\n", "earliest, latest");
	says("brokers: [a:9092]\ntopics: [o]\nstart: '@yesterday'\n", "earliest, latest");
	says("brokers: [a:9092]\ntopics: [o]\ngroup_commit: true\n", "group");
	says("brokers: [a:9092]\ntopics: [o]\nsasl: {mechanism: PLAIN, user: u, password: p}\n", "as it is");
	says("brokers: [a:9092]\ntopics: [o]\nsasl: {mechanism: SCRAM-SHA-512, user: u}\n", "sasl.password");
	says("brokers: [a:9092]\ntopics: [o]\nsasl: {user: u}\n", "sasl.mechanism");
	says("brokers: [a:9092]\ntopics: [o]\ntls: {ca: /x}\n", "tls.enabled");
	says("brokers: [a:9092]\ntopics: [o]\ntls: {enabled: true, cert: /x}\n", "go together");
}

static void properties_that_would_break_it_are_refused(void **state)
{
	static const char *const refused[][2] = {
		{"enable.auto.commit", "own commit"},
		{"auto.offset.reset", "start"},
		{"group.id", "group"},
		{"isolation.level", "isolation"},
		{"sasl.password", "sasl.password"},
		{"sasl.kerberos.kinit.cmd", "sasl.mechanism"},
		{"plugin.library.paths", "none of those"},
		{"ssl.engine.location", "tls.ca"},
		{"queued.max.messages.kbytes", "memory"},
		{"bootstrap.servers", "brokers"},
		{"something.new", "none of those"},
		{"test.mock.num.brokers", "none of those"},
	};
	char yaml[200];

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		(void)snprintf(yaml, sizeof(yaml), "brokers: [a:1]\ntopics: [o]\nproperties: {%s: x}\n",
			       refused[i][0]);
		says(yaml, refused[i][1]);
	}
	assert_null(kafka_property_refused("socket.timeout.ms"));
	assert_non_null(kafka_property_refused("socket"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_right_is_taken),
		cmocka_unit_test(what_does_not_go_together_is_named),
		cmocka_unit_test(properties_that_would_break_it_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
