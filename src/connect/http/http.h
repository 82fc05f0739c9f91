/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_HTTP_HTTP_H
#define WEIR_CONNECT_HTTP_HTTP_H

#include "connect/source.h"

/* Records from HTTP APIs, page by page. docs/internals/source-http.md, docs/guide/sources-http.md. */
extern const struct source_type source_http;

#endif
