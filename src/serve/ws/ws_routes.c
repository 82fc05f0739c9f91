/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upgrade: what is wrong with it, or with what is asked for, is answered
 * over HTTP, before there is a WebSocket. The Origin was looked at by the session.
 */
#include "serve/ws/ws_routes.h"

#include "serve/ws/ws_session.h"

static const char *const protocols[] = {"weir.v1", NULL};
static const char *const topic_query[] = {"mode", "format", "ack", "cursor", "partitions", "key", NULL};
static const char *const topics_query[] = {"topics", "mode",       "format", "ack",
					   "cursor", "partitions", "key",    NULL};

/* ---- what is asked for ---- */

static int read_mode(struct ws_ask *ask, struct exchange *x, struct fault *fault)
{
	struct slice mode;

	if (exchange_query(x, "mode", &mode) == 0 || slice_eq_str(mode, "subscribe")) {
		ask->subscribes = true;
	} else if (slice_eq_str(mode, "publish")) {
		ask->publishes = true;
	} else if (slice_eq_str(mode, "both")) {
		ask->publishes = ask->subscribes = true;
	} else {
		return fault_set(fault, ERR_BAD_PARAMETER, "mode is subscribe, publish or both");
	}
	if (ask->publishes && x->params == 0)
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "Publishing goes to one topic: /v1/topics/{topic}/ws?mode=publish");
	return 0;
}

static int read_ack(struct ws_ask *ask, struct exchange *x, struct fault *fault)
{
	struct slice ack;

	if (exchange_query(x, "ack", &ack) == 0)
		return 0;
	if (!slice_eq_str(ack, "0") && !slice_eq_str(ack, "1"))
		return fault_set(fault, ERR_BAD_PARAMETER, "ack is 0 or 1");
	if (!ask->publishes)
		return fault_set(fault, ERR_BAD_PARAMETER, "ack goes with mode=publish or mode=both");
	ask->acks = slice_eq_str(ack, "1");
	return 0;
}

static int read_format(struct ws_ask *ask, struct exchange *x, struct fault *fault)
{
	struct slice format;
	bool given = exchange_query(x, "format", &format) == 1;
	bool raw = given && slice_eq_str(format, "raw");

	if (given && !raw && !slice_eq_str(format, "json"))
		return fault_set(fault, ERR_BAD_PARAMETER, "format is json or raw");
	if (raw && ask->v1)
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "weir.v1 gives records as JSON: format=raw goes without it");
	if (ask->v1)
		ask->form = WS_FORM_V1;
	else if (raw || (!given && ask->publishes))
		ask->form = WS_FORM_RAW;
	else
		ask->form = WS_FORM_JSON;
	return 0;
}

/* The first message would be refused: better told now. */
static int check_topic(const struct ws_ask *ask, const struct app *app, struct fault *fault)
{
	struct slice name = ask->stream.topics[0];
	struct topic_config defaults;
	bool auto_create;
	int rc = topic_name_check(name, fault);

	if (rc)
		return rc;
	if (topic_name_is_reserved(name))
		return fault_set(fault, ERR_FORBIDDEN, "Topics of this name are kept for weir itself");
	topics_defaults(app->topics, &defaults, &auto_create);
	if (auto_create || topics_find(app->topics, name))
		return 0;
	return fault_set(fault, ERR_UNKNOWN_TOPIC, "There is no topic '%.*s'", (int)name.len,
			 (const char *)name.ptr);
}

static int read_ask(struct ws_ask *ask, struct exchange *x, struct fault *fault)
{
	int rc = read_mode(ask, x, fault);

	if (rc == 0)
		rc = read_ack(ask, x, fault);
	if (rc == 0)
		rc = read_format(ask, x, fault);
	if (rc == 0)
		rc = stream_ask_read(&ask->stream, x, slice_null(), fault);
	if (rc == 0 && ask->stream.selects && !ask->subscribes)
		rc = fault_set(fault, ERR_BAD_PARAMETER,
			       "cursor, partitions and key choose what is read: mode=publish reads nothing");
	if (rc == 0 && ask->publishes)
		rc = check_topic(ask, x->app, fault);
	return rc;
}

/* ---- the handshake ---- */

static int shake_hands(struct ws_handshake *h, const struct exchange *x)
{
	const struct ws_handshake_options options = {.protocols = protocols, .deflate = true};
	const struct http_headers *fields = &x->request.headers;

	ws_handshake_init(h, &options);
	for (uint32_t i = 0; i < fields->count; i++)
		ws_handshake_header(h, fields->list[i].name, fields->list[i].value);
	if (x->request.method == HTTP_HEAD)
		return ERR_UPGRADE_REQUIRED;
	return ws_handshake_finish(h);
}

static int refuse_handshake(struct exchange *x, int err, const struct ws_handshake *h)
{
	if (err == ERR_UPGRADE_REQUIRED) {
		(void)exchange_add_header(x, SLICE_LIT("Upgrade"), SLICE_LIT("websocket"));
		(void)exchange_add_header(x, SLICE_LIT("Sec-WebSocket-Version"), SLICE_LIT(WS_VERSION_TEXT));
	}
	return exchange_problem(x, err, "%s", h->detail ? h->detail : "This resource is a WebSocket");
}

/* The codec writes lines; the exchange takes fields, and has Upgrade and Connection already. */
static int add_fields(struct exchange *x, const struct ws_handshake *h)
{
	struct buf *lines = &app_loop(x->app, x->loop)->scratch;
	struct slice left;
	int rc;

	buf_clear(lines);
	rc = ws_handshake_answer(h, lines);
	left = buf_slice(lines);
	while (rc == 0 && left.len > 0) {
		const uint8_t *end = memchr(left.ptr, '\r', left.len);
		const uint8_t *colon = memchr(left.ptr, ':', left.len);
		struct slice name = slice_make(left.ptr, (size_t)(colon - left.ptr));
		struct slice value = slice_make(colon + 2, (size_t)(end - colon) - 2);
		if (slice_starts(name, SLICE_LIT("Sec-")))
			rc = exchange_add_header(x, name, value);
		left = slice_from(left, (size_t)(end - left.ptr) + 2);
	}
	return rc;
}

static int on_ws(struct exchange *x)
{
	struct ws_handshake handshake;
	struct ws_ask ask = {.publishes = false};
	struct fault fault = {0};
	int rc = shake_hands(&handshake, x);

	if (rc)
		return refuse_handshake(x, rc, &handshake);
	ask.v1 = handshake.protocol != NULL;
	rc = read_ask(&ask, x, &fault);
	if (rc)
		return stream_ask_refuse(x, rc, &fault);
	if (app_loop(x->app, x->loop)->draining)
		return ERR_SHUTTING_DOWN;
	rc = add_fields(x, &handshake);
	return rc ? rc : ws_start(x, &ask, &handshake);
}

static const struct route route_topic_ws = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/v1/topics/{topic}/ws",
	.query = topic_query,
	.flags = ROUTE_ALONE | ROUTE_QUERY_TOKEN | ROUTE_BOUNDED,
	.handle = on_ws,
};

static const struct route route_ws = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/v1/ws",
	.query = topics_query,
	.flags = ROUTE_ALONE | ROUTE_QUERY_TOKEN | ROUTE_BOUNDED,
	.handle = on_ws,
};

const struct route *const ws_routes[] = {&route_topic_ws, &route_ws};
const size_t ws_route_count = sizeof(ws_routes) / sizeof(ws_routes[0]);
