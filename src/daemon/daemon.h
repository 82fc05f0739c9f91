/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_DAEMON_DAEMON_H
#define WEIR_DAEMON_DAEMON_H

#include "conf/conf.h"

/*
 * The daemon as the command line sees it: a configuration in, an exit code out.
 */
struct daemon_options {
	/*
	 * Makes a configuration anew, for SIGHUP: the file read again and the
	 * command line's options put on top. As conf_load: 0 with an owned *out,
	 * or an error with *problems. NULL: SIGHUP tells that there is no file.
	 */
	int (*reload)(void *ctx, struct conf **out, struct conf_problems *problems);
	void *ctx;
	bool terminal; /* stdout is one: after the ready line, the page's URL and two curl lines */
};

/*
 * Runs until SIGTERM or SIGINT has drained it. Locks the data directory before
 * it opens a port; prints the ready line to stdout. Borrows conf and options
 * until it returns. Main thread, once in a process. Gives the exit code: 0
 * after a clean stop, 1 where it could not start or serve (told on stderr), 2
 * where the configuration cannot be put to use here.
 */
int daemon_run(const struct conf *conf, const struct daemon_options *options);

#endif
