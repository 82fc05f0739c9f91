/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_OBS_PROCESS_H
#define WEIR_OBS_PROCESS_H

#include "sys/sys.h"

/* What the kernel says of this process. A number it does not tell is -1. */
struct process_numbers {
	int64_t resident_bytes;
	int64_t virtual_bytes;
	int64_t cpu_ns; /* user and system */
	int64_t fds;
	int64_t fds_max;
	int64_t threads;
};

/* Reads /proc/self through sys. Never fails as a whole. Any thread. */
void process_read(const struct sys *sys, struct process_numbers *out);

#endif
