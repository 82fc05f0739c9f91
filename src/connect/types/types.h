/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_TYPES_TYPES_H
#define WEIR_CONNECT_TYPES_TYPES_H

#include "connect/source.h"

/* Every type of source that this weir has, a row each in types.c, as the configuration needs them. For ever. */
const struct conf_kinds *source_kinds(void);

#endif
