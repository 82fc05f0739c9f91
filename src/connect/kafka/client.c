/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of a source. Partitions are started one by one with the part of librdkafka's API that knows no
 * groups (rd_kafka_consume_start_queue): a partition then starts, stops and moves by itself, while assign()
 * changes all of them at once, wants a group and asks for its coordinator. The offsets are weir's anyhow.
 *
 * An answer of a broker stays in memory until its last message has gone, so answers are small: a sixteenth of the bound.
 *
 * Memory: librdkafka bounds what it fetches ahead by the length of a partition's queue, and that is one of all partitions
 * (intake.c). A full queue naps for up to a second in librdkafka before 2.2.
 *
 * Rejected: a callback a message (runs on a thread of its own, and there is no place to say "full"); the
 * library's own offset store; a consumer a partition (five threads each); a queue a partition, each with a share of the memory (a request for the idle ones holds
 * up the one that has much).
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connect/kafka/inner.h"
#include "obs/say.h"

#define FETCH_BYTES_MIN ((int64_t)8 << 10)
#define FETCH_BYTES_MAX ((int64_t)1 << 20)
#define ANSWER_BYTES_MAX ((int64_t)50 << 20)
#define STEP_MS 1000
#define STEP_MS_MAX 5000
#define GIVE_UP_NS (3000 * NS_OF_MS) /* where the client says that nobody is there */
#define NS_OF_MS 1000000ll

/* ---- what it tells, on its own threads or in serve ---- */

static void set_trouble(struct kafka_source *s, enum source_failure failure, const char *text)
{
	s->trouble.is = true;
	s->trouble.failure = failure;
	(void)snprintf(s->trouble.text, sizeof(s->trouble.text), "%s", text);
}

static bool is_login(rd_kafka_resp_err_t err)
{
	return err == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
	       err == RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED ||
	       err == RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM;
}

static void on_error(rd_kafka_t *client, int err, const char *reason, void *opaque)
{
	struct kafka_source *s = opaque;
	rd_kafka_resp_err_t e = (rd_kafka_resp_err_t)err;

	(void)client;
	(void)pthread_mutex_lock(&s->lock);
	if (is_login(e) || (e == RD_KAFKA_RESP_ERR__SSL && strstr(reason, "verify")))
		set_trouble(s, SOURCE_FINAL, reason);
	else if (e != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		(void)snprintf(s->last_error, sizeof(s->last_error), "%s", reason);
	else if (!s->trouble.is)
		set_trouble(s, SOURCE_TRANSIENT, s->last_error[0] ? s->last_error : reason);
	(void)pthread_mutex_unlock(&s->lock);
}

/* Something of the client as a whole: one part is asked, and tells it. */
static void on_event(rd_kafka_t *client, void *opaque)
{
	struct kafka_source *s = opaque;

	(void)client;
	(void)pthread_mutex_lock(&s->lock);
	if (s->feeds)
		source_wake(s->feeds->part);
	(void)pthread_mutex_unlock(&s->lock);
}

static void on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
	(void)client;
	(void)level;
	say(SAY_DEBUG, "kafka_client", "%s: %s", facility, text);
}

static void on_commit(rd_kafka_t *client, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *offsets,
		      void *opaque)
{
	struct kafka_source *s = opaque;

	(void)client;
	(void)offsets;
	if (err && err != RD_KAFKA_RESP_ERR__NO_OFFSET && err != RD_KAFKA_RESP_ERR__DESTROY)
		source_warn(
			s->setup.source,
			"the group %s could not be told how far this source is: %s. Nothing but what it shows depends on it",
			s->settings->group, rd_kafka_err2str(err));
}

/* ---- whom it may reach ---- */

static bool map_address(const struct sockaddr *at, uint8_t ip[16], uint16_t *port)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)at;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)at;

	memset(ip, 0, 16);
	if (at->sa_family == AF_INET6) {
		memcpy(ip, &v6->sin6_addr, 16);
		*port = ntohs(v6->sin6_port);
		return true;
	}
	ip[10] = ip[11] = 0xff;
	memcpy(ip + 12, &v4->sin_addr, 4);
	*port = ntohs(v4->sin_port);
	return at->sa_family == AF_INET;
}

static int on_socket(int domain, int type, int protocol, void *opaque)
{
	struct kafka_source *s = opaque;
	int fd = socket(domain, type | SOCK_CLOEXEC, protocol);

	if (fd >= 0)
		atomic_fetch_add(&s->sockets, 1);
	return fd;
}

static int on_close(int fd, void *opaque)
{
	struct kafka_source *s = opaque;

	atomic_fetch_sub(&s->sockets, 1);
	return close(fd);
}

/* Each address that it connects to, also those that brokers name: a cluster may name whatever it likes. */
static int on_connect(int fd, const struct sockaddr *at, int len, const char *id, void *opaque)
{
	struct kafka_source *s = opaque;
	uint8_t ip[16];
	uint16_t port;
	char text[300];

	if (!map_address(at, ip, &port) || !s->guard(NULL, ip, port)) {
		(void)snprintf(text, sizeof(text),
			       "%s is at an address that sources may not reach: private or link-local", id);
		(void)pthread_mutex_lock(&s->lock);
		set_trouble(s, SOURCE_FINAL, text);
		(void)pthread_mutex_unlock(&s->lock);
		return EACCES;
	}
	if (connect(fd, at, (socklen_t)len) == 0 || errno == EINPROGRESS)
		return 0;
	return errno;
}

/* ---- its settings ---- */

struct setter {
	rd_kafka_conf_t *conf;
	struct fault *fault;
	int err;
};

static void set(struct setter *c, const char *name, const char *value)
{
	char why[256];

	if (c->err || !value)
		return;
	if (rd_kafka_conf_set(c->conf, name, value, why, sizeof(why)) != RD_KAFKA_CONF_OK)
		c->err = fault_set(c->fault, ERR_BAD_CONFIG, "%s: %s", name, why);
}

static void set_number(struct setter *c, const char *name, int64_t value)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%lld", (long long)value);
	set(c, name, text);
}

static void set_login(struct setter *c, const struct kafka_settings *o)
{
	static const char *const protocols[2][2] = {{"plaintext", "ssl"}, {"sasl_plaintext", "sasl_ssl"}};

	set(c, "security.protocol", protocols[o->mechanism != KAFKA_NO_SASL][o->tls]);
	if (o->mechanism != KAFKA_NO_SASL) {
		set(c, "sasl.mechanism", kafka_mechanism_names[o->mechanism]);
		set(c, "sasl.username", o->user);
		set(c, "sasl.password", o->password);
	}
	if (!o->tls)
		return;
	set(c, "ssl.ca.location", o->tls_ca);
	set(c, "ssl.certificate.location", o->tls_cert);
	set(c, "ssl.key.location", o->tls_key);
	set(c, "ssl.key.password", o->tls_key_password);
	if (!o->tls_verify)
		set(c, "enable.ssl.certificate.verification", "false");
}

static void set_brokers(struct setter *c, const struct conf_list *brokers)
{
	struct buf list;

	buf_init(&list, 1u << 20);
	for (uint32_t i = 0; i < brokers->count; i++)
		(void)buf_appendf(&list, "%s%s", i ? "," : "", brokers->items[i]);
	(void)buf_append_byte(&list, 0);
	if (buf_status(&list))
		c->err = fault_set(c->fault, ERR_NOMEM, "there is no memory for the brokers");
	else
		set(c, "bootstrap.servers", (const char *)list.ptr);
	buf_fini(&list);
}

static void set_memory(struct setter *c, int64_t bytes)
{
	int64_t answer = bytes / 16, fetch = bytes / 64;

	answer = answer > ANSWER_BYTES_MAX ? ANSWER_BYTES_MAX : answer;
	fetch = fetch > FETCH_BYTES_MAX ? FETCH_BYTES_MAX : fetch;
	/* Either ends the fetching: the bytes, or what librdkafka keeps of each message. One more answer of each broker may come then. */
	set_number(c, "queued.max.messages.kbytes", bytes / 4 >> 10);
	set_number(c, "queued.min.messages", bytes / 4 / KAFKA_MESSAGE_COST);
	set_number(c, "fetch.message.max.bytes", fetch < FETCH_BYTES_MIN ? FETCH_BYTES_MIN : fetch);
	set_number(c, "message.max.bytes", answer < 1000000 ? answer : 1000000);
	set_number(c, "fetch.max.bytes", answer);
}

/* What weir's exactness stands on. Behind the user's, though none of them is among those. */
static void set_own(struct setter *c, const struct kafka_settings *o)
{
	set(c, "enable.auto.commit", "false");
	set(c, "enable.auto.offset.store", "false");
	set(c, "auto.offset.reset", "error"); /* a place that is gone is judged, never passed over */
	set(c, "allow.auto.create.topics", "false");
	set(c, "enable.partition.eof", "true");
	set(c, "check.crcs", "true");
	set(c, "isolation.level", kafka_isolation_names[o->isolation]);
	set(c, "group.id", o->group);
	set(c, "log.connection.close", "false");
}

rd_kafka_conf_t *kafka_client_conf(struct kafka_source *s, struct fault *fault)
{
	const struct kafka_settings *o = s->settings;
	struct setter c = {.conf = rd_kafka_conf_new(), .fault = fault};
	char ignored[64];

	set(&c, "client.id", "weir");
	set(&c, "reconnect.backoff.max.ms", "2000"); /* a broker that is back is found soon */
	/* A request without an answer holds up partitions that it did not ask for, as their queue was full. */
	set(&c, "fetch.wait.max.ms", "50");
	/* Not of every release: how long a partition rests whose queue is full. */
	(void)rd_kafka_conf_set(c.conf, "fetch.queue.backoff.ms", "20", ignored, sizeof(ignored));
	for (uint32_t i = 0; i < o->properties.count; i++)
		set(&c, o->properties.names[i], o->properties.values[i]);
	set_brokers(&c, &o->brokers);
	set_login(&c, o);
	set_memory(&c, o->memory_bytes);
	set_own(&c, o);
	if (c.err) {
		rd_kafka_conf_destroy(c.conf);
		return NULL;
	}
	rd_kafka_conf_set_opaque(c.conf, s);
	rd_kafka_conf_set_error_cb(c.conf, on_error);
	rd_kafka_conf_set_log_cb(c.conf, on_log);
	rd_kafka_conf_set_socket_cb(c.conf, on_socket);
	rd_kafka_conf_set_closesocket_cb(c.conf, on_close);
	rd_kafka_conf_set_connect_cb(c.conf, on_connect);
	rd_kafka_conf_set_offset_commit_cb(c.conf, on_commit);
	return c.conf;
}

/* ---- its life ---- */

static rd_kafka_t *make(struct kafka_source *s, struct fault *fault)
{
	rd_kafka_conf_t *conf = kafka_client_conf(s, fault);
	char why[320];
	rd_kafka_t *client;

	if (!conf)
		return NULL;
	client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
	if (!client) {
		rd_kafka_conf_destroy(conf);
		(void)fault_set(fault, ERR_BAD_CONFIG, "%s", why);
	}
	return client;
}

rd_kafka_t *kafka_client(struct kafka_source *s, struct source_call *call)
{
	struct fault fault = {0};
	rd_kafka_t *client;

	(void)pthread_mutex_lock(&s->lock);
	if (!s->client) {
		s->client = make(s, &fault);
		if (s->client) {
			s->events = rd_kafka_queue_get_main(s->client);
			rd_kafka_queue_cb_event_enable(s->events, on_event, s);
			s->queue = rd_kafka_queue_new(s->client);
			rd_kafka_queue_cb_event_enable(s->queue, kafka_intake_on_messages, s);
		}
		s->trouble.is = false;
		s->last_error[0] = 0;
	}
	client = s->client;
	(void)pthread_mutex_unlock(&s->lock);
	/* A file of a certificate that cannot be read, mostly. */
	if (!client)
		(void)source_fail(call, SOURCE_FINAL, "%s", fault.text);
	return client;
}

void kafka_client_end(struct kafka_source *s, bool alone)
{
	rd_kafka_t *client;
	rd_kafka_queue_t *events, *queue;

	(void)pthread_mutex_lock(&s->lock);
	client = s->feeds && !alone ? NULL : s->client;
	events = s->events;
	queue = s->queue;
	if (client) {
		s->client = NULL;
		s->events = s->queue = NULL;
	}
	(void)pthread_mutex_unlock(&s->lock);
	if (!client)
		return;
	source_cut(s->setup.source, atomic_load(&s->sockets));
	rd_kafka_queue_cb_event_enable(events, NULL, NULL);
	rd_kafka_queue_destroy(events);
	rd_kafka_queue_cb_event_enable(queue, NULL, NULL);
	rd_kafka_queue_destroy(queue);
	rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

void kafka_client_serve(struct kafka_source *s, rd_kafka_t *client)
{
	(void)s;
	while (rd_kafka_poll(client, 0) > 0)
		;
}

void kafka_client_nudge(struct kafka_source *s, rd_kafka_t *client)
{
#if RD_KAFKA_VERSION >= 0x020000ff
	const struct kafka_settings *o = s->settings;

	rd_kafka_error_destroy(rd_kafka_sasl_set_credentials(client, o->user ? o->user : "",
							     o->password ? o->password : ""));
#else
	(void)s;
	(void)client; /* there is nothing that would wake it: it naps */
#endif
}

bool kafka_trouble(struct kafka_source *s, struct trouble *out)
{
	bool is;

	(void)pthread_mutex_lock(&s->lock);
	*out = s->trouble;
	is = s->trouble.is;
	(void)pthread_mutex_unlock(&s->lock);
	return is;
}

void kafka_trouble_over(struct kafka_source *s)
{
	(void)pthread_mutex_lock(&s->lock);
	s->trouble.is = false;
	(void)pthread_mutex_unlock(&s->lock);
}

/* ---- asking ---- */

static enum source_failure failure_of(rd_kafka_resp_err_t err)
{
	switch (err) {
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
	case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
	case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
	case RD_KAFKA_RESP_ERR__AUTHENTICATION:
	case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
	case RD_KAFKA_RESP_ERR__INVALID_ARG:
		return SOURCE_FINAL;
	default:
		return SOURCE_TRANSIENT;
	}
}

/* The network failed, or nobody answered: what the connections said is better than that. */
static bool is_silence(rd_kafka_resp_err_t err)
{
	return err == RD_KAFKA_RESP_ERR__TIMED_OUT || err == RD_KAFKA_RESP_ERR__TRANSPORT ||
	       err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || err == RD_KAFKA_RESP_ERR__WAIT_COORD;
}

enum source_end kafka_fail(struct kafka_source *s, struct source_call *call, rd_kafka_resp_err_t err,
			   const char *what)
{
	struct trouble t;
	char said[320];

	if (!is_silence(err))
		return source_fail(call, failure_of(err), "%s: %s", what, rd_kafka_err2str(err));
	(void)pthread_mutex_lock(&s->lock);
	t = s->trouble;
	memcpy(said, s->last_error, sizeof(said));
	(void)pthread_mutex_unlock(&s->lock);
	if (t.is && (t.failure == SOURCE_FINAL || !said[0]))
		return source_fail(call, t.failure, "%s: %s", what, t.text);
	return source_fail(call, SOURCE_TRANSIENT, "%s: %s", what, said[0] ? said : rd_kafka_err2str(err));
}

void kafka_ask_begin(struct kafka_ask *a, struct kafka_source *s, struct source_call *call,
		     rd_kafka_t *client)
{
	*a = (struct kafka_ask){.source = s, .call = call, .client = client};
	a->begun_ns = sys_monotonic_ns(s->setup.sys);
	a->end_ns = a->begun_ns + s->settings->timeout_ms * NS_OF_MS;
}

int kafka_ask_ms(struct kafka_ask *a)
{
	int64_t left = (a->end_ns - sys_monotonic_ns(a->source->setup.sys)) / NS_OF_MS;

	a->call->requests++;
	if (a->step_ms < STEP_MS_MAX)
		a->step_ms += STEP_MS;
	return left > a->step_ms ? a->step_ms : left < 1 ? 1 : (int)left;
}

static bool may_go_by_itself(rd_kafka_resp_err_t err)
{
	return is_silence(err) || err == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
	       err == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
	       err == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS ||
	       err == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE || err == RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
}

/* Is it worth waiting? A login that was refused is refused again; where nobody is there, the machinery tries again later. */
static bool is_hopeless(const struct kafka_ask *a)
{
	int64_t now = sys_monotonic_ns(a->source->setup.sys);
	struct trouble t;

	if (source_cancelled(a->call) || now >= a->end_ns)
		return true;
	return kafka_trouble(a->source, &t) && (t.failure == SOURCE_FINAL || now - a->begun_ns > GIVE_UP_NS);
}

bool kafka_ask_again(struct kafka_ask *a, rd_kafka_resp_err_t err, const char *what)
{
	kafka_client_serve(a->source, a->client);
	if (may_go_by_itself(err) && !is_hopeless(a)) {
		/* Some errors come at once: not a hundred thousand of them a second. */
		if (err != RD_KAFKA_RESP_ERR__TIMED_OUT)
			(void)rd_kafka_poll(a->client, 50);
		return true;
	}
	(void)kafka_fail(a->source, a->call, err, what);
	return false;
}

/*
 * Offsets by time, where RD_KAFKA_OFFSET_BEGINNING and _END are times too, as the protocol has it. rd_kafka_query_watermark_offsets
 * would be made for the ends, but it keeps its time only while it looks for the leader, and then waits for a minute.
 */
bool kafka_offsets(struct kafka_ask *a, rd_kafka_topic_partition_list_t *list, const char *what)
{
	rd_kafka_topic_partition_list_t *got;
	rd_kafka_resp_err_t err;

	do {
		got = rd_kafka_topic_partition_list_copy(
			list); /* what failed halfway has answers among the questions */
		err = rd_kafka_offsets_for_times(a->client, got, kafka_ask_ms(a));
		for (int i = 0; !err && i < got->cnt; i++)
			err = got->elems[i].err;
		for (int i = 0; !err && i < got->cnt; i++)
			list->elems[i].offset = got->elems[i].offset;
		rd_kafka_topic_partition_list_destroy(got);
	} while (err && kafka_ask_again(a, err, what));
	return !err;
}

bool kafka_ends(struct kafka_ask *a, const char *topic, int32_t partition, int64_t *low, int64_t *high)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_t *one = rd_kafka_topic_partition_list_add(list, topic, partition);
	char what[320];
	bool good;

	(void)snprintf(what, sizeof(what), "asking for the offsets of %s/%d", topic, partition);
	one->offset = RD_KAFKA_OFFSET_BEGINNING;
	good = kafka_offsets(a, list, what);
	*low = one->offset;
	one->offset = RD_KAFKA_OFFSET_END;
	good = good && kafka_offsets(a, list, what);
	*high = one->offset;
	rd_kafka_topic_partition_list_destroy(list);
	return good;
}
