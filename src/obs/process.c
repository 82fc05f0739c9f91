/* SPDX-License-Identifier: Apache-2.0 */
#include "obs/process.h"

#include <limits.h>
#include <sys/resource.h>

/*
 * /proc/self/status has memory and threads in one small read. Descriptors are
 * counted by the size of /proc/self/fd where the kernel tells it (6.2 and
 * later), else one by one: slower with many connections, but a scrape is rare.
 */

/* The number behind "Name:" at the start of a line, or -1. */
static int64_t status_field(struct slice text, const char *name)
{
	size_t n = strlen(name);

	while (text.len > 0) {
		const uint8_t *newline = memchr(text.ptr, '\n', text.len);
		size_t len = newline ? (size_t)(newline - text.ptr) : text.len;
		struct slice line = slice_make(text.ptr, len);

		if (slice_starts(line, slice_make(name, n))) {
			struct slice value = slice_trim(slice_from(line, n));
			const uint8_t *blank = memchr(value.ptr, ' ', value.len);
			uint64_t number;

			if (blank)
				value.len = (size_t)(blank - value.ptr);
			return slice_to_u64(value, &number) && number <= INT64_MAX / 1024 ? (int64_t)number :
											    -1;
		}
		text = slice_from(text, newline ? len + 1 : len);
	}
	return -1;
}

static void read_status(const struct sys *sys, struct process_numbers *out)
{
	char text[4096];
	int fd = sys->ops->open(sys->self, "/proc/self/status", SYS_READ);
	int64_t n, kib;

	if (fd < 0)
		return;
	n = sys->ops->pread(sys->self, fd, text, sizeof(text), 0);
	sys->ops->close(sys->self, fd);
	if (n <= 0)
		return;
	kib = status_field(slice_make(text, (size_t)n), "VmRSS:");
	out->resident_bytes = kib < 0 ? -1 : kib * 1024;
	kib = status_field(slice_make(text, (size_t)n), "VmSize:");
	out->virtual_bytes = kib < 0 ? -1 : kib * 1024;
	out->threads = status_field(slice_make(text, (size_t)n), "Threads:");
}

static int count_entry(void *ctx, const char *name)
{
	int64_t *count = ctx;

	(void)name;
	*count += 1;
	return 0;
}

static int64_t count_fds(const struct sys *sys)
{
	static const char path[] = "/proc/self/fd";
	struct sys_stat stat;
	int64_t count = 0;

	if (sys->ops->stat(sys->self, path, &stat) == 0 && stat.bytes > 0)
		return (int64_t)stat.bytes;
	if (sys->ops->list(sys->self, path, count_entry, &count) < 0 || count == 0)
		return -1;
	return count - 1; /* the listing has one open itself */
}

void process_read(const struct sys *sys, struct process_numbers *out)
{
	struct rusage usage;
	struct rlimit limit;

	*out = (struct process_numbers){-1, -1, -1, -1, -1, -1};
	read_status(sys, out);
	out->fds = count_fds(sys);
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		out->cpu_ns = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000000) +
			      (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * INT64_C(1000);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		out->fds_max = limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}
