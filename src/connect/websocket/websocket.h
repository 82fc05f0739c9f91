/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_WEBSOCKET_WEBSOCKET_H
#define WEIR_CONNECT_WEBSOCKET_WEBSOCKET_H

#include "connect/source.h"

/* Messages of a WebSocket server that weir subscribes to. docs/internals/source-websocket.md, docs/guide/sources-websocket.md. */
extern const struct source_type source_websocket;

#endif
