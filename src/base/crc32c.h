/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_CRC32C_H
#define WEIR_BASE_CRC32C_H

#include "base/slice.h"

/*
 * CRC-32C (Castagnoli), as in record batches and the journal: reflected
 * polynomial 0x82F63B78, start and end inverted. Uses the processor's
 * instruction where present. Start with crc 0; to go on, give the result back.
 */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n);

/* The table-driven form, always available; for tests and as the fallback. */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t n);

#endif
