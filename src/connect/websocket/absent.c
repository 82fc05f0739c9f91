/* SPDX-License-Identifier: Apache-2.0 */
/* The type websocket of a weir that was built without its library. */
#include "connect/websocket/websocket.h"
#include "connect/websocket/settings.h"

const struct source_type source_websocket = {
	.kind = WEBSOCKET_KIND,
	.flags = SOURCE_STREAMS,
	.absent =
		"libcurl, and has no outbound connections; expected a build with it (libcurl4-openssl-dev on Debian)",
};
