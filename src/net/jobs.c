/* SPDX-License-Identifier: Apache-2.0 */
#include "net/jobs.h"

#include <pthread.h>

#include "base/mem.h"

#define WAITING_MAX 16384u
#define THREADS_MAX 16u

struct job {
	struct loop_msg msg;
	struct job *next;
	struct loop *loop;
	void (*run)(void *arg);
	void (*done)(void *arg);
	void *arg;
};

struct jobs {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct job *first, **end;
	uint32_t waiting;
	bool stop;
	pthread_t threads[THREADS_MAX];
	uint32_t thread_count;
};

static void on_loop(struct loop *loop, struct loop_msg *msg)
{
	struct job *job = (struct job *)msg;

	(void)loop;
	job->done(job->arg);
	mem_free(job);
}

static struct job *take(struct jobs *j)
{
	struct job *job;

	(void)pthread_mutex_lock(&j->lock);
	while (!j->first && !j->stop)
		(void)pthread_cond_wait(&j->cond, &j->lock);
	job = j->first;
	if (job) {
		j->first = job->next;
		if (!j->first)
			j->end = &j->first;
		j->waiting--;
	}
	(void)pthread_mutex_unlock(&j->lock);
	return job;
}

static void *work(void *arg)
{
	struct jobs *j = arg;
	struct job *job;

	(void)pthread_setname_np(pthread_self(), "weir-job");
	while ((job = take(j))) {
		job->run(job->arg);
		job->msg.run = on_loop;
		loop_post(job->loop, &job->msg);
	}
	return NULL;
}

int jobs_new(uint32_t threads, struct jobs **out)
{
	struct jobs *j = mem_zalloc(1, sizeof(*j));

	if (!j)
		return ERR_NOMEM;
	(void)pthread_mutex_init(&j->lock, NULL);
	(void)pthread_cond_init(&j->cond, NULL);
	j->end = &j->first;
	for (uint32_t i = 0; i < threads && i < THREADS_MAX; i++) {
		if (pthread_create(&j->threads[i], NULL, work, j)) {
			jobs_free(j);
			return ERR_NOMEM;
		}
		j->thread_count++;
	}
	*out = j;
	return 0;
}

void jobs_free(struct jobs *j)
{
	(void)pthread_mutex_lock(&j->lock);
	j->stop = true;
	(void)pthread_cond_broadcast(&j->cond);
	(void)pthread_mutex_unlock(&j->lock);
	for (uint32_t i = 0; i < j->thread_count; i++)
		(void)pthread_join(j->threads[i], NULL);
	(void)pthread_mutex_destroy(&j->lock);
	(void)pthread_cond_destroy(&j->cond);
	mem_free(j);
}

int jobs_ask(struct jobs *j, struct loop *loop, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
	struct job *job = mem_alloc(sizeof(*job));
	bool full;

	if (!job)
		return ERR_NOMEM;
	*job = (struct job){.loop = loop, .run = run, .done = done, .arg = arg};
	(void)pthread_mutex_lock(&j->lock);
	full = j->stop || j->waiting >= WAITING_MAX;
	if (!full) {
		*j->end = job;
		j->end = &job->next;
		j->waiting++;
		(void)pthread_cond_signal(&j->cond);
	}
	(void)pthread_mutex_unlock(&j->lock);
	if (full)
		mem_free(job);
	return full ? ERR_OVERLOADED : 0;
}
