/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a fetcher talks to, and what it gives away: redirects, guarded addresses, certificates (against openssl's own server). */
#include "net/fetcher_test.h"

#include <sys/wait.h>

#include "sys/test_dir.h"

/* ---- redirects and guards ---- */

static void redirects_are_followed_where_they_may(void **state)
{
	struct seen *s = make("/to-hello");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, ERR_REMOTE_STATUS);
	assert_non_null(strstr(s->text, "to /hello, which is not followed"));
	s = make("/to-hello");
	s->options.follow = FETCHER_FOLLOW_SAME_ORIGIN;
	fetch(s);
	assert_int_equal(s->err, 0);
	assert_int_equal(s->redirects, 1);
	assert_true(body_is(s, "hello"));
	s = make("/to-other");
	s->options.follow = FETCHER_FOLLOW_SAME_ORIGIN;
	fetch(s);
	assert_int_equal(s->err, ERR_REMOTE_STATUS);
	assert_non_null(strstr(s->text, "another origin"));
	s = make("/round");
	s->options.follow = FETCHER_FOLLOW_ANY;
	fetch(s);
	assert_int_equal(s->err, ERR_REMOTE_STATUS);
	assert_int_equal(s->redirects, 5);
	s = make("/to-file");
	s->options.follow = FETCHER_FOLLOW_ANY;
	fetch(s);
	assert_int_equal(s->err, ERR_REMOTE_STATUS);
	assert_non_null(strstr(s->text, "not http"));
}

static void secrets_stay_with_their_origin(void **state)
{
	const struct fetcher_field fields[] = {
		{SLICE_LIT("X-Api-Key"), SLICE_LIT("hidden"), true},
		{SLICE_LIT("X-Open"), SLICE_LIT("seen"), false},
	};
	struct seen *s = make("/to-other");

	(void)state;
	s->options.follow = FETCHER_FOLLOW_ANY;
	s->options.fields = fields;
	s->options.field_count = 2;
	s->options.auth = FETCHER_AUTH_BEARER;
	s->options.secret = SLICE_LIT("t0ken");
	fetch(s);
	assert_int_equal(s->err, 0);
	assert_true(body_has(s, "X-Open: seen"));
	assert_false(body_has(s, "hidden"));
	assert_false(body_has(s, "t0ken"));
	s = make("/to-echo");
	s->options.follow = FETCHER_FOLLOW_ANY;
	s->options.fields = fields;
	s->options.field_count = 2;
	fetch(s);
	assert_true(body_has(s, "X-Api-Key: hidden"));
	s = make("/to-other");
	s->options.method = "POST";
	s->options.body = SLICE_LIT("private");
	s->options.follow = FETCHER_FOLLOW_ANY;
	fetch(s);
	assert_int_equal(s->err, ERR_REMOTE_STATUS);
	assert_non_null(strstr(s->text, "with a body to another origin"));
}

static void a_post_becomes_a_get_or_stays_one(void **state)
{
	struct seen *s = make("/to-echo");

	(void)state;
	s->options.method = "POST";
	s->options.body = SLICE_LIT("once");
	s->options.follow = FETCHER_FOLLOW_ANY;
	fetch(s);
	assert_true(body_has(s, "GET /echo"));
	assert_false(body_has(s, "once"));
	s = make("/to-echo-307");
	s->options.method = "POST";
	s->options.body = SLICE_LIT("twice");
	s->options.follow = FETCHER_FOLLOW_ANY;
	fetch(s);
	assert_true(body_has(s, "POST /echo"));
	assert_true(body_has(s, "\r\n\r\ntwice"));
}

static bool only_v4_loopback(void *ctx, const uint8_t ip[16], uint16_t port)
{
	(void)port;
	atomic_fetch_add((_Atomic int *)ctx, 1);
	return ip[12] == 127;
}

static void addresses_are_guarded_on_each_hop(void **state)
{
	_Atomic int asked = 0;
	struct seen *s = make("/hello");

	(void)state;
	s->options.guard = guard_public;
	fetch(s);
	assert_int_equal(s->err, ERR_ADDRESS_FORBIDDEN);
	assert_int_equal(s->class, FETCHER_FINAL);
	assert_non_null(strstr(s->text, "127.0.0.1"));
	assert_int_equal(atomic_load(&web.connections), 0);
	s = make("/hello");
	(void)snprintf(fetched_url, sizeof(fetched_url), "http://2130706433:%u/hello", web.port);
	s->options.url = slice_str(fetched_url);
	s->options.guard = guard_public;
	fetch(s);
	assert_int_equal(s->err, ERR_ADDRESS_FORBIDDEN);
	s = make("/to-inside");
	s->options.follow = FETCHER_FOLLOW_ANY;
	s->options.guard = only_v4_loopback;
	s->options.guard_ctx = (void *)&asked;
	fetch(s);
	assert_int_equal(s->err, ERR_ADDRESS_FORBIDDEN);
	assert_int_equal(s->redirects, 1);
	assert_non_null(strstr(s->text, "169.254.169.254"));
	assert_int_equal(atomic_load(&asked), 3); /* the socket, the request, the socket that was not made */
}

/* A connection that was made for one who may is not open to one who may not. */
static void a_reused_connection_is_guarded_too(void **state)
{
	struct seen *s = make("/hello");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, 0);
	s = make("/hello");
	s->options.guard = guard_public;
	fetch(s);
	assert_int_equal(s->err, ERR_ADDRESS_FORBIDDEN);
	assert_int_equal(s->bytes, 0);
	assert_int_equal(atomic_load(&web.connections), 1);
}

/* ---- TLS ---- */

static struct {
	char dir[TEST_DIR_BYTES], cert[TEST_DIR_BYTES + 8], key[TEST_DIR_BYTES + 8];
	pid_t pid;
	unsigned port;
} tls;

static void run_openssl(char *const argv[])
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (!freopen("/dev/null", "w", stderr))
			_exit(126);
		(void)execvp(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* openssl's own server, on a port that it tells, with a certificate for localhost. */
static int start_tls(void **state)
{
	int pipes[2];
	char line[400];
	FILE *out;

	(void)setup(state);
	assert_true(test_dir_make(tls.dir, "fetcher"));
	(void)snprintf(tls.cert, sizeof(tls.cert), "%s/cert", tls.dir);
	(void)snprintf(tls.key, sizeof(tls.key), "%s/key", tls.dir);
	run_openssl((char *[]){"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
			       "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
			       "-addext", "subjectAltName=DNS:localhost", "-keyout", tls.key, "-out",
			       tls.cert, NULL});
	assert_int_equal(pipe(pipes), 0);
	tls.pid = fork();
	if (tls.pid == 0) {
		(void)dup2(pipes[1], 1);
		if (!freopen("/dev/null", "w", stderr))
			_exit(126);
		if (!freopen("/dev/null", "r", stdin))
			_exit(126);
		(void)execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-www", "-cert",
			     tls.cert, "-key", tls.key, NULL);
		_exit(127);
	}
	(void)close(pipes[1]);
	out = fdopen(pipes[0], "r");
	tls.port = 0;
	while (tls.port == 0 && fgets(line, sizeof(line), out))
		if (strncmp(line, "ACCEPT 127.0.0.1:", 17) == 0)
			tls.port = (unsigned)strtoul(line + 17, NULL, 10);
	(void)fclose(out);
	assert_true(tls.port > 0);
	return 0;
}

static int stop_tls(void **state)
{
	(void)kill(tls.pid, SIGKILL);
	(void)waitpid(tls.pid, NULL, 0);
	(void)test_dir_remove(tls.dir);
	return teardown(state);
}

static struct seen *make_tls(const char *host)
{
	struct seen *s = make("x");

	(void)snprintf(fetched_url, sizeof(fetched_url), "https://%s:%u/", host, tls.port);
	s->options.url = slice_str(fetched_url);
	return s;
}

static void certificates_are_looked_at(void **state)
{
	struct seen *s = make_tls("localhost");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, ERR_TLS); /* nobody has signed it */
	assert_int_equal(s->class, FETCHER_FINAL);
	s = make_tls("localhost");
	s->options.tls.ca_file = tls.cert;
	fetch(s);
	assert_string_equal(s->text, "");
	assert_int_equal(s->status, 200);
	s = make_tls("127.0.0.1"); /* the certificate names another */
	s->options.tls.ca_file = tls.cert;
	fetch(s);
	assert_int_equal(s->err, ERR_TLS);
	assert_int_equal(s->class, FETCHER_FINAL);
	s = make_tls("127.0.0.1");
	s->options.tls.insecure = true;
	fetch(s);
	assert_int_equal(s->status, 200);
	s = make_tls("localhost");
	s->options.tls.ca_file = "/no/such/file";
	fetch(s);
	assert_int_equal(s->err, ERR_TLS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(redirects_are_followed_where_they_may),
		CASE(secrets_stay_with_their_origin),
		CASE(a_post_becomes_a_get_or_stays_one),
		CASE(addresses_are_guarded_on_each_hop),
		CASE(a_reused_connection_is_guarded_too),
		cmocka_unit_test_setup_teardown(certificates_are_looked_at, start_tls, stop_tls),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
