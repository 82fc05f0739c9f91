/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_FILES_FILES_H
#define WEIR_CONNECT_FILES_FILES_H

#include "connect/source.h"

/* Files of a directory: each whole and once, or followed while they grow and rotate. docs/internals/files.md. */
extern const struct source_type source_files;

#endif
