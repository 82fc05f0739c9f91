/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_CLIENT_H
#define WEIR_BENCH_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What the load programs share. Any failure ends the program with a sentence. */

_Noreturn void die(const char *what);
/* As many open files as the hard limit allows. */
void raise_file_limit(void);
int64_t now_ns(void);
/* Sleeps until the monotonic time. */
void sleep_until(int64_t at_ns);

/* To 127.0.0.1, blocking, no delay. */
int tcp_connect(int port);
void send_all(int fd, const void *bytes, size_t len);
/* Reads one HTTP answer with a Content-Length; the status. `room` bytes of head and body at most. */
int read_answer(int fd, char *room, size_t cap);
/* A WebSocket on the path: after it frames come. */
int ws_connect(int port, const char *path);

/* A file of zeros that was written and synced: writing into it changes no metadata. */
int zeroed_file(const char *dir, size_t bytes);
/* A process that sends back what it gets; the socket to it. */
int echo_start(size_t message_bytes);
/* The bare loop's one round: write, sync, round trip. */
struct bare {
	int file, echo;
	size_t bytes, at, file_bytes;
	char message[4096];
};
void bare_init(struct bare *b, const char *dir, size_t bytes);
void bare_round(struct bare *b);

/* Nanoseconds, kept to sort. */
struct samples {
	int64_t *list;
	size_t count, cap;
};
void samples_add(struct samples *s, int64_t ns);
/* Sorts, gives microseconds. */
double samples_us(struct samples *s, double share);

#endif
