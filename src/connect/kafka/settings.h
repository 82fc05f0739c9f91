/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_KAFKA_SETTINGS_H
#define WEIR_CONNECT_KAFKA_SETTINGS_H

#include "conf/setting.h"

/*
 * What a source of type kafka is told. Known and checked also where weir was built without
 * librdkafka, so that one file is right or wrong everywhere.
 */
enum kafka_start { KAFKA_EARLIEST, KAFKA_LATEST, KAFKA_TIME };
enum kafka_isolation { KAFKA_COMMITTED, KAFKA_UNCOMMITTED };
enum kafka_mechanism { KAFKA_NO_SASL, KAFKA_PLAIN, KAFKA_SCRAM_256, KAFKA_SCRAM_512 };

struct kafka_settings {
	struct conf_list brokers, topics;
	const char *pattern; /* POSIX extended, of the whole name */
	const char *start;
	const char *group;
	bool group_commit;
	int64_t isolation; /* enum kafka_isolation */
	bool keep_topics, keep_partitions;
	int64_t mechanism; /* enum kafka_mechanism */
	const char *user, *password;
	bool tls, tls_verify;
	const char *tls_ca, *tls_cert, *tls_key, *tls_key_password;
	int64_t memory_bytes, timeout_ms;
	struct conf_map properties;
};

#define KAFKA_SETTING_COUNT 21u
extern const struct setting kafka_setting_table[KAFKA_SETTING_COUNT];

/* As Kafka and librdkafka spell them. */
extern const char *const kafka_mechanism_names[];
extern const char *const kafka_isolation_names[];

void kafka_settings_check(const void *settings, struct conf_check *check);

/* What `start` means; *at_ms with KAFKA_TIME. The text has passed the check. */
enum kafka_start kafka_start_of(const char *start, int64_t *at_ms);

/* NULL: the property may be set; else what to write in its place, or why not. */
const char *kafka_property_refused(const char *name);

/* struct conf_kind of the type, whether its library is built in or not. */
#define KAFKA_KIND                                                                                        \
	{                                                                                                 \
		.name = "kafka", .summary = "Topics of a Kafka cluster", .settings = kafka_setting_table, \
		.setting_count = KAFKA_SETTING_COUNT, .settings_bytes = sizeof(struct kafka_settings),    \
		.check = kafka_settings_check                                                             \
	}

#endif
