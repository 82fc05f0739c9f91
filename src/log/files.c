/* SPDX-License-Identifier: Apache-2.0 */
#include "log/files.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"

struct files {
	const struct sys *sys;
	pthread_mutex_t lock;
	struct file_slot idle; /* ring of open, unpinned slots; idle.next is the oldest */
	uint32_t open_count;
	uint32_t open_max;
};

int files_new(const struct sys *sys, uint32_t open_max, struct files **out)
{
	struct files *f = mem_zalloc(1, sizeof(*f));

	if (!f)
		return ERR_NOMEM;
	f->sys = sys;
	f->open_max = open_max;
	f->idle.next = f->idle.prev = &f->idle;
	(void)pthread_mutex_init(&f->lock, NULL);
	*out = f;
	return 0;
}

void files_free(struct files *f)
{
	if (!f)
		return;
	CHECK(f->open_count == 0);
	(void)pthread_mutex_destroy(&f->lock);
	mem_free(f);
}

void file_slot_init(struct file_slot *slot)
{
	*slot = (struct file_slot){.fd = -1};
}

static void take_from_idle(struct file_slot *slot)
{
	slot->prev->next = slot->next;
	slot->next->prev = slot->prev;
	slot->next = slot->prev = NULL;
}

static void close_slot(struct files *f, struct file_slot *slot)
{
	f->sys->ops->close(f->sys->self, slot->fd);
	slot->fd = -1;
	f->open_count--;
}

static void make_room(struct files *f)
{
	while (f->open_count >= f->open_max && f->idle.next != &f->idle) {
		struct file_slot *oldest = f->idle.next;
		take_from_idle(oldest);
		close_slot(f, oldest);
	}
}

static int open_slot(struct files *f, struct file_slot *slot, const char *path, int flags)
{
	int fd;

	make_room(f);
	fd = f->sys->ops->open(f->sys->self, path, flags);
	if (fd < 0)
		return fd;
	slot->fd = fd;
	f->open_count++;
	return fd;
}

int files_pin(struct files *f, struct file_slot *slot, const char *path, int flags)
{
	int fd;

	(void)pthread_mutex_lock(&f->lock);
	fd = slot->fd;
	if (fd < 0)
		fd = path ? open_slot(f, slot, path, flags) : -EAGAIN;
	else if (slot->pins == 0)
		take_from_idle(slot);
	if (fd >= 0)
		slot->pins++;
	(void)pthread_mutex_unlock(&f->lock);
	return fd;
}

int files_pin_open(struct files *f, struct file_slot *slot)
{
	return files_pin(f, slot, NULL, 0);
}

void files_unpin(struct files *f, struct file_slot *slot)
{
	(void)pthread_mutex_lock(&f->lock);
	CHECK(slot->pins > 0);
	if (--slot->pins == 0) {
		slot->prev = f->idle.prev;
		slot->next = &f->idle;
		f->idle.prev->next = slot;
		f->idle.prev = slot;
	}
	(void)pthread_mutex_unlock(&f->lock);
}

void files_forget(struct files *f, struct file_slot *slot)
{
	(void)pthread_mutex_lock(&f->lock);
	CHECK(slot->pins == 0);
	if (slot->fd >= 0) {
		take_from_idle(slot);
		close_slot(f, slot);
	}
	(void)pthread_mutex_unlock(&f->lock);
}

uint32_t files_open_count(struct files *f)
{
	uint32_t count;

	(void)pthread_mutex_lock(&f->lock);
	count = f->open_count;
	(void)pthread_mutex_unlock(&f->lock);
	return count;
}

const struct sys *files_sys(const struct files *f)
{
	return f->sys;
}

/* ---- small files ---- */

static int write_synced(const struct sys *sys, const char *path, struct slice bytes)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes.ptr, .iov_len = bytes.len};
	int fd = sys->ops->open(sys->self, path, SYS_CREATE | SYS_TRUNCATE);
	int rc;

	if (fd < 0)
		return fd;
	rc = sys->ops->pwritev(sys->self, fd, &iov, 1, 0);
	if (rc == 0)
		rc = sys->ops->fsync(sys->self, fd);
	sys->ops->close(sys->self, fd);
	return rc;
}

int files_put(const struct sys *sys, const char *dir, const char *name, struct slice bytes)
{
	char path[512], temporary[520];
	int rc;

	(void)snprintf(path, sizeof(path), "%.440s/%.60s", dir, name);
	(void)snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	rc = write_synced(sys, temporary, bytes);
	if (rc == 0)
		rc = sys->ops->rename(sys->self, temporary, path);
	return rc ? rc : sys->ops->sync_dir(sys->self, dir);
}
