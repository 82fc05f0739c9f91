/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_MULTI_H
#define WEIR_NET_MULTI_H

#include <curl/curl.h>

#include "net/net_private.h"

/*
 * libcurl's multi interface on a libuv loop: it says which sockets it waits for and when it wants to be
 * called again, the loop tells it of both. It never blocks: names are resolved on threads of their own.
 * Embedded in its owner; all on the loop's thread. Knows nothing of what the transfers are.
 */
struct multi {
	struct loop *loop;
	CURLM *curl;
	uv_timer_t timer;
	bool stopped;
	/* A transfer has ended; it may be removed in here. Its CURLOPT_PRIVATE says whose it is. */
	void (*on_ended)(CURL *easy, CURLcode code);
};

/* Keeps the loop. ERR_NOMEM. */
int multi_init(struct multi *m, struct loop *loop, void (*on_ended)(CURL *easy, CURLcode code));

/* From now on no socket is watched; then its owner removes all transfers, and calls multi_fini. */
void multi_stop(struct multi *m);

/* Closes what is left. The memory must live until the loop has ended. */
void multi_fini(struct multi *m);

#endif
