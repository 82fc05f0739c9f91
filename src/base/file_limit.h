/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_FILE_LIMIT_H
#define WEIR_BASE_FILE_LIMIT_H

/*
 * Asks for as many open files as the hard limit allows: a login has 1024 by its soft limit, which is for programs
 * that use select(). Where that fails, opening says later what is missing. At start, any thread.
 */
void file_limit_raise(void);

#endif
