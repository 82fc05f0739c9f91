/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_FILES_FILES_ROWS_H
#define WEIR_CONNECT_FILES_FILES_ROWS_H

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include "proto/csv/csv.h"

/* Rows of CSV to JSON objects: names from the header or the settings, types from the settings or what a field looks like. */

enum files_types { FILES_INFER, FILES_TEXT };

struct files_rows;

/* columns: "NAME:TYPE" each, as the settings have them; borrowed. ERR_NOMEM. Returns owned. */
int files_rows_new(enum files_types types, const struct conf_list *columns, struct files_rows **out);
void files_rows_free(struct files_rows *r);

/* Is "NAME:TYPE" one, with TYPE text, integer, number, boolean or infer? */
bool files_rows_is_column(struct slice text);

/* Names the columns by a header row; count of a row without one: by the settings, else column1 and so on. ERR_NOMEM, ERR_LIMIT. */
int files_rows_name(struct files_rows *r, const struct csv_record *header);
int files_rows_number(struct files_rows *r, uint32_t count);
/* A column of the settings that a header row did not name: the first, null where there is none. Borrowed from the settings. */
struct slice files_rows_missing(const struct files_rows *r);
bool files_rows_named(const struct files_rows *r);

/* Appends a row as an object. 0; ERR_BAD_RECORD with *fault (the row stays out); ERR_NOMEM. */
int files_rows_put(const struct files_rows *r, const struct csv_record *row, struct buf *out,
		   struct fault *fault);

#endif
