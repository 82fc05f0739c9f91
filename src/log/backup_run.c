/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backup of a running log: the plan on the maintenance thread, right behind a
 * storage checkpoint, so that neither is under way; the taking on a thread of its
 * own, while l->held keeps every file that this checkpoint names as it is.
 */
#include "log/backup_inner.h"
#include "log/core.h"

#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"

struct log_backup {
	struct log *log;
	pthread_t thread;
	bool thread_runs; /* under l->backup_lock: to be joined */
	_Atomic bool stop;
	struct log_backup_status status; /* under l->backup_lock */
	struct backup backup;
	struct fault fault;
};

static int on_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct log_backup *run = ctx;

	(void)pthread_mutex_lock(&run->log->backup_lock);
	run->status.done = done;
	run->status.total = total;
	(void)pthread_mutex_unlock(&run->log->backup_lock);
	return atomic_load(&run->stop);
}

/* On the maintenance thread. */
static int plan(void *ctx, struct log *l)
{
	struct log_backup *run = ctx;
	int rc = checkpoint_write(l, &run->fault);

	if (rc)
		return rc;
	atomic_store(&l->held, true);
	return backup_plan(&run->backup, atomic_load(&l->durable));
}

static void end_run(struct log_backup *run, int rc)
{
	struct log *l = run->log;

	if (atomic_exchange(&l->held, false))
		atomic_store(&l->let_go, true); /* what waited for it goes with the next checkpoint */
	maintain_wake(l);
	core_say(l, rc ? LOG_ERROR : LOG_INFO, rc ? "backup_failed" : "backup_done",
		 rc ? "%s: %s" : "%s: %s%llu files, %llu bytes, %llu of the files as hard links",
		 run->status.dir, rc ? run->fault.text : "", (unsigned long long)run->backup.result.files,
		 (unsigned long long)run->backup.result.bytes, (unsigned long long)run->backup.result.linked);
	(void)pthread_mutex_lock(&l->backup_lock);
	run->status.state = rc ? LOG_BACKUP_FAILED : LOG_BACKUP_DONE;
	run->status.result = run->backup.result;
	run->status.fault = run->fault;
	run->status.ended_ms = sys_wall_ms(l->sys);
	if (rc == 0)
		run->status.done = run->status.total;
	(void)pthread_mutex_unlock(&l->backup_lock);
}

static void *backup_main(void *arg)
{
	struct log_backup *run = arg;
	struct backup_options options = {.sys = run->log->sys,
					 .data = run->log->dir,
					 .dir = run->status.dir,
					 .on_progress = on_progress,
					 .ctx = run};
	int rc;

	(void)pthread_setname_np(pthread_self(), "weir-backup");
	rc = backup_init(&run->backup, &options, &run->fault);
	if (rc == 0)
		rc = backup_make_target(&run->backup, run->status.dir);
	if (rc == 0)
		rc = maintain_call(run->log, plan, run);
	if (rc == 0)
		rc = backup_take(&run->backup);
	end_run(run, rc);
	backup_fini(&run->backup);
	return NULL;
}

/* Neither is the other, nor in it. */
static int check_dir(const struct log *l, const char *dir, struct fault *fault)
{
	if (dir[0] != '/')
		return fault_set(fault, ERR_BAD_PARAMETER, "dir is %.200s; it must be absolute: /…", dir);
	if (strlen(dir) >= LOG_BACKUP_DIR_BYTES)
		return fault_set(fault, ERR_BAD_PARAMETER, "dir has %zu bytes; at most %u are taken",
				 strlen(dir), LOG_BACKUP_DIR_BYTES - 1);
	for (const char *at = dir; *at; at++)
		if ((unsigned char)*at < 0x20)
			return fault_set(fault, ERR_BAD_PARAMETER, "dir holds a control character");
	if (strncmp(dir, l->dir, strlen(l->dir)) == 0 &&
	    (dir[strlen(l->dir)] == '/' || dir[strlen(l->dir)] == '\0'))
		return fault_set(fault, ERR_BAD_PARAMETER, "dir is within the data directory %s", l->dir);
	return 0;
}

static int begin(struct log *l, const char *dir, struct fault *fault)
{
	struct log_backup *run = l->backup;

	if (run && run->status.state == LOG_BACKUP_RUNNING)
		return fault_set(fault, ERR_BACKUP_RUNNING, "a backup to %s is under way", run->status.dir);
	if (l->backup_stopped || !l->started)
		return fault_set(fault, ERR_SHUTTING_DOWN, "weir is stopping");
	if (run && run->thread_runs)
		(void)pthread_join(run->thread, NULL);
	mem_free(run);
	l->backup = run = mem_zalloc(1, sizeof(*run));
	if (!run)
		return fault_set(fault, ERR_NOMEM, "no memory for a backup");
	run->log = l;
	run->status.state = LOG_BACKUP_RUNNING;
	run->status.began_ms = sys_wall_ms(l->sys);
	(void)snprintf(run->status.dir, sizeof(run->status.dir), "%s", dir);
	run->thread_runs = pthread_create(&run->thread, NULL, backup_main, run) == 0;
	if (run->thread_runs)
		return 0;
	l->backup = NULL;
	mem_free(run);
	return fault_set(fault, ERR_NOMEM, "no thread for a backup");
}

int log_backup_start(struct log *l, const char *dir, struct fault *fault)
{
	int rc = check_dir(l, dir, fault);

	if (rc)
		return rc;
	(void)pthread_mutex_lock(&l->backup_lock);
	rc = begin(l, dir, fault);
	(void)pthread_mutex_unlock(&l->backup_lock);
	return rc;
}

void log_backup_status(struct log *l, struct log_backup_status *out)
{
	(void)pthread_mutex_lock(&l->backup_lock);
	*out = l->backup ? l->backup->status : (struct log_backup_status){.state = LOG_BACKUP_NONE};
	(void)pthread_mutex_unlock(&l->backup_lock);
}

void backup_stop(struct log *l)
{
	struct log_backup *run;

	(void)pthread_mutex_lock(&l->backup_lock);
	l->backup_stopped = true;
	run = l->backup;
	if (run)
		atomic_store(&run->stop, true);
	(void)pthread_mutex_unlock(&l->backup_lock);
	if (run && run->thread_runs)
		(void)pthread_join(run->thread, NULL);
	if (run)
		run->thread_runs = false;
}
