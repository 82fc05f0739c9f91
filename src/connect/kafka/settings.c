/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings, and which properties of librdkafka may be set besides. Those are a list of what is allowed and not of what is
 * not: a new release brings properties that nobody here has judged, and some of the old ones run commands
 * (sasl.kerberos.kinit.cmd), load code (plugin.library.paths), hold secrets that would be shown, or move offsets by themselves.
 */
#include "connect/kafka/settings.h"

#include <regex.h>
#include <string.h>

#include "conf/value.h"
#include "deliver/cursor.h"

#define IN(member) SETTING_MEMBER(struct kafka_settings, member)
#define SECONDS(n) ((int64_t)(n)*1000)
#define MIB(n) ((int64_t)(n) << 20)

const char *const kafka_mechanism_names[] = {"none", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", NULL};
const char *const kafka_isolation_names[] = {"read_committed", "read_uncommitted", NULL};
static const struct setting_alias mechanism_aliases[] = {{"plain", "PLAIN"},
							 {"scram-sha-256", "SCRAM-SHA-256"},
							 {"scram-sha-512", "SCRAM-SHA-512"},
							 {NULL, NULL}};

enum kafka_start kafka_start_of(const char *start, int64_t *at_ms)
{
	struct arena arena;
	struct cursor cursor;
	bool is_time;

	if (strcmp(start, "earliest") == 0)
		return KAFKA_EARLIEST;
	arena_init(&arena, 256, 256);
	is_time = start[0] == '@' && cursor_parse(slice_str(start), &arena, &cursor, NULL) == 0 &&
		  cursor.kind == CURSOR_TIME;
	if (is_time)
		*at_ms = cursor.time_ms;
	arena_fini(&arena);
	return is_time ? KAFKA_TIME : KAFKA_LATEST;
}

static bool is_start(struct slice s)
{
	char text[66];
	int64_t ms;

	if (slice_eq_str(s, "earliest") || slice_eq_str(s, "latest"))
		return true;
	if (s.len >= sizeof(text) || memchr(s.ptr, 0, s.len))
		return false;
	memcpy(text, s.ptr, s.len);
	text[s.len] = 0;
	return kafka_start_of(text, &ms) == KAFKA_TIME;
}

const struct setting kafka_setting_table[KAFKA_SETTING_COUNT] = {
	{"brokers", NULL, "Where the cluster is: some of its brokers, which name the others.",
	 .type = SETTING_LIST, .min = 1, .max = 300, .shape_text = "HOST:PORT", .flags = SETTING_REQUIRED,
	 IN(brokers)},
	{"topics", NULL, "Topics that are read; one that is not there yet is waited for.",
	 .type = SETTING_LIST, .min = 1, .max = 249, .shape = conf_is_topic_name,
	 .shape_text = "1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'", IN(topics)},
	{"pattern", NULL,
	 "In place of topics: all whose whole name this regular expression (POSIX, extended) fits, also those that come later.",
	 .type = SETTING_STRING, .min = 1, .max = 1000, IN(pattern)},
	{"start", "earliest",
	 "Where to begin the first time: earliest, latest, or @ and a time. Topics and partitions that come later are read from their beginning.",
	 .type = SETTING_STRING, .min = 1, .max = 64, .shape = is_start,
	 .shape_text = "earliest, latest, or @ and a time, such as @2026-01-31T12:00:00Z", IN(start)},
	{"group", NULL,
	 "A consumer group whose offsets are where to begin the first time; weir does not become a member of it.",
	 .type = SETTING_STRING, .min = 1, .max = 249, IN(group)},
	{"group_commit", "false",
	 "Whether what is stored here is told to the group, for those who look at its lag. weir itself never reads it again.",
	 .type = SETTING_BOOL, IN(group_commit)},
	{"isolation", "read_committed",
	 "Whether records of transactions are read before these are committed.", .type = SETTING_ENUM,
	 .names = kafka_isolation_names, IN(isolation)},
	{"keep_topics", "false", "Whether a record goes to the topic of the name that it has there.",
	 .type = SETTING_BOOL, IN(keep_topics)},
	{"keep_partitions", "false",
	 "Whether a record goes to the partition of the number that it has there.", .type = SETTING_BOOL,
	 IN(keep_partitions)},
	{"sasl.mechanism", "none", "How weir says who it is.", .type = SETTING_ENUM,
	 .names = kafka_mechanism_names, .aliases = mechanism_aliases, IN(mechanism)},
	{"sasl.user", NULL, "User of SASL.", .type = SETTING_STRING, .min = 1, .max = 1000, IN(user)},
	{"sasl.password", NULL, "Password of SASL.", .type = SETTING_STRING, .min = 1, .max = 4000,
	 .flags = SETTING_SECRET, IN(password)},
	{"tls.enabled", "false", "Whether connections to the brokers are encrypted.", .type = SETTING_BOOL,
	 IN(tls)},
	{"tls.verify", "true", "Whether the brokers' certificates, and the names in them, are looked at.",
	 .type = SETTING_BOOL, IN(tls_verify)},
	{"tls.ca", NULL, "File with certificates of authorities, in place of the system's.",
	 .type = SETTING_STRING, .min = 1, .max = 4000, IN(tls_ca)},
	{"tls.cert", NULL, "File with weir's own certificate.", .type = SETTING_STRING, .min = 1, .max = 4000,
	 IN(tls_cert)},
	{"tls.key", NULL, "File with its key.", .type = SETTING_STRING, .min = 1, .max = 4000, IN(tls_key)},
	{"tls.key_password", NULL, "Password of the key.", .type = SETTING_STRING, .min = 1, .max = 1000,
	 .flags = SETTING_SECRET, IN(tls_key_password)},
	{"memory", "64MiB",
	 "What is fetched ahead of being stored, all partitions together; those that have records share it as these come.",
	 .type = SETTING_SIZE, .min = MIB(1), .max = MIB(4096), IN(memory_bytes)},
	{"timeout", "30s", "How long the cluster may take to answer which topics and offsets there are.",
	 .type = SETTING_DURATION, .min = SECONDS(1), .max = SECONDS(3600), IN(timeout_ms)},
	{"properties", NULL,
	 "Other properties of librdkafka, such as client.id or fetch.wait.max.ms (50 where it is not given: how long the cluster keeps a request for which it has nothing yet); not those that have a key here, move offsets, hold secrets or run programs.",
	 .type = SETTING_MAP, .min = 0, .max = 1000, IN(properties)},
};

/* ---- properties ---- */

/* A name, or with a dot at its end all that begin with it. */
static const char *const allowed[] = {
	"client.id",
	"client.rack",
	"socket.",
	"broker.address.",
	"broker.version.fallback",
	"api.version.",
	"connections.max.idle.ms",
	"reconnect.backoff.",
	"retry.backoff.",
	"topic.metadata.",
	"metadata.max.age.ms",
	"metadata.recovery.",
	"max.in.flight",
	"max.in.flight.requests.per.connection",
	"receive.message.max.bytes",
	"fetch.wait.max.ms",
	"fetch.min.bytes",
	"fetch.error.backoff.ms",
	"fetch.queue.backoff.ms",
	"debug",
	"ssl.cipher.suites",
	"ssl.curves.list",
	"ssl.sigalgs.list",
	"ssl.crl.location",
	"ssl.endpoint.identification.algorithm",
};

/* What people are likely to write, and what stands for it. */
static const char *const known[][2] = {
	{"bootstrap.servers", "write brokers"},
	{"metadata.broker.list", "write brokers"},
	{"group.", "write group; weir keeps the offsets itself and is no member of a group"},
	{"enable.auto.",
	 "offsets are kept in weir's own commit, with the records: nothing else may move them"},
	{"auto.commit.",
	 "offsets are kept in weir's own commit, with the records: nothing else may move them"},
	{"offset.store.",
	 "offsets are kept in weir's own commit, with the records: nothing else may move them"},
	{"auto.offset.reset",
	 "write start; later a place that is gone is told of and never passed over in silence"},
	{"isolation.level", "write isolation"},
	{"sasl.", "write sasl.mechanism, sasl.user and sasl.password"},
	{"security.protocol", "write sasl.mechanism and tls.enabled"},
	{"ssl.", "write tls.ca, tls.cert, tls.key, tls.key_password"},
	{"enable.ssl.certificate.verification", "write tls.verify"},
	{"queued.", "write memory"},
	{"fetch.", "write memory"},
	{"max.partition.fetch.bytes", "write memory"},
	{"check.crcs", "checksums are always looked at"},
	{"allow.auto.create.topics", "a source makes no topics"},
};

static bool fits(const char *rule, const char *name)
{
	size_t n = strlen(rule);

	return rule[n - 1] == '.' ? strncmp(rule, name, n) == 0 : strcmp(rule, name) == 0;
}

const char *kafka_property_refused(const char *name)
{
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if (fits(allowed[i], name))
			return NULL;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (fits(known[i][0], name))
			return known[i][1];
	return "it is none of those that may be set here: client.*, socket.*, reconnect.backoff.*, fetch.wait.max.ms "
	       "and others of the connection";
}

/* ---- what goes together ---- */

static void check_topics(const struct kafka_settings *s, struct conf_check *check)
{
	regex_t regex;

	if (!s->topics.count && !s->pattern)
		conf_check_fail(check, "topics", "which are read? write topics: [NAME, …], or pattern");
	if (s->topics.count && s->pattern)
		conf_check_fail(check, "pattern", "topics stands there too: a source has one or the other");
	if (!s->pattern)
		return;
	if (regcomp(&regex, s->pattern, REG_EXTENDED | REG_NOSUB))
		conf_check_fail(check, "pattern",
				"it is no regular expression (POSIX, extended), such as orders\\..*");
	else
		regfree(&regex);
}

static void check_login(const struct kafka_settings *s, struct conf_check *check)
{
	bool files = s->tls_ca || s->tls_cert || s->tls_key || s->tls_key_password;

	if (s->mechanism != KAFKA_NO_SASL && (!s->user || !s->password))
		conf_check_fail(check, "sasl.mechanism", "%s needs sasl.user and sasl.password",
				kafka_mechanism_names[s->mechanism]);
	if (s->mechanism == KAFKA_NO_SASL && (s->user || s->password))
		conf_check_fail(check, s->user ? "sasl.user" : "sasl.password",
				"it needs sasl.mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512");
	if (files && !s->tls)
		conf_check_fail(check,
				s->tls_ca   ? "tls.ca" :
				s->tls_cert ? "tls.cert" :
				s->tls_key  ? "tls.key" :
					      "tls.key_password",
				"it needs tls.enabled: true");
	if (s->tls && !s->tls_cert != !s->tls_key)
		conf_check_fail(check, s->tls_cert ? "tls.cert" : "tls.key",
				"a certificate and its key go together: write tls.cert and tls.key");
	if (s->mechanism == KAFKA_PLAIN && !s->tls)
		conf_check_warn(
			check, "sasl.mechanism",
			"PLAIN without tls.enabled sends the password as it is to whoever is on the way");
}

void kafka_settings_check(const void *settings, struct conf_check *check)
{
	const struct kafka_settings *s = settings;

	check_topics(s, check);
	check_login(s, check);
	if (s->group_commit && !s->group)
		conf_check_fail(check, "group_commit", "it needs group: whose offsets are to be told?");
	for (uint32_t i = 0; i < s->properties.count; i++) {
		const char *why = kafka_property_refused(s->properties.names[i]);
		if (why)
			conf_check_fail(check, "properties", "%s: %s", s->properties.names[i], why);
	}
}
