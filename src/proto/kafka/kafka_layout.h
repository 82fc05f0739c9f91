/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_KAFKA_KAFKA_LAYOUT_H
#define WEIR_PROTO_KAFKA_KAFKA_LAYOUT_H

#include "base/arena.h"
#include "base/buf.h"

/*
 * What a part of a Kafka message looks like, in C and on the wire, and the
 * interpreter that reads and writes it in any of its versions. The layouts
 * themselves are generated from the rows of kafka_*.def (kafka_message.h).
 *
 * Sources: Apache Kafka's protocol guide; KIP-482 for flexible versions: compact
 * lengths (an unsigned varint, one more than the length, 0 for null) and tags.
 */
enum kafka_kind {
	KAFKA_BOOL,    /* bool */
	KAFKA_INT8,    /* int8_t */
	KAFKA_INT16,   /* int16_t */
	KAFKA_INT32,   /* int32_t */
	KAFKA_INT64,   /* int64_t */
	KAFKA_FLOAT64, /* double */
	KAFKA_UUID,    /* struct kafka_uuid */
	KAFKA_TEXT,    /* struct slice, of at most INT16_MAX bytes; not looked at, whether it is UTF-8 */
	KAFKA_BYTES,   /* struct slice */
	KAFKA_RECORDS, /* struct kafka_records */
	KAFKA_LIST,    /* const item *name and size_t name_count, of one of the above */
	KAFKA_ARRAY,   /* const struct x *name and size_t name_count */
	KAFKA_PART,    /* const struct x *name: a tagged struct, NULL where it is not there */
};

struct kafka_uuid {
	uint8_t bytes[16];
};

/*
 * Record batches, one behind the other. What is read is always a view of the
 * frame. What is written may be a reference: then `source` says to the sender
 * what the bytes are (blobs, a range of a file), len is their sum and ptr is not
 * looked at. ptr and source both NULL: null records.
 */
struct kafka_records {
	const uint8_t *ptr;
	size_t len;
	const void *source;
};

#define KAFKA_VERSION_LAST 127 /* of a field that no later version drops */

/* One field: a row of a .def file. Version v has it where from <= v <= to. */
struct kafka_field {
	const char *name;
	const struct kafka_layout *of; /* KAFKA_ARRAY, KAFKA_PART */
	uint16_t offset;               /* in the struct; the count of a list stands behind its pointer */
	uint8_t kind;
	uint8_t item; /* KAFKA_LIST: what it is a list of */
	int8_t from;
	int8_t to;
	int8_t nullable; /* 1 + the first version in which it may be null; 0: never */
	int8_t tag;      /* 1 + its tag; 0: it stands in line */
	bool null;       /* texts: the default is null, not empty */
	int32_t value;   /* numbers: the default */
};

struct kafka_layout {
	const char *name;
	const struct kafka_field *fields; /* in the order of the wire, tagged ones in the order of their tags */
	uint16_t fields_count;
	uint16_t bytes; /* of the struct */
};

/* How one message is written: the version of its API, and whether that one is flexible. */
struct kafka_format {
	int16_t version;
	bool flexible;
};

/*
 * Reads `bytes` into *out, a struct of that layout; what is left over behind it is
 * passed over, as Kafka does (librdkafka 2.16 sends such: kafka.md). Texts, bytes and
 * records are views of `bytes`; arrays and parts are in the arena, where they
 * are as long as the count that was read, which is compared with the bytes left
 * before memory is taken. A null text, list or array has a NULL pointer, an empty
 * one has not. A field that the version lacks gets its default. Unknown tags are
 * stepped over.
 *
 * 0; ERR_MALFORMED: cut short, a length or count that cannot be,
 * null where the version has none, tags out of order; ERR_LIMIT: the arena's
 * bound; ERR_NOMEM. After an error *out is not to be used.
 */
int kafka_layout_read(const struct kafka_layout *layout, struct kafka_format format, struct slice bytes,
		      struct arena *arena, void *out);

/*
 * Sets every field of `count` structs that lie one behind the other to its
 * default: 0, false, empty, and where Kafka says so another (-1 for unknown, null).
 */
void kafka_layout_default(const struct kafka_layout *layout, void *items, size_t count);

/* An array of `count` structs in the arena, each field its default; NULL without room, never for a count of 0. */
void *kafka_layout_array(const struct kafka_layout *layout, struct arena *arena, size_t count);

/* Where records belong that were not copied: before byte `at` of the buffer. Borrows the struct written. */
struct kafka_cut {
	size_t at;
	const struct kafka_records *records;
};

/* The caller's list of cuts, filled from `count` on. */
struct kafka_cuts {
	struct kafka_cut *list;
	size_t count;
	size_t count_max;
	size_t bytes; /* of all records in the list */
};

/*
 * Appends the struct. Fields that the version lacks are left out, whatever they
 * hold; a NULL pointer is null where the version has null and empty elsewhere;
 * a tagged field is written where it is not its default.
 *
 * Without `cuts` records are copied, and a reference among them is a programmer's
 * error (CHECKed). With it, their length is written and they are added to the
 * list instead; empty and null ones are not.
 *
 * 0; ERR_LIMIT: the buffer's bound, a text over INT16_MAX, another length over
 * INT32_MAX, or a full list of cuts; ERR_NOMEM. After an error, bytes may have
 * been appended: it is for the caller to take them back.
 */
int kafka_layout_write(const struct kafka_layout *layout, struct kafka_format format, const void *from,
		       struct buf *to, struct kafka_cuts *cuts);

#endif
