/* SPDX-License-Identifier: Apache-2.0 */
/* The ports: a server and a listener each, over the loops, and what they may take of the process. */
#include "daemon/parts.h"

#include <string.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "obs/say.h"

#define MS 1000000ll
#define FILES_OF_ITS_OWN 24u  /* standard ones, journal, lock, what a checkpoint opens */
#define KEY_FILES 64u         /* runs of keys, at most */
#define CONNECTION_BYTES 1024 /* of a connection with nothing in flight */

static int failed(const char *what, const struct fault *fault)
{
	say(SAY_ERROR, "start_failed", "%s: %s", what,
	    fault->text[0] ? fault->text : err_row(fault->err)->sentence);
	return 1;
}

static void on_exhausted(void *ctx, int negative_errno)
{
	(void)ctx;
	say(SAY_WARNING, "accept_paused", "new connections wait or are closed: %s",
	    sys_error_text(negative_errno));
}

/* ---- how many connections ---- */

/* Connections that wait for nothing may hold a quarter of the budget: the next one is told so. */
static uint32_t connections_paid(const struct parts *p, uint32_t wanted)
{
	int64_t paid = p->conf->memory_bytes / 4 / CONNECTION_BYTES;

	if (paid >= wanted)
		return wanted;
	say(SAY_INFO, "little_memory",
	    "memory allows fewer connections than max_connections of http and kafka memory=%lld connections=%lld",
	    (long long)p->conf->memory_bytes, (long long)paid);
	return (uint32_t)paid;
}

/*
 * Of all ports together. Connections must not take the descriptors that the log needs for
 * its files: else the first flood of them would stop ingest, and not only new connections.
 */
static uint32_t connections_allowed(const struct parts *p)
{
	uint32_t wanted = (uint32_t)p->conf->http.max_connections;
	uint64_t kept = log_files_max(p->app.log) + FILES_OF_ITS_OWN + 4ull * p->loop_count, left;
	struct rlimit limit;

	if (p->conf->kafka.listen && p->conf->kafka.max_connections > wanted)
		wanted = (uint32_t)p->conf->kafka.max_connections;
	wanted = connections_paid(p, wanted);
	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == RLIM_INFINITY)
		return wanted;
	kept += limit.rlim_cur / 16 < KEY_FILES ? limit.rlim_cur / 16 : KEY_FILES;
	left = limit.rlim_cur > kept + 4 ? limit.rlim_cur - kept : 4;
	left -= left / 4; /* those that are refused hold one for a moment too */
	if (left >= wanted)
		return wanted;
	say(left < 1000 ? SAY_WARNING : SAY_INFO, "few_descriptors",
	    "the limit of open files allows fewer connections than max_connections of http and kafka limit=%llu connections=%llu",
	    (unsigned long long)limit.rlim_cur, (unsigned long long)left);
	return (uint32_t)left;
}

/* ---- HTTP ---- */

static const char **null_ended(const struct conf_list *list)
{
	const char **copy = mem_zalloc(list->count + 1, sizeof(*copy));

	for (uint32_t i = 0; copy && i < list->count; i++)
		copy[i] = list->items[i];
	return copy;
}

static struct http_options http_settings(struct parts *p)
{
	const struct conf *c = p->conf;
	struct http_options o = {
		.sys = p->sys,
		.loops = p->loop_count,
		.app = &p->app,
		.hosts = p->hosts,
		.origins = p->origins,
		.cors = c->http.cors,
		.head = {.head_bytes_max = (uint32_t)c->http.header_bytes_max},
		.large_body_max = (uint64_t)c->http.body_bytes_max,
		.stream_bytes_max = (size_t)c->stream.buffer_bytes,
		.head_timeout_ns = c->http.header_timeout_ms * MS,
		.body_grace_ns = c->http.header_timeout_ms * MS,
		.body_rate = (uint64_t)c->http.body_min_rate,
		.idle_timeout_ns = c->http.idle_timeout_ms * MS,
	};

	if (c->http.body_min_rate == 0) /* any body is waited for */
		o.body_grace_ns = INT64_MAX / 4;
	o.routes = routes_all(&o.route_count);
	figures_observe(p, &o.observer);
	return o;
}

static int open_http(struct parts *p)
{
	struct http_options options;
	struct listener_options listen = {.address = p->conf->http.listen,
					  .connections_max = (uint32_t)p->conf->http.max_connections,
					  .limit = &p->connections,
					  .per_address_max =
						  (uint32_t)p->conf->http.max_connections_per_address,
					  .sys = p->sys,
					  .peer_timeout_ms = (uint32_t)p->conf->http.peer_timeout_ms,
					  .on_full = http_server_spare,
					  .on_accept = http_server_accept,
					  .on_refuse = http_server_refuse,
					  .on_exhausted = on_exhausted};
	struct fault fault = {.err = ERR_NOMEM};

	p->hosts = null_ended(&p->conf->http.allowed_hosts);
	p->origins = null_ended(&p->conf->http.allowed_origins);
	if (!p->hosts || !p->origins)
		return failed("HTTP", &fault);
	options = http_settings(p);
	if (http_server_new(&options, &p->http, &fault))
		return failed("HTTP", &fault);
	listen.ctx = p->http;
	if (listener_open(&listen, p->loops, p->loop_count, &p->listener, p->http_address, &fault))
		return failed("http.listen", &fault);
	return 0;
}

/* ---- Kafka ---- */

/* NAME:PASSWORD in two; memory is the caller's. The setting's check has seen the colon. */
static int split_users(const struct conf_list *list, struct kafka_user **out, char **texts)
{
	size_t bytes = 0, at = 0;

	for (uint32_t i = 0; i < list->count; i++)
		bytes += strlen(list->items[i]) + 1;
	*out = mem_zalloc(list->count + 1, sizeof(**out));
	*texts = mem_alloc(bytes + 1);
	if (!*out || !*texts)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < list->count; i++) {
		size_t n = strlen(list->items[i]) + 1;
		char *text = memcpy(*texts + at, list->items[i], n), *colon = strchr(text, ':');
		*colon = '\0';
		(*out)[i] = (struct kafka_user){.name = text, .password = colon + 1};
		at += n;
	}
	return 0;
}

/* HOST:PORT as its check has seen it; host is the caller's memory of 300 bytes. */
static void split_advertised(const char *text, char *host, struct kafka_server_options *o)
{
	const char *colon = strrchr(text, ':');
	size_t n = (size_t)(colon - text);
	uint64_t port = 0;

	(void)slice_to_u64(slice_str(colon + 1), &port);
	o->advertised_port = (uint16_t)port;
	if (n > 2 && text[0] == '[') { /* clients want it without */
		text++;
		n -= 2;
	}
	memcpy(host, text, n);
	host[n] = '\0';
	o->advertised_host = host;
}

static int make_kafka(struct parts *p, struct fault *fault)
{
	const struct conf *c = p->conf;
	struct kafka_server_options o = {.app = &p->app,
					 .home = p->loops[0],
					 .http_address = p->http_address,
					 .request_bytes_max = (size_t)c->kafka.request_bytes_max,
					 .idle_timeout_ns = c->kafka.idle_timeout_ms * MS,
					 .user_count = c->kafka.users.count};
	struct kafka_user *users = NULL;
	char *texts = NULL;
	int rc = split_users(&c->kafka.users, &users, &texts);

	if (rc)
		rc = fault_set(fault, rc, "no memory for kafka.users");
	if (c->kafka.advertised)
		split_advertised(c->kafka.advertised, p->kafka_host, &o);
	o.users = users;
	figures_observe_kafka(p, &o);
	if (rc == 0)
		rc = kafka_server_new(&o, &p->kafka, fault);
	mem_free(users);
	mem_free(texts);
	return rc;
}

static int open_kafka(struct parts *p)
{
	const struct conf *c = p->conf;
	struct listener_options listen = {.address = c->kafka.listen,
					  .connections_max = (uint32_t)c->kafka.max_connections,
					  .limit = &p->connections,
					  .per_address_max = (uint32_t)c->kafka.max_connections_per_address,
					  .sys = p->sys,
					  .peer_timeout_ms = (uint32_t)c->kafka.peer_timeout_ms,
					  .on_accept = kafka_server_accept,
					  .on_exhausted = on_exhausted};
	struct fault fault = {.err = ERR_NOMEM};

	if (make_kafka(p, &fault))
		return failed("Kafka", &fault);
	listen.ctx = p->kafka;
	if (listener_open(&listen, p->loops, p->loop_count, &p->kafka_listener, p->kafka_address, &fault))
		return failed("kafka.listen", &fault);
	return 0;
}

/* ---- both ---- */

int ports_open(struct parts *p)
{
	int rc;

	p->connections.max = connections_allowed(p);
	rc = open_http(p);
	return rc || !p->conf->kafka.listen ? rc : open_kafka(p);
}

void ports_drain(struct parts *p)
{
	listener_stop(p->listener);
	http_server_drain(p->http);
	if (!p->kafka)
		return;
	listener_stop(p->kafka_listener);
	kafka_server_drain(p->kafka);
}

uint32_t ports_connections(const struct parts *p)
{
	uint32_t count = listener_connections(p->listener);

	return p->kafka_listener ? count + listener_connections(p->kafka_listener) : count;
}

void ports_close(struct parts *p)
{
	listener_close(p->listener);
	listener_close(p->kafka_listener);
}

void ports_free(struct parts *p)
{
	http_server_free(p->http);
	kafka_server_free(p->kafka);
	mem_free(p->hosts);
	mem_free(p->origins);
}
