/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_FILE_REF_H
#define WEIR_BASE_FILE_REF_H

#include <stdint.h>

/*
 * A file that its owner keeps open, readable and unchanged where it was given out, as
 * long as somebody holds the reference. Embedded in what the owner allocates. It has one
 * holder at a time, who calls release, on any thread, when it is done with.
 */
struct file_ref {
	int fd; /* a descriptor of this process */
	void (*release)(struct file_ref *file);
};

static inline void file_ref_release(struct file_ref *file)
{
	if (file)
		file->release(file);
}

#endif
