/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that may wait for a disk on behalf of loops, which may not. */
#include "log/core.h"

#define WAITING_MAX 16384u
enum { READ_BATCHES, READ_FIND };

static int submit(struct log *l, struct log_read *r, int kind)
{
	int rc = 0;

	r->kind = kind;
	r->next = NULL;
	(void)pthread_mutex_lock(&l->read_lock);
	if (l->read_stop) {
		rc = ERR_SHUTTING_DOWN;
	} else if (l->read_count >= WAITING_MAX) {
		rc = ERR_OVERLOADED;
	} else {
		if (l->read_last)
			l->read_last->next = r;
		else
			l->read_first = r;
		l->read_last = r;
		l->read_count++;
		(void)pthread_cond_signal(&l->read_cond);
	}
	(void)pthread_mutex_unlock(&l->read_lock);
	return rc;
}

int log_read_start(struct log *l, struct log_read *r)
{
	return submit(l, r, READ_BATCHES);
}

int log_find_start(struct log *l, struct log_read *r)
{
	return submit(l, r, READ_FIND);
}

static struct log_read *take(struct log *l, bool wait)
{
	struct log_read *r;

	(void)pthread_mutex_lock(&l->read_lock);
	while (wait && !l->read_first && !l->read_stop)
		(void)pthread_cond_wait(&l->read_cond, &l->read_lock);
	r = l->read_first;
	if (r) {
		l->read_first = r->next;
		if (!l->read_first)
			l->read_last = NULL;
		l->read_count--;
	}
	(void)pthread_mutex_unlock(&l->read_lock);
	return r;
}

static void run(struct log_read *r)
{
	if (r->kind == READ_FIND)
		r->result = find_run(r);
	else
		r->result = partition_read(r, &r->view);
	port_post_read(r);
}

int reads_step(struct log *l)
{
	struct log_read *r = take(l, false);

	if (r)
		run(r);
	return r != NULL;
}

void *reads_main(void *arg)
{
	struct log *l = arg;
	struct log_read *r;

	(void)pthread_setname_np(pthread_self(), "weir-read");
	while ((r = take(l, true)))
		run(r);
	return NULL;
}
