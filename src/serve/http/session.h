/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_SESSION_H
#define WEIR_SERVE_HTTP_SESSION_H

/*
 * The session of one HTTP/1.1 connection. It has no interface of its own to other
 * folders: http_server_accept starts it, handlers see exchanges. What the files
 * here share of it is in private.h.
 */
#include "serve/http/private.h"

#endif
