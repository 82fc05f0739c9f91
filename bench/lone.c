/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lone PORT DIR ROUNDS
 *
 * One connection, one durable POST of 256 bytes at a time, against a bare
 * pwrite, fdatasync and loopback round trip; a hundred of each in turns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

#define BODY 256
#define TURN 100

static size_t make_request(char *out, size_t cap)
{
	int n = snprintf(out, cap,
			 "POST /v1/topics/lone/records HTTP/1.1\r\nHost: 127.0.0.1\r\n"
			 "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n{\"v\":\"",
			 BODY);

	memset(out + n, 'x', BODY - 8);
	memcpy(out + n + BODY - 8, "\"}", 2);
	return (size_t)n + BODY - 6;
}

static void post(int fd, const char *request, size_t len)
{
	char answer[4096];

	send_all(fd, request, len);
	if (read_answer(fd, answer, sizeof(answer)) != 200) {
		(void)fprintf(stderr, "%s\n", answer);
		die("refused");
	}
}

int main(int argc, char **argv)
{
	struct samples weir = {0}, bare = {0};
	struct bare b;
	char request[1024];
	size_t len = make_request(request, sizeof(request));
	int fd;

	if (argc != 4)
		die("lone PORT DIR ROUNDS");
	fd = tcp_connect(atoi(argv[1]));
	bare_init(&b, argv[2], BODY);
	for (int round = -1; round < atoi(argv[3]); round++) {
		for (int i = 0; i < TURN; i++) {
			int64_t begun = now_ns();
			post(fd, request, len);
			if (round >= 0)
				samples_add(&weir, now_ns() - begun);
		}
		for (int i = 0; i < TURN; i++) {
			int64_t begun = now_ns();
			bare_round(&b);
			if (round >= 0)
				samples_add(&bare, now_ns() - begun);
		}
	}
	(void)printf(
		"{\"weir_p50_us\": %.1f, \"weir_p99_us\": %.1f, \"bare_p50_us\": %.1f, \"bare_p99_us\": %.1f}\n",
		samples_us(&weir, 0.5), samples_us(&weir, 0.99), samples_us(&bare, 0.5),
		samples_us(&bare, 0.99));
	return 0;
}
