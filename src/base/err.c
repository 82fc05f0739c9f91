/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

static const struct err_row rows[ERR_COUNT] = {
#define ERR(name, code, http, kafka, retry, sentence) {#name, code, http, kafka, retry, sentence},
#include "base/err.def"
#undef ERR
};

const struct err_row *err_row(int err)
{
	int index = -1 - err;

	if (index < 0 || index >= ERR_COUNT)
		index = ERR_INDEX_INTERNAL;
	return &rows[index];
}

int fault_set(struct fault *f, int err, const char *format, ...)
{
	va_list args;

	if (!f)
		return err;
	f->err = err;
	va_start(args, format);
	(void)vsnprintf(f->text, sizeof(f->text), format, args);
	va_end(args);
	return err;
}
