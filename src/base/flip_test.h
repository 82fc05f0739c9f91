/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_FLIP_TEST_H
#define WEIR_BASE_FLIP_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

/* Bits turned over, in memory and in files. Twice is as it was. */

static inline void flip_bit(void *bytes, size_t bit)
{
	((uint8_t *)bytes)[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/* The bits of `mask` in the byte at `at`. */
static inline void flip_in_file(const char *path, off_t at, uint8_t mask)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= mask;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	(void)close(fd);
}

#endif
