/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backups of this daemon: begun by POST, looked at by GET. What is written is on this
 * machine, with this daemon's rights; so only a client on this machine may ask.
 */
#include "log/backup.h"

#include "json/json.h"
#include "json/json_write.h"
#include "serve/app.h"
#include "serve/http/exchange.h"
#include "serve/http/resources.h"

static int answer_status(struct exchange *x, int status)
{
	static const char *const states[] = {"none", "running", "done", "failed"};
	struct app *app = x->app;
	struct buf *out = &app_loop(app, x->loop)->scratch;
	struct log_backup_status s;

	log_backup_status(app->log, &s);
	buf_clear(out);
	json_put_open(out, '{');
	json_put_member_string(out, "state", slice_str(states[s.state]));
	if (s.state != LOG_BACKUP_NONE) {
		json_put_name(out, "dir");
		json_put_string_lossy(out, slice_str(s.dir));
		json_put_member_u64(out, "bytes_done", s.done);
		json_put_member_u64(out, "bytes_total", s.total);
		json_put_member_i64(out, "began", s.began_ms);
	}
	if (s.ended_ms)
		json_put_member_i64(out, "ended", s.ended_ms);
	if (s.state == LOG_BACKUP_DONE) {
		json_put_member_u64(out, "files", s.result.files);
		json_put_member_u64(out, "linked", s.result.linked);
		json_put_member_u64(out, "bytes", s.result.bytes);
		json_put_member_u64(out, "sequence", s.result.sequence);
	}
	if (s.state == LOG_BACKUP_FAILED) {
		json_put_member_string(out, "code", slice_str(err_row(s.fault.err)->code));
		json_put_name(out, "detail");
		json_put_string_lossy(out, slice_str(s.fault.text));
	}
	json_put_close(out, '}');
	return exchange_answer_json(x, status, out);
}

static bool is_local(struct exchange *x)
{
	struct conn_peer peer;

	exchange_peer(x, &peer);
	return peer.loopback;
}

static int read_dir(struct exchange *x, char *dir, size_t size, struct fault *fault)
{
	static const char form[] = "the body is {\"dir\":\"/PATH\"}";
	struct slice name, text = slice_null();
	struct json_cursor c;
	struct json_value value;

	json_cursor_init(&c, x->body);
	(void)json_object_begin(&c);
	while (json_object_next(&c, &name)) {
		bool is_dir = json_name_is(name, "dir");
		if (json_take(&c, &value))
			break;
		if (!is_dir || value.kind != JSON_STRING || json_text(value.raw, x->arena, &text))
			return fault_set(fault, ERR_BAD_PARAMETER, "%s", form);
	}
	if (json_end(&c))
		return fault_set(fault, ERR_BAD_JSON, "%s", form);
	if (!text.ptr || text.len == 0 || memchr(text.ptr, 0, text.len))
		return fault_set(fault, ERR_BAD_PARAMETER, "%s", form);
	if (text.len >= size)
		return fault_set(fault, ERR_BAD_PARAMETER, "dir has %zu bytes; at most %zu are taken",
				 text.len, size - 1);
	memcpy(dir, text.ptr, text.len);
	dir[text.len] = '\0';
	return 0;
}

static int on_start(struct exchange *x)
{
	struct app *app = x->app;
	struct fault fault = {0};
	char dir[LOG_BACKUP_DIR_BYTES];
	int rc;

	if (!is_local(x))
		return exchange_problem(
			x, ERR_FORBIDDEN,
			"a backup is written on the machine that weir runs on: only a client on it may ask for one");
	rc = read_dir(x, dir, sizeof(dir), &fault);
	if (rc == 0)
		rc = log_backup_start(app->log, dir, &fault);
	return rc ? exchange_problem(x, rc, "%s", fault.text) : answer_status(x, 202);
}

static int on_get(struct exchange *x)
{
	if (!is_local(x))
		return exchange_problem(
			x, ERR_FORBIDDEN,
			"only a client on the machine that weir runs on may ask for its backups");
	return answer_status(x, 200);
}

const struct route route_backup_start = {.methods = HTTP_BIT(HTTP_POST),
					 .pattern = "/v1/backup",
					 .body = ROUTE_BODY_SMALL,
					 .handle = on_start};
const struct route route_backup_get = {.methods = HTTP_BIT(HTTP_GET),
				       .pattern = "/v1/backup",
				       .handle = on_get};
