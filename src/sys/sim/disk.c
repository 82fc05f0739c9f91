/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each file has its pages twice: as programs see them and as the disk holds
 * them. They share memory until a write makes them differ. A sync makes the disk's
 * the same; a cut makes the programs' the same, after deciding page by page what
 * had got to the disk: all of it, none, the first bytes, or some sectors.
 *
 * Names are the same twice, with the changes between in order. A change is
 * durable when its directory was synced, whatever was synced of the file: that is
 * stricter than file systems usually are, and what POSIX promises. At a cut each
 * change that waits is applied or not; a rename is one change, so that it never
 * leaves both names or none.
 *
 * Rejected: a list of writes to choose from at a cut. Pages that drift to the
 * disk between writes give the same states, and nothing grows.
 */
#include "sys/sim/disk.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

/* ---- pages ---- */

static uint8_t *page_at(const struct disk *d, uint32_t page)
{
	return d->pages + (size_t)page * DISK_PAGE;
}

/* 0 where there is none. */
static uint32_t take_page(struct disk *d)
{
	uint32_t page;

	if (d->free_count == 0)
		return 0;
	page = d->page_free[--d->free_count];
	d->page_refs[page] = 1;
	return page;
}

static void drop_page(struct disk *d, uint32_t page)
{
	if (page && --d->page_refs[page] == 0)
		d->page_free[d->free_count++] = page;
}

static void set_durable(struct disk *d, struct disk_slot *s, uint32_t page)
{
	if (page)
		d->page_refs[page]++;
	drop_page(d, s->durable);
	s->durable = page;
}

static void set_live(struct disk *d, struct disk_slot *s, uint32_t page)
{
	if (page)
		d->page_refs[page]++;
	drop_page(d, s->live);
	s->live = page;
}

/* A page that nobody else sees, to be written to; 0 where the memory is at its end. */
static uint32_t own_page(struct disk *d, struct disk_slot *s)
{
	uint32_t page;

	if (s->live && d->page_refs[s->live] == 1)
		return s->live;
	page = take_page(d);
	if (!page)
		return 0;
	if (s->live)
		memcpy(page_at(d, page), page_at(d, s->live), DISK_PAGE);
	else
		memset(page_at(d, page), 0, DISK_PAGE);
	drop_page(d, s->live);
	s->live = page;
	return page;
}

uint64_t disk_used(const struct disk *d)
{
	return (uint64_t)(d->pages_max - 1 - d->free_count) * DISK_PAGE;
}

static void note_slots(struct disk_file *f, uint32_t count)
{
	if (count > f->slots)
		f->slots = count;
}

/* ---- files ---- */

static void free_file(struct disk *d, uint32_t file)
{
	struct disk_file *f = &d->files[file];

	for (uint32_t i = 0; i < f->slots; i++) {
		drop_page(d, f->slot[i].live);
		drop_page(d, f->slot[i].durable);
		f->slot[i] = (struct disk_slot){0};
	}
	*f = (struct disk_file){.slot = f->slot};
}

void disk_ref(struct disk *d, uint32_t file)
{
	d->files[file].refs++;
}

void disk_unref(struct disk *d, uint32_t file)
{
	CHECK(d->files[file].refs > 0);
	if (--d->files[file].refs == 0)
		free_file(d, file);
}

static int new_file(struct disk *d, bool is_dir)
{
	for (uint32_t i = DISK_ROOT; i < d->files_max; i++) {
		if (d->files[i].used)
			continue;
		d->files[i].used = true;
		d->files[i].is_dir = is_dir;
		return (int)i;
	}
	return -ENOSPC;
}

size_t disk_read(const struct disk *d, uint32_t file, void *bytes, size_t n, uint64_t at)
{
	const struct disk_file *f = &d->files[file];
	size_t done = 0;

	if (at >= f->live_bytes)
		return 0;
	if (n > f->live_bytes - at)
		n = (size_t)(f->live_bytes - at);
	while (done < n) {
		uint64_t where = at + done;
		size_t in = (size_t)(where % DISK_PAGE);
		size_t some = DISK_PAGE - in < n - done ? DISK_PAGE - in : n - done;
		uint32_t page = f->slot[where / DISK_PAGE].live;

		if (page)
			memcpy((uint8_t *)bytes + done, page_at(d, page) + in, some);
		else
			memset((uint8_t *)bytes + done, 0, some);
		done += some;
	}
	return n;
}

int disk_write(struct disk *d, uint32_t file, const void *bytes, size_t n, uint64_t at, size_t *done)
{
	struct disk_file *f = &d->files[file];

	*done = 0;
	if (at + n > (uint64_t)d->file_pages_max * DISK_PAGE)
		return -EFBIG;
	while (*done < n) {
		uint64_t where = at + *done;
		size_t in = (size_t)(where % DISK_PAGE);
		size_t some = DISK_PAGE - in < n - *done ? DISK_PAGE - in : n - *done;
		struct disk_slot *s = &f->slot[where / DISK_PAGE];
		uint32_t page;

		if (!s->live && disk_used(d) >= d->bytes_max)
			return -ENOSPC;
		page = own_page(d, s);
		if (!page)
			return -ENOSPC;
		memcpy(page_at(d, page) + in, (const uint8_t *)bytes + *done, some);
		s->dirty = true;
		note_slots(f, (uint32_t)(where / DISK_PAGE) + 1);
		*done += some;
		if (where + some > f->live_bytes) {
			f->live_bytes = where + some;
			f->size_dirty = true;
		}
	}
	return 0;
}

int disk_resize(struct disk *d, uint32_t file, uint64_t bytes)
{
	struct disk_file *f = &d->files[file];
	uint32_t first = (uint32_t)((bytes + DISK_PAGE - 1) / DISK_PAGE);
	size_t in = (size_t)(bytes % DISK_PAGE);

	if (bytes > (uint64_t)d->file_pages_max * DISK_PAGE)
		return -EFBIG;
	if (bytes < f->live_bytes && in && f->slot[first - 1].live) {
		uint32_t page = own_page(d, &f->slot[first - 1]);
		if (!page)
			return -ENOSPC;
		memset(page_at(d, page) + in, 0, DISK_PAGE - in);
		f->slot[first - 1].dirty = true;
	}
	for (uint32_t i = first; i < f->slots; i++) {
		if (f->slot[i].live || f->slot[i].durable)
			f->slot[i].dirty = true;
		set_live(d, &f->slot[i], 0);
	}
	f->live_bytes = bytes;
	f->size_dirty = true;
	return 0;
}

static void flip_in(struct disk *d, uint32_t page, uint64_t bit)
{
	if (page)
		page_at(d, page)[bit / 8 % DISK_PAGE] ^= (uint8_t)(1u << bit % 8);
}

int disk_flip(struct disk *d, uint32_t file, uint64_t bit)
{
	struct disk_file *f = &d->files[file];
	struct disk_slot *s;

	if (bit / 8 >= f->live_bytes)
		return -EINVAL;
	s = &f->slot[bit / 8 / DISK_PAGE];
	flip_in(d, s->live, bit);
	if (s->durable != s->live)
		flip_in(d, s->durable, bit);
	return 0;
}

/* ---- names ---- */

static void copy_name(char *to, const char *from)
{
	size_t n = strlen(from);

	CHECK(n <= DISK_NAME_MAX);
	memcpy(to, from, n + 1);
}

static uint32_t hash_text(const char *text)
{
	uint32_t h = 2166136261u;

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 16777619u;
	return h;
}

static int find_row(const struct disk_names *names, uint32_t dir, const char *text)
{
	uint32_t hash = hash_text(text);

	for (uint32_t i = 0; i < names->count; i++)
		if (names->row[i].hash == hash && names->row[i].dir == dir &&
		    strcmp(names->row[i].text, text) == 0)
			return (int)i;
	return -ENOENT;
}

static void remove_row(struct disk *d, struct disk_names *names, uint32_t row)
{
	uint32_t file = names->row[row].file, dir = names->row[row].dir;

	names->count--;
	memmove(&names->row[row], &names->row[row + 1], (names->count - row) * sizeof(names->row[0]));
	disk_unref(d, file);
	disk_unref(d, dir); /* a directory that went stays itself while names in it are durable */
}

/* Takes the place of a row of that name. */
static void put_row(struct disk *d, struct disk_names *names, uint32_t dir, const char *text, uint32_t file)
{
	int had = find_row(names, dir, text);
	struct disk_name *row;

	disk_ref(d, file);
	disk_ref(d, dir);
	if (had >= 0)
		remove_row(d, names, (uint32_t)had);
	CHECK(names->count < names->cap);
	row = &names->row[names->count++];
	row->dir = dir;
	row->file = file;
	row->hash = hash_text(text);
	copy_name(row->text, text);
}

/* A change reaches a table of names; one that finds nothing to change does nothing. */
static bool apply_change(struct disk *d, struct disk_names *names, const struct disk_change *c)
{
	int row;

	if (c->kind == DISK_LINK) {
		put_row(d, names, c->dir, c->text, c->file);
		return true;
	}
	row = find_row(names, c->dir, c->text);
	if (row < 0 || names->row[row].file != c->file)
		return false;
	if (c->kind == DISK_RENAME) {
		put_row(d, names, c->to_dir, c->to, c->file);
		row = find_row(names, c->dir, c->text);
	}
	remove_row(d, names, (uint32_t)row);
	return true;
}

static void remove_change(struct disk *d, uint32_t i)
{
	uint32_t file = d->changes[i].file;

	d->change_count--;
	memmove(&d->changes[i], &d->changes[i + 1], (d->change_count - i) * sizeof(d->changes[0]));
	disk_unref(d, file);
}

static void make_first_durable(struct disk *d)
{
	(void)apply_change(d, &d->durable, &d->changes[0]);
	remove_change(d, 0);
}

/* A rename between two directories takes all that came before it along: nothing here moves files that way. */
static void make_durable(struct disk *d, uint32_t i)
{
	bool between = d->changes[i].kind == DISK_RENAME && d->changes[i].dir != d->changes[i].to_dir;

	for (; between && i; i--)
		make_first_durable(d);
	(void)apply_change(d, &d->durable, &d->changes[i]);
	remove_change(d, i);
}

static void change_names(struct disk *d, const struct disk_change *c)
{
	if (d->change_count == d->change_cap)
		make_durable(d, 0);
	disk_ref(d, c->file);
	d->changes[d->change_count++] = *c;
	(void)apply_change(d, &d->live, c);
}

static int check_name(const char *name)
{
	if (*name == '\0')
		return -EINVAL;
	return strlen(name) > DISK_NAME_MAX ? -ENAMETOOLONG : 0;
}

int disk_create(struct disk *d, uint32_t dir, const char *name, bool is_dir)
{
	struct disk_change c = {.kind = DISK_LINK, .dir = dir};
	int file, rc = check_name(name);

	if (rc)
		return rc;
	if (d->live.count == d->live.cap)
		return -ENOSPC;
	file = new_file(d, is_dir);
	if (file < 0)
		return file;
	c.file = (uint32_t)file;
	copy_name(c.text, name);
	change_names(d, &c);
	return file;
}

int disk_unlink(struct disk *d, uint32_t dir, const char *name)
{
	struct disk_change c = {.kind = DISK_UNLINK, .dir = dir};
	int row = find_row(&d->live, dir, name);

	if (row < 0)
		return row;
	c.file = d->live.row[row].file;
	copy_name(c.text, name);
	change_names(d, &c);
	return 0;
}

int disk_rename(struct disk *d, uint32_t dir, const char *name, uint32_t to_dir, const char *to)
{
	struct disk_change c = {.kind = DISK_RENAME, .dir = dir, .to_dir = to_dir};
	int row = find_row(&d->live, dir, name);
	int rc = check_name(to);

	if (row < 0 || rc)
		return row < 0 ? row : rc;
	if (dir == to_dir && strcmp(name, to) == 0)
		return 0;
	c.file = d->live.row[row].file;
	copy_name(c.text, name);
	copy_name(c.to, to);
	change_names(d, &c);
	return 0;
}

bool disk_is_empty(const struct disk *d, uint32_t dir)
{
	for (uint32_t i = 0; i < d->live.count; i++)
		if (d->live.row[i].dir == dir)
			return false;
	return true;
}

/* The next part of a path into `part`; false at the end. */
static bool next_part(const char **path, char *part)
{
	size_t n = 0;

	while (**path == '/')
		(*path)++;
	while ((*path)[n] && (*path)[n] != '/')
		n++;
	if (n == 0 || n > DISK_NAME_MAX)
		return false;
	memcpy(part, *path, n);
	part[n] = '\0';
	*path += n;
	return true;
}

int disk_find(const struct disk *d, const char *path)
{
	char part[DISK_NAME_MAX + 1];
	uint32_t at = DISK_ROOT;

	while (next_part(&path, part)) {
		int row;
		if (!d->files[at].is_dir)
			return -ENOTDIR;
		if (strcmp(part, ".") == 0)
			continue;
		row = find_row(&d->live, at, part);
		if (row < 0)
			return row;
		at = d->live.row[row].file;
	}
	return *path ? -ENAMETOOLONG : (int)at;
}

int disk_parent(const struct disk *d, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char parent[512];
	size_t n = slash ? (size_t)(slash - path) : 0;
	int dir;

	if (n >= sizeof(parent))
		return -ENAMETOOLONG;
	memcpy(parent, path, n);
	parent[n] = '\0';
	*name = slash ? slash + 1 : path;
	dir = disk_find(d, parent);
	return dir < 0 || d->files[dir].is_dir ? dir : -ENOTDIR;
}

/* ---- syncing ---- */

static void sync_slot(struct disk *d, struct disk_slot *s)
{
	set_durable(d, s, s->live);
	s->dirty = false;
}

static void sync_size(struct disk_file *f)
{
	f->durable_bytes = f->live_bytes;
	f->size_dirty = false;
}

void disk_sync(struct disk *d, uint32_t file)
{
	struct disk_file *f = &d->files[file];

	for (uint32_t i = 0; i < f->slots; i++)
		if (f->slot[i].dirty)
			sync_slot(d, &f->slot[i]);
	if (f->size_dirty)
		sync_size(f);
}

void disk_sync_in_part(struct disk *d, uint32_t file)
{
	struct disk_file *f = &d->files[file];

	for (uint32_t i = 0; i < f->slots; i++) {
		if (!f->slot[i].dirty)
			continue;
		if (rand_below(d->rand, 2))
			sync_slot(d, &f->slot[i]);
		f->slot[i].dirty = false;
	}
	if (f->size_dirty && rand_below(d->rand, 2))
		sync_size(f);
}

void disk_sync_dir(struct disk *d, uint32_t dir)
{
	for (uint32_t i = 0; i < d->change_count;) {
		const struct disk_change *c = &d->changes[i];
		bool here = c->dir == dir || (c->kind == DISK_RENAME && c->to_dir == dir);
		if (here) {
			make_durable(d, i);
			i = 0; /* others may have gone with it */
		} else {
			i++;
		}
	}
}

void disk_sync_all(struct disk *d)
{
	while (d->change_count)
		make_durable(d, 0);
	for (uint32_t i = DISK_ROOT; i < d->files_max; i++)
		if (d->files[i].used)
			disk_sync(d, i);
}

void disk_drift(struct disk *d)
{
	uint32_t file;

	if (d->change_count && rand_below(d->rand, 4) == 0) {
		make_durable(d, 0);
		return;
	}
	file = (uint32_t)rand_below(d->rand, d->files_max);
	for (uint32_t i = 0; i < d->files_max; i++, file = (file + 1) % d->files_max) {
		struct disk_file *f = &d->files[file];
		uint32_t slot;
		if (!f->used || f->slots == 0)
			continue;
		slot = (uint32_t)rand_below(d->rand, f->slots);
		if (f->slot[slot].dirty)
			sync_slot(d, &f->slot[slot]);
		if (f->size_dirty && f->live_bytes >= f->durable_bytes)
			sync_size(f);
		return;
	}
}

/* ---- power ---- */

/* Part of the new page stands over the old one: its first bytes, or some of its sectors. */
static void tear_page(struct disk *d, struct disk_slot *s)
{
	uint32_t page = take_page(d);
	uint64_t sectors = rand_next(d->rand);
	size_t bytes = (size_t)rand_below(d->rand, DISK_PAGE);
	bool by_bytes = rand_below(d->rand, 2) == 0;
	uint8_t *to;

	if (!page)
		return;
	to = page_at(d, page);
	if (s->durable)
		memcpy(to, page_at(d, s->durable), DISK_PAGE);
	else
		memset(to, 0, DISK_PAGE);
	for (size_t at = 0; at < DISK_PAGE; at += DISK_SECTOR) {
		size_t n = by_bytes ? (bytes < DISK_SECTOR ? bytes : DISK_SECTOR) :
				      (sectors >> at / DISK_SECTOR & 1) * DISK_SECTOR;
		if (n && s->live)
			memcpy(to + at, page_at(d, s->live) + at, n);
		else if (n)
			memset(to + at, 0, n);
		bytes -= by_bytes ? n : 0;
	}
	drop_page(d, s->durable);
	s->durable = page;
	d->stats->pages_torn++;
}

/* `behind`: it was cut off by a truncation, which is a matter of the length alone. */
static void cut_slot(struct disk *d, struct disk_slot *s, bool behind, enum sim_cut how)
{
	uint64_t fate = how == SIM_CUT_CHANCE ? rand_below(d->rand, 4) : 1;

	if (behind)
		fate = 1;
	if (s->dirty && fate == 0)
		sync_slot(d, s);
	else if (s->dirty && fate == 2)
		tear_page(d, s);
	if (fate == 0)
		d->stats->pages_kept++;
	else if (fate != 2)
		d->stats->pages_lost++;
	set_live(d, s, s->durable);
}

/* The new length, the old one, or, of a file that grew, one between. */
static void cut_size(struct disk *d, struct disk_file *f, enum sim_cut how)
{
	uint64_t fate = how == SIM_CUT_CHANCE ? rand_below(d->rand, 3) : 1;

	if (fate == 0)
		f->durable_bytes = f->live_bytes;
	else if (fate == 2 && f->live_bytes > f->durable_bytes)
		f->durable_bytes += rand_below(d->rand, f->live_bytes - f->durable_bytes);
	f->size_dirty = false;
}

/* What stands behind the end of a file is not there. */
static void clip(struct disk *d, uint32_t file)
{
	struct disk_file *f = &d->files[file];
	uint32_t first = (uint32_t)((f->durable_bytes + DISK_PAGE - 1) / DISK_PAGE);

	for (uint32_t i = first; i < f->slots; i++)
		set_durable(d, &f->slot[i], 0);
	f->live_bytes = f->durable_bytes;
	for (uint32_t i = 0; i < f->slots; i++)
		set_live(d, &f->slot[i], f->slot[i].durable);
	if (f->durable_bytes % DISK_PAGE && f->slot[first - 1].live) {
		size_t in = (size_t)(f->durable_bytes % DISK_PAGE);
		uint32_t page = own_page(d, &f->slot[first - 1]);
		if (page) {
			memset(page_at(d, page) + in, 0, DISK_PAGE - in);
			set_durable(d, &f->slot[first - 1], page);
		}
	}
	f->slots = first;
}

static void cut_file(struct disk *d, uint32_t file, enum sim_cut how)
{
	struct disk_file *f = &d->files[file];

	for (uint32_t i = 0; i < f->slots; i++) {
		if (f->slot[i].live != f->slot[i].durable)
			cut_slot(d, &f->slot[i], (uint64_t)i * DISK_PAGE >= f->live_bytes, how);
		f->slot[i].dirty = false;
	}
	if (f->size_dirty)
		cut_size(d, f, how);
	clip(d, file);
}

/* Each change that waits is applied or not; or the first so many are, as a journal of names would have it. */
static void cut_names(struct disk *d, enum sim_cut how)
{
	bool in_order = rand_below(d->rand, 2) == 0;
	uint64_t first = rand_below(d->rand, d->change_count + 1);

	for (uint64_t i = 0; d->change_count; i++) {
		bool keep = false;
		if (how == SIM_CUT_CHANCE)
			keep = in_order ? i < first : rand_below(d->rand, 2) == 0;
		if (keep && apply_change(d, &d->durable, &d->changes[0]))
			d->stats->names_kept++;
		else
			d->stats->names_lost++;
		remove_change(d, 0);
	}
}

/* A name whose directory is not there is not there either. */
static void drop_lost(struct disk *d)
{
	bool again = true;

	while (again) {
		again = false;
		for (uint32_t i = 0; i < d->durable.count; i++) {
			uint32_t dir = d->durable.row[i].dir;
			bool found = dir == DISK_ROOT;
			for (uint32_t k = 0; k < d->durable.count && !found; k++)
				found = d->durable.row[k].file == dir;
			if (!found) {
				remove_row(d, &d->durable, i--);
				again = true;
			}
		}
	}
}

void disk_cut(struct disk *d, enum sim_cut how)
{
	if (how == SIM_CUT_KEEP)
		return;
	cut_names(d, how);
	drop_lost(d);
	while (d->live.count)
		remove_row(d, &d->live, d->live.count - 1);
	for (uint32_t i = 0; i < d->durable.count; i++)
		put_row(d, &d->live, d->durable.row[i].dir, d->durable.row[i].text, d->durable.row[i].file);
	for (uint32_t i = DISK_ROOT + 1; i < d->files_max; i++)
		if (d->files[i].used && !d->files[i].is_dir)
			cut_file(d, i, how);
}

/* ---- the whole ---- */

static void add_root(struct disk *d)
{
	d->files[DISK_ROOT].used = d->files[DISK_ROOT].is_dir = true;
	d->files[DISK_ROOT].refs = 1;
}

int disk_init(struct disk *d, const struct sim_options *options, struct rand *rand, struct sim_stats *stats)
{
	*d = (struct disk){.rand = rand, .stats = stats};
	d->pages_max = options->pages_max ? options->pages_max : 8192;
	d->files_max = options->files_max ? options->files_max : 512;
	d->file_pages_max = options->file_pages_max ? options->file_pages_max : 512;
	d->live.cap = d->durable.cap = 2 * d->files_max; /* names that went and came stand side by side */
	d->change_cap = d->files_max;
	d->pages = mem_alloc((size_t)d->pages_max * DISK_PAGE);
	d->page_refs = mem_zalloc(d->pages_max, 1);
	d->page_free = mem_alloc(d->pages_max * sizeof(*d->page_free));
	d->files = mem_zalloc(d->files_max, sizeof(*d->files));
	d->slots = mem_zalloc((size_t)d->files_max * d->file_pages_max, sizeof(*d->slots));
	d->live.row = mem_zalloc(d->live.cap, sizeof(*d->live.row));
	d->durable.row = mem_zalloc(d->durable.cap, sizeof(*d->durable.row));
	d->changes = mem_zalloc(d->change_cap, sizeof(*d->changes));
	if (!d->pages || !d->page_refs || !d->page_free || !d->files || !d->slots || !d->live.row ||
	    !d->durable.row || !d->changes) {
		disk_fini(d);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < d->files_max; i++)
		d->files[i].slot = d->slots + (size_t)i * d->file_pages_max;
	for (uint32_t i = d->pages_max - 1; i > 0; i--)
		d->page_free[d->free_count++] = i;
	d->bytes_max = 1u << 30;
	add_root(d);
	return 0;
}

void disk_fini(struct disk *d)
{
	mem_free(d->pages);
	mem_free(d->page_refs);
	mem_free(d->page_free);
	mem_free(d->files);
	mem_free(d->slots);
	mem_free(d->live.row);
	mem_free(d->durable.row);
	mem_free(d->changes);
}

void disk_reset(struct disk *d)
{
	d->live.count = d->durable.count = d->change_count = 0;
	for (uint32_t i = DISK_ROOT; i < d->files_max; i++)
		if (d->files[i].used)
			free_file(d, i);
	/* Pages in the order of a new disk, so that nothing hangs on what was before. */
	d->free_count = 0;
	for (uint32_t i = d->pages_max - 1; i > 0; i--)
		d->page_free[d->free_count++] = i;
	d->bytes_max = 1u << 30;
	add_root(d);
}
