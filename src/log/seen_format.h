/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_SEEN_FORMAT_H
#define WEIR_LOG_SEEN_FORMAT_H

/* The numbers of the run format, shared by its reader and its writer: docs/internals/seen.md. */

#define SEEN_PAGE_BYTES 4096u
#define SEEN_PAGE_HEAD 16u
#define SEEN_ENTRY_BYTES 48u
#define SEEN_ENTRIES_A_PAGE 85u
#define SEEN_RANGE_BYTES 16u
#define SEEN_RANGES_A_PAGE 255u
#define SEEN_PARTITION_ELSEWHERE 0xffffffffu
#define SEEN_RUN_MAGIC "weirrun1"
#define SEEN_RUN_VERSION 1u
#define SEEN_RUN_CRC_AT 4092u
#define SEEN_SECRET_MAGIC "weirkey1"
#define SEEN_SECRET_BYTES 44u

enum seen_page_kind {
	SEEN_PAGE_ENTRIES = 1,
	SEEN_PAGE_RANGES = 2,
};

#endif
