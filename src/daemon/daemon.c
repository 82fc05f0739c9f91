/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From start to stop: build, say that it is ready, wait for signals, drain, take
 * down. Signals are taken by the main thread with sigwait; no handler runs.
 */
#include "daemon/daemon.h"

#include <signal.h>
#include <string.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "daemon/parts.h"
#include "obs/say.h"

static void own_signals(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGTERM);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGHUP);
}

static void block_signals(sigset_t *set)
{
	own_signals(set);
	(void)pthread_sigmask(SIG_BLOCK, set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of the write, like any other */
}

/* On a terminal: where to look, how to publish, how to read. */
static void print_hints(const struct parts *p)
{
	(void)printf(
		"\n  page     http://%s/\n"
		"  publish  curl -d '{\"hello\":\"weir\"}' -H 'Content-Type: application/json' http://%s/v1/topics/demo/records\n"
		"  read     curl http://%s/v1/topics/demo/records\n\n",
		p->http_address, p->http_address, p->http_address);
}

static void print_ready(const struct parts *p)
{
	(void)printf("weir ready http=%s", p->http_address);
	if (p->kafka)
		(void)printf(" kafka=%s", p->kafka_address);
	(void)printf(" data=%s\n", p->conf->data);
	if (p->options->terminal)
		print_hints(p);
	(void)fflush(stdout);
}

/* Waits until the process ends, behind daemon_run too: what it looks at is its own. */
static void *end_at_once(void *arg)
{
	int signal_number;
	sigset_t set;

	(void)arg;
	own_signals(&set);
	for (;;) {
		if (sigwait(&set, &signal_number) == 0 && signal_number != SIGHUP) {
			say(SAY_WARNING, "stopped_at_once",
			    "a second signal ends weir now; what was answered is on disk");
			_exit(1);
		}
	}
	return NULL;
}

static void wait_for_stop(struct parts *p, const sigset_t *set)
{
	int signal_number;

	for (;;) {
		if (sigwait(set, &signal_number))
			continue;
		if (signal_number != SIGHUP)
			break;
		parts_reload(p);
	}
	say(SAY_INFO, "stopping", "draining signal=%s", signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
}

int daemon_run(const struct conf *conf, const struct daemon_options *options)
{
	struct parts *p = mem_aligned(_Alignof(struct parts), sizeof(*p));
	pthread_t watcher;
	sigset_t set;
	int rc;

	if (!p) {
		say(SAY_ERROR, "start_failed", "no memory to start");
		return 1;
	}
	memset(p, 0, sizeof(*p));
	p->conf = conf;
	p->started = conf;
	p->options = options;
	p->sys = sys_kernel();
	block_signals(&set);
	parts_apply_say(p, conf);
	rc = parts_build(p);
	if (rc) {
		(void)parts_tear_down(p);
		mem_free(p);
		return rc;
	}
	print_ready(p);
	say(SAY_INFO, "ready", "serving http=%s kafka=%s data=%s loops=%u", p->http_address,
	    p->kafka ? p->kafka_address : "off", p->conf->data, p->loop_count);
	wait_for_stop(p, &set);
	if (pthread_create(&watcher, NULL, end_at_once, NULL) == 0)
		(void)pthread_detach(watcher);
	parts_drain(p);
	rc = parts_tear_down(p);
	say(SAY_INFO, "stopped", "everything that was answered is on disk");
	mem_free(p);
	return rc;
}
