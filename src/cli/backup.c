/* SPDX-License-Identifier: Apache-2.0 */
#include "log/backup.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "json/json.h"
#include "json/json_write.h"

#define LOOK_MS 200
#define PATIENCE_MS 30000

static int run_backup(const struct args *args);

static const struct cli_option options[] = {
	{.name = "data",
	 .value = "DATA_DIR",
	 .doc = "back up this data directory, which no weir is using",
	 .complete = CLI_COMPLETE_DIR},
	{.name = "json", .doc = "a JSON object a line on stdout: progress, the result"},
	{0},
};

static const struct cli_example examples[] = {
	{"weir backup /backups/2026-01-31", "of the weir that runs here"},
	{"weir backup --data ./weir-data /backups/old", "of a directory that none is using"},
	{0},
};

const struct command command_backup = {
	.name = "backup",
	.synopsis = "DIR",
	.summary = "Takes a consistent copy of a running weir, or of a data directory.",
	.about =
		"The daemon writes the copy itself, while it goes on serving: DIR is a directory of its machine, new or empty. Sealed segments "
		"become hard links where DIR is on the same file system, all else is copied. BACKUP in DIR names every file with its size "
		"and checksum; a directory without it did not end. `weir verify DIR` checks it, `weir restore` brings it back.",
	.options = options,
	.examples = examples,
	.operands_min = 1,
	.operands_max = 1,
	.complete = CLI_COMPLETE_DIR,
	.client = true,
	.run = run_backup,
};

/* What GET /v1/backup says. */
struct status {
	char state[16];
	char code[64], detail[504];
	uint64_t done, total, files, linked, bytes, sequence;
};

static void take_text(struct json_value v, char *out, size_t size)
{
	struct slice text = v.raw;

	if (v.kind == JSON_STRING && text.len >= 2)
		text = slice_make(text.ptr + 1, text.len - 2);
	(void)snprintf(out, size, "%.*s", (int)text.len, (const char *)text.ptr);
}

static bool read_status(struct slice content, struct status *out)
{
	struct json_cursor c;
	struct json_value v;
	struct slice name;

	*out = (struct status){0};
	json_cursor_init(&c, content);
	json_object_begin(&c);
	while (json_object_next(&c, &name)) {
		static const char *const names[] = {"bytes_done", "bytes_total", "files",
						    "linked",     "bytes",       "sequence"};
		uint64_t *const numbers[] = {&out->done,   &out->total, &out->files,
					     &out->linked, &out->bytes, &out->sequence};
		if (json_take(&c, &v))
			break;
		if (json_name_is(name, "state"))
			take_text(v, out->state, sizeof(out->state));
		else if (json_name_is(name, "code"))
			take_text(v, out->code, sizeof(out->code));
		else if (json_name_is(name, "detail"))
			take_text(v, out->detail, sizeof(out->detail));
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (json_name_is(name, names[i]))
				(void)slice_to_u64(v.raw, numbers[i]);
	}
	return json_end(&c) == 0 && out->state[0];
}

/* 0 and *out; CLI_FAILED where the daemon refuses; -1 where it cannot be reached. */
static int ask(const struct client_url *url, const struct client_call *call, struct status *out,
	       struct fault *fault)
{
	struct client_problem problem;
	struct client_reply r;
	int code = 0;

	client_reply_init(&r, 1u << 20);
	if (client_call(url, call, &r, fault)) {
		client_reply_fini(&r);
		return -1;
	}
	if (r.status >= 300) {
		client_problem_of(buf_slice(&r.content), &problem);
		code = cli_fail("%d %s: %s", r.status, *problem.code ? problem.code : http_reason(r.status),
				problem.detail);
	} else if (!read_status(buf_slice(&r.content), out)) {
		code = cli_fail("the server's answer is not what a backup says");
	}
	client_reply_fini(&r);
	return code;
}

static void put_done(const struct backup_result *result, const char *dir, bool json)
{
	struct buf out;
	char size[16];

	progress_size(result->bytes, size);
	if (!json) {
		printf("%s: %llu files, %s, %llu of them as hard links\n", dir,
		       (unsigned long long)result->files, size, (unsigned long long)result->linked);
		return;
	}
	buf_init(&out, 1u << 16);
	(void)buf_append_str(&out, "{\"type\":\"result\",\"dir\":");
	progress_put_text(&out, dir);
	(void)buf_appendf(&out, ",\"files\":%llu,\"linked\":%llu,\"bytes\":%llu,\"sequence\":%llu}\n",
			  (unsigned long long)result->files, (unsigned long long)result->linked,
			  (unsigned long long)result->bytes, (unsigned long long)result->sequence);
	(void)cli_print(&out);
}

/* ---- of a running daemon ---- */

static void pause_for(int64_t ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	(void)nanosleep(&t, NULL); /* banned-ok: a command waits for the daemon */
}

/* A daemon that is not there is waited for: it may be restarting, and then says what became of the backup. */
static int follow(const struct client_url *url, struct status *s, struct progress *p)
{
	struct client_call look = {.method = HTTP_GET, .target = SLICE_LIT("/v1/backup")};
	int64_t lost_since = 0;
	struct fault fault;
	int rc;

	while (strcmp(s->state, "running") == 0) {
		progress_show(p, s->done, s->total);
		pause_for(LOOK_MS);
		rc = ask(url, &look, s, &fault);
		if (rc > 0)
			return rc;
		if (rc == 0) {
			lost_since = 0;
			continue;
		}
		if (!lost_since)
			lost_since = client_now_ms();
		if (client_now_ms() - lost_since > PATIENCE_MS)
			return cli_fail("%s; the backup did not end", fault.text);
	}
	progress_clear(p);
	if (strcmp(s->state, "done") == 0)
		return CLI_DONE;
	if (strcmp(s->state, "failed") == 0)
		return cli_fail("the backup failed (%s): %s", s->code, s->detail);
	return cli_fail(
		"the server knows of no backup: it was restarted meanwhile, and the backup did not end");
}

static int absolute(const char *dir, char *out, size_t size)
{
	char here[PATH_MAX];
	int n;

	if (dir[0] == '/')
		n = snprintf(out, size, "%s", dir);
	else if (!getcwd(here, sizeof(here)))
		return cli_fail("cannot tell the working directory: give DIR from / on");
	else
		n = snprintf(out, size, "%s/%s", strcmp(here, "/") ? here : "", dir);
	while (n > 1 && n < (int)size && out[n - 1] == '/')
		out[--n] = '\0';
	return n < (int)size ? 0 : cli_fail("DIR is too long");
}

static int ask_daemon(const struct args *args, const char *dir, bool json)
{
	struct client_call start = {.method = HTTP_POST,
				    .target = SLICE_LIT("/v1/backup"),
				    .content_type = SLICE_LIT("application/json")};
	struct progress p;
	struct client_url url;
	struct status s;
	struct fault fault;
	struct buf body;
	int rc;

	if (client_url_of(args, &url, &fault))
		return cli_misuse("%s", fault.text);
	buf_init(&body, 64u << 10);
	json_put_open(&body, '{');
	json_put_name(&body, "dir");
	json_put_string_lossy(&body, slice_str(dir));
	json_put_close(&body, '}');
	start.body = buf_slice(&body);
	rc = ask(&url, &start, &s, &fault);
	buf_fini(&body);
	if (rc < 0)
		return cli_fail("%s", fault.text);
	progress_init(&p, "backing up", json);
	if (rc == 0)
		rc = follow(&url, &s, &p);
	if (rc == 0)
		put_done(&(struct backup_result){.files = s.files,
						 .linked = s.linked,
						 .bytes = s.bytes,
						 .sequence = s.sequence},
			 dir, json);
	return rc;
}

/* ---- of a directory at rest ---- */

static int on_progress(void *ctx, uint64_t done, uint64_t total)
{
	progress_show(ctx, done, total);
	return 0;
}

static int back_up_at_rest(const char *data, const char *dir, bool json)
{
	struct progress p;
	struct backup_options with = {
		.sys = sys_kernel(), .data = data, .dir = dir, .on_progress = on_progress, .ctx = &p};
	struct backup_result result;
	struct fault fault = {0};
	int rc;

	progress_init(&p, "backing up", json);
	rc = backup_offline(&with, &result, &fault);
	progress_clear(&p);
	if (rc)
		return cli_fail("%s", fault.text);
	put_done(&result, dir, json);
	return CLI_DONE;
}

static int run_backup(const struct args *args)
{
	const char *data = args_value(args, "data");
	bool json = args_has(args, "json");
	char dir[PATH_MAX + 2];
	int rc = absolute(args->operands[0], dir, sizeof(dir));

	if (rc)
		return rc;
	rc = data ? back_up_at_rest(data, dir, json) : ask_daemon(args, dir, json);
	return rc == CLI_DONE && !cli_flush() ? CLI_FAILED : rc;
}
