/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_SERVER_H
#define WEIR_SERVE_KAFKA_SERVER_H

#include "serve/app.h"

/*
 * The Kafka port: what all its connections share. The daemon makes one, opens a
 * listener with it and takes it down after the loops have ended.
 */
struct kafka_server;

/* Who may log in. Strings are borrowed for the server's life. */
struct kafka_user {
	const char *name;
	const char *password;
};

struct kafka_server_options {
	struct app *app;
	struct loop *home;              /* where coordinators live: the first loop */
	const char *advertised_host;    /* NULL: the address that the client reached */
	uint16_t advertised_port;       /* 0: the port that the client reached */
	const struct kafka_user *users; /* copied; none: nobody has to log in */
	uint32_t user_count;
	const char *http_address; /* for who sends HTTP to this port; NULL: there is none */
	size_t request_bytes_max; /* of one request, 0: 100 MiB */
	size_t in_flight_bytes_max; /* of the requests of one connection that are being served, 0: 8 MiB; one always is */
	uint32_t in_flight_max;   /* requests of one connection, 0: 256 */
	int64_t idle_timeout_ns;  /* without a request, 0: 10 minutes */
	int64_t write_timeout_ns; /* no byte of waiting answers taken by the peer, 0: 60 s */
	/*
	 * What happens, for who counts: on the loop. `connections` with +1 and -1; `answered` once a
	 * request, with what was looked for first: index in kafka_apis. NULL: not told.
	 */
	void (*connections)(void *ctx, uint32_t loop, int change);
	void (*answered)(void *ctx, uint32_t loop, uint32_t api, int64_t latency_ns);
	void *ctx;
};

/* Returns owned; ERR_NOMEM, ERR_IO (no random bytes). Borrows the options. */
int kafka_server_new(const struct kafka_server_options *options, struct kafka_server **out,
		     struct fault *fault);
void kafka_server_free(struct kafka_server *s);

/* For listener_options.on_accept, with the server as ctx. */
int kafka_server_accept(void *server, struct conn *c);

/* From any thread: connections close once what they asked is answered. Then kafka_server_close_idle on each loop. */
void kafka_server_drain(struct kafka_server *s);
void kafka_server_close_idle(struct kafka_server *s, struct loop *loop);

#endif
