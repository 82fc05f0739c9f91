/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_SANITIZED_H
#define WEIR_BASE_SANITIZED_H

/*
 * Which sanitizers watch this build, 0 or 1 each, for #if and for if. gcc defines a macro for each, clang has an operator,
 * which gcc 12 does not parse: nobody else asks them.
 */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED_ADDRESS 1
#elif defined(__has_feature)
#define SANITIZED_ADDRESS __has_feature(address_sanitizer)
#else
#define SANITIZED_ADDRESS 0
#endif

#if defined(__SANITIZE_THREAD__)
#define SANITIZED_THREAD 1
#elif defined(__has_feature)
#define SANITIZED_THREAD __has_feature(thread_sanitizer)
#else
#define SANITIZED_THREAD 0
#endif

#endif
