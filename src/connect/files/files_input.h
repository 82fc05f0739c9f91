/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_FILES_FILES_INPUT_H
#define WEIR_CONNECT_FILES_FILES_INPUT_H

#include "base/err.h"
#include "base/slice.h"

/*
 * The content of a file from a place on, whether it is compressed (gzip, zstd; told by
 * its first bytes) or not. A place counts bytes of the content. May wait for a disk.
 */
struct files_input;

/* Opens at a place. 0; ERR_IO with *fault; ERR_NOMEM. Returns owned. */
int files_input_open(const char *path, uint64_t at, struct files_input **out, struct fault *fault);

/* Takes; NULL is allowed. */
void files_input_close(struct files_input *in);

/*
 * The next bytes, as many as there are up to n. 0 at the end (of what is there yet); ERR_IO with *fault; ERR_BAD_ENCODING
 * with *fault where the compressed stream is broken, cut short, or asks for too much memory.
 */
int64_t files_input_read(struct files_input *in, void *bytes, size_t n, struct fault *fault);

/* Where it stands, in the content. */
uint64_t files_input_at(const struct files_input *in);

/* The descriptor that it is open by. Borrowed. */
int files_input_fd(const struct files_input *in);

bool files_input_compressed(const struct files_input *in);

/* Bytes that the file has now, as it lies there; and device and inode. False where that cannot be asked. */
bool files_input_stat(const struct files_input *in, uint64_t *bytes, uint64_t *device, uint64_t *inode);

/* Bytes of the file's beginning as they lie there; how many, or -1. */
int64_t files_input_peek(const struct files_input *in, void *bytes, size_t n);

#endif
