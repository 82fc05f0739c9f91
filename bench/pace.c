/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pace PORT DIR RATE TURN_SECONDS TURNS
 *
 * Publishes at a steady rate and takes the time until a WebSocket subscriber
 * has the record; in turns with a bare loop of pwrite, fdatasync and a loopback
 * round trip at the same rate. Both are timed from when the record was due, so
 * a stall is counted by all that it delays.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "client.h"

#define BODY 256
#define TAG "{\"due\":\""

struct pair {
	int publisher, subscriber;
	char in[1 << 16];
	size_t have;
	char junk[1 << 16];
};

static void publish(int fd, int64_t due_ns)
{
	char text[1024];
	int n = snprintf(text, sizeof(text),
			 "POST /v1/topics/pace/records HTTP/1.1\r\nHost: 127.0.0.1\r\n"
			 "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" TAG
			 "%019lld\",\"v\":\"",
			 BODY, (long long)due_ns);
	int body = (int)(strstr(text, TAG) - text);

	memset(text + n, 'x', (size_t)(body + BODY - 2 - n));
	memcpy(text + body + BODY - 2, "\"}", 2);
	send_all(fd, text, (size_t)body + BODY);
}

/* Unmasked frames of a server; gives how many records were in what came. */
static int take_frames(struct pair *p, struct samples *out)
{
	size_t at = 0;
	int count = 0;
	int64_t now = now_ns();

	while (p->have - at >= 4) {
		const unsigned char *f = (const unsigned char *)p->in + at;
		size_t len = f[1] & 127, head = 2;
		if (len == 126) {
			len = (size_t)f[2] << 8 | f[3];
			head = 4;
		}
		if (p->have - at < head + len)
			break;
		if ((f[0] & 15) == 1 && len > 32) {
			const char *tag = memmem(f + head, len, TAG, strlen(TAG));
			if (tag) {
				samples_add(out, now - strtoll(tag + strlen(TAG), NULL, 10));
				count++;
			}
		}
		at += head + len;
	}
	memmove(p->in, p->in + at, p->have - at);
	p->have -= at;
	return count;
}

static int take_what_came(struct pair *p, struct samples *out, int64_t until_ns)
{
	struct pollfd fds[2] = {{.fd = p->subscriber, .events = POLLIN},
				{.fd = p->publisher, .events = POLLIN}};
	int64_t left = until_ns - now_ns();
	struct timespec wait = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
	ssize_t n;

	if (left < 0)
		wait = (struct timespec){0};
	if (ppoll(fds, 2, &wait, NULL) <= 0)
		return 0;
	if (fds[1].revents && recv(p->publisher, p->junk, sizeof(p->junk), 0) <= 0)
		die("the publisher was closed");
	if (!fds[0].revents)
		return 0;
	n = recv(p->subscriber, p->in + p->have, sizeof(p->in) - p->have, 0);
	if (n <= 0)
		die("the subscriber was closed");
	p->have += (size_t)n;
	return take_frames(p, out);
}

static void turn_of_weir(struct pair *p, int rate, int seconds, struct samples *out)
{
	int total = rate * seconds, sent = 0, got = 0;
	int64_t step = 1000000000 / rate, begun = now_ns() + step;

	while (got < total && now_ns() < begun + (seconds + 10) * 1000000000ll) {
		int64_t due = begun + sent * step;
		if (sent < total && now_ns() >= due) {
			publish(p->publisher, due);
			sent++;
			continue;
		}
		got += take_what_came(p, out, sent < total ? due : now_ns() + 100000000);
	}
	if (got < total) {
		(void)fprintf(stderr, "pace: %d of %d records came\n", got, total);
		exit(1);
	}
}

static void turn_of_bare(struct bare *b, int rate, int seconds, struct samples *out)
{
	int64_t step = 1000000000 / rate, due = now_ns() + step;

	for (int i = 0; i < rate * seconds; i++, due += step) {
		sleep_until(due);
		bare_round(b);
		samples_add(out, now_ns() - due);
	}
}

int main(int argc, char **argv)
{
	struct samples weir = {0}, bare = {0}, warm = {0};
	static struct pair p;
	struct bare b;
	int rate, seconds;

	if (argc != 6)
		die("pace PORT DIR RATE TURN_SECONDS TURNS");
	rate = atoi(argv[3]);
	seconds = atoi(argv[4]);
	p.publisher = tcp_connect(atoi(argv[1]));
	p.subscriber = ws_connect(atoi(argv[1]), "/v1/topics/pace/ws?mode=subscribe&format=raw");
	bare_init(&b, argv[2], BODY);
	turn_of_weir(&p, rate, 1, &warm);
	for (int i = 0; i < atoi(argv[5]); i++) {
		turn_of_weir(&p, rate, seconds, &weir);
		turn_of_bare(&b, rate, seconds, &bare);
	}
	(void)printf(
		"{\"weir_p50_us\": %.1f, \"weir_p99_us\": %.1f, \"bare_p50_us\": %.1f, \"bare_p99_us\": %.1f}\n",
		samples_us(&weir, 0.5), samples_us(&weir, 0.99), samples_us(&bare, 0.5),
		samples_us(&bare, 0.99));
	return 0;
}
