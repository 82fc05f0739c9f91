/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_FILES_FILES_INNER_H
#define WEIR_CONNECT_FILES_FILES_INNER_H

#include <pthread.h>

#include "connect/files/files_find.h"
#include "connect/files/files_input.h"
#include "connect/text/csv_rows.h"
#include "connect/files/files_split.h"
#include "connect/files/files_watch.h"
#include "connect/source.h"
#include "proto/csv/csv.h"

/*
 * What files.c (the type), files_plan.c (which parts there are), files_reading.c (a file that is open, cut or renamed) and
 * files_pull.c (records of it) share.
 */

enum { FILES_RECORD_MAX = 4 << 20, FILES_PIECE = 256 * 1024 };
enum { FILES_CHECKPOINT_BYTES = 29, FILES_CHECKPOINT_VERSION = 1 };
enum { FILES_IDENTITY_BYTES = FILES_NAME_BYTES + 24 }; /* with @PLACE behind it */
enum { FILES_DRAINED_POLLS = 3 };

enum files_format { FORMAT_AUTO, FORMAT_NDJSON, FORMAT_CSV, FORMAT_JSON, FORMAT_LINES };
enum files_after { AFTER_KEEP, AFTER_MOVE, AFTER_DELETE };

struct files_settings {
	struct conf_list paths;
	int64_t format;
	bool follow, watch;
	int64_t quiet_ms;
	int64_t after;
	const char *move_to;
	const char *key; /* NULL: none */
	struct csv_rows_settings csv;
};

/* A file that is open for a part. */
struct files_reading {
	struct files_reading *next;
	char identity[FILES_IDENTITY_BYTES]; /* the part's name */
	char path[4096];
	enum files_format format;
	struct files_input *input;
	struct files_place place;
	struct buf tail;   /* behind the last record: not whole, or not taken yet */
	bool tail_is_part; /* nothing whole is in it */
	struct csv csv;
	struct csv_rows *rows;
	struct files_watched watched;
	uint64_t cut_bytes; /* its size when the plan was asked for because it was cut; and 1; 0: it was not */
	uint32_t idle_polls, poll; /* polls that found nothing; the last that counted */
};

struct files_named {
	char identity[FILES_IDENTITY_BYTES];
	const char *path;
};

struct files {
	const struct files_settings *settings;
	const struct sys *sys;
	struct source *source;
	bool test;
	/* Of the last plan; only a plan changes them, and it runs alone. */
	struct arena arena;
	struct files_named *named;
	uint32_t named_count;
	uint32_t polls; /* plans that the schedule asked for */
	bool watch_tried;
	struct files_watch *watch; /* NULL: there is none */
	pthread_mutex_t lock;      /* of the list: pulls of several parts open and close at once */
	struct files_reading *open;
};

/* ---- files_plan.c ---- */

/* The parts: struct source_type. */
enum source_end files_plan(void *self, struct source_plan *plan);

/* Where the last plan found the file of this identity; NULL: nowhere. */
const char *files_path_of(const struct files *f, const char *identity);

/* ---- files_reading.c ---- */

void files_save_place(const struct files_place *p, uint64_t file_bytes, uint8_t *out);

/* The beginning, where there is no checkpoint. False: it is of a version that is not known. */
bool files_load_place(const struct source_checkpoint *c, struct files_place *p, uint64_t *file_bytes);

/*
 * part->state is the part's file, open at its checkpoint. 0; 1: there is nothing to read now; ERR_* with *fault.
 */
int files_prepare(struct files *f, struct source_part *part, struct fault *fault);

/*
 * Asked behind each read of a followed file: was what came of the file that the part is? Else it was emptied and written anew
 * past the place that is read, so that its size tells nothing; a plan is asked for, which names it as another.
 */
bool files_is_still(struct files *f, struct files_reading *r);

/* struct source_type. */
void files_drop(void *self, struct source_part *part);

/* ---- files_pull.c ---- */

/* struct source_type. */
enum source_end files_pull(void *self, struct source_part *part, struct source_batch *batch);

#endif
