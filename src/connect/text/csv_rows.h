/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_TEXT_CSV_ROWS_H
#define WEIR_CONNECT_TEXT_CSV_ROWS_H

#include "base/buf.h"
#include "base/err.h"
#include "conf/setting.h"
#include "proto/csv/csv.h"

/* Rows of CSV to JSON objects: names from the header or the settings, types from the settings or what a field looks like. */

enum csv_types { CSV_INFER, CSV_TEXT };

/* What sources of every type that reads CSV are told, by the rows of CSV_ROWS_SETTINGS. */
struct csv_rows_settings {
	const char *delimiter;
	bool header;
	int64_t types; /* enum csv_types */
	struct conf_list columns;
};

extern const char *const csv_rows_types[]; /* ended by NULL */
bool csv_rows_is_delimiter(struct slice text);

/* Rows of a type's table: `member` of `type` is a struct csv_rows_settings. */
#define CSV_ROWS_SETTINGS(type_, member)                                                                                                                                                                                             \
	{"csv.delimiter",                                                                                                                                                                                                            \
	 ",",                                                                                                                                                                                                                        \
	 "Byte between the fields of a row.",                                                                                                                                                                                        \
	 .type = SETTING_STRING,                                                                                                                                                                                                     \
	 .min = 1,                                                                                                                                                                                                                   \
	 .max = 1,                                                                                                                                                                                                                   \
	 .shape = csv_rows_is_delimiter,                                                                                                                                                                                             \
	 .shape_text = "one byte, such as , or ;",                                                                                                                                                                                   \
	 SETTING_MEMBER(type_, member.delimiter)},                                                                                                                                                                                   \
		{"csv.header", "true", "Whether the first row names the columns.", .type = SETTING_BOOL,                                                                                                                             \
		 SETTING_MEMBER(type_, member.header)},                                                                                                                                                                              \
		{"csv.types",                                                                                                                                                                                                        \
		 "infer",                                                                                                                                                                                                            \
		 "How fields of columns that are not in csv.columns become JSON: infer takes numbers as JSON writes them, true, false and nothing (null) for what they are; text takes all as text. What stands in quotes is text.", \
		 .type = SETTING_ENUM,                                                                                                                                                                                               \
		 .names = csv_rows_types,                                                                                                                                                                                            \
		 SETTING_MEMBER(type_, member.types)},                                                                                                                                                                               \
	{                                                                                                                                                                                                                            \
		"csv.columns", NULL,                                                                                                                                                                                                 \
			"Types of columns, NAME:TYPE each, of text, integer, number, boolean or infer; without a header also their names, in order. A field that does not fit makes its row a dead letter.",                         \
			.type = SETTING_LIST, .min = 3, .max = 300, .shape = csv_rows_is_column,                                                                                                                                     \
			.shape_text = "NAME:TYPE, such as price:number",                                                                                                                                                             \
			SETTING_MEMBER(type_, member.columns)                                                                                                                                                                        \
	}

struct csv_rows;

/* The settings are borrowed. ERR_NOMEM. Returns owned. */
int csv_rows_new(const struct csv_rows_settings *settings, struct csv_rows **out);
void csv_rows_free(struct csv_rows *r);

/* Is "NAME:TYPE" one, with TYPE text, integer, number, boolean or infer? */
bool csv_rows_is_column(struct slice text);

/* Names the columns by a header row; count of a row without one: by the settings, else column1 and so on. ERR_NOMEM, ERR_LIMIT. */
int csv_rows_name(struct csv_rows *r, const struct csv_record *header);
int csv_rows_number(struct csv_rows *r, uint32_t count);
/*
 * What is odd about a header row, as a sentence whose subject ("a.csv", "the answer") is the caller's; NULL where nothing is. In
 * out, of CSV_ROWS_DOUBT_BYTES.
 */
#define CSV_ROWS_DOUBT_BYTES 480u
const char *csv_rows_doubt(const struct csv_rows *r, char *out);
bool csv_rows_named(const struct csv_rows *r);

/* Appends a row as an object. 0; ERR_BAD_RECORD with *fault (the row stays out); ERR_NOMEM. */
int csv_rows_put(const struct csv_rows *r, const struct csv_record *row, struct buf *out,
		 struct fault *fault);

#endif
