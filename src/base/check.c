/* SPDX-License-Identifier: Apache-2.0 */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *file, int line, const char *func, const char *cond)
{
	(void)fprintf(stderr, "weir: check failed at %s:%d in %s: %s\n", file, line, func, cond);
	(void)fflush(stderr);
	abort();
}
