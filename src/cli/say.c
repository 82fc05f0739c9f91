/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/command.h"

static bool colourful(void)
{
	const char *no = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	return isatty(STDERR_FILENO) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

__attribute__((format(printf, 1, 0))) static void say(const char *format, va_list args)
{
	bool colour = colourful();

	fflush(stdout);
	fprintf(stderr, "%sweir:%s ", colour ? "\033[1m" : "", colour ? "\033[0m" : "");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void cli_say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}

int cli_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	return CLI_FAILED;
}

int cli_misuse(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	return CLI_USAGE;
}

bool cli_flush(void)
{
	static bool told;

	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	if (!told)
		fprintf(stderr, "weir: cannot write to stdout: %s\n", strerrordesc_np(errno));
	told = true;
	return false;
}

int cli_print(struct buf *out)
{
	int err = buf_status(out);

	if (!err && out->len > 0)
		fwrite(out->ptr, 1, out->len, stdout);
	buf_fini(out);
	if (err)
		return cli_fail("%s", err_row(err)->sentence);
	return cli_flush() ? CLI_DONE : CLI_FAILED;
}
