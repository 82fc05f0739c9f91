/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file_limit.h"

#include <sys/resource.h>

void file_limit_raise(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur == files.rlim_max)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}
