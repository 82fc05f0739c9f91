/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_WS_WS_KIND_H
#define WEIR_SERVE_WS_WS_KIND_H

#include "serve/stream/pump.h"

/* The forms in which a WebSocket gives records. ctx of a pump is the struct ws. */
enum ws_form {
	WS_FORM_JSON, /* {record,"cursor":"…"} */
	WS_FORM_V1,   /* {"record":{record,"cursor":"…"}} */
	WS_FORM_RAW,  /* the value */
	WS_FORMS,
};

extern const struct pump_kind ws_kinds[WS_FORMS];

#endif
