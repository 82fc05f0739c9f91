/* SPDX-License-Identifier: Apache-2.0 */
/* The type http of a weir that was built without its library. */
#include "connect/http/http.h"
#include "connect/http/settings.h"

const struct source_type source_http = {
	.kind = HTTP_KIND,
	.every_ms = 60000,
	.absent =
		"libcurl, and has no outbound HTTP; expected a build with it (libcurl4-openssl-dev on Debian)",
};
