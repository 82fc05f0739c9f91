/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "log/backup.h"
#include "state/state_verify.h"

static int run_restore(const struct args *args);

static const struct cli_option options[] = {
	{.name = "json", .doc = "a JSON object a line on stdout: progress, faults, the result"},
	{0},
};

static const struct cli_example examples[] = {
	{"weir restore /backups/2026-01-31 ./weir-data", "then: weir serve --data ./weir-data"},
	{0},
};

const struct command command_restore = {
	.name = "restore",
	.synopsis = "BACKUP DATA_DIR",
	.summary = "Makes a data directory out of a backup.",
	.about =
		"DATA_DIR must be new or empty. Every file is compared with the backup's manifest while it is copied, and the result is verified as "
		"`weir verify` does. Cursors and idempotency keys of the time before the backup go on working.",
	.options = options,
	.examples = examples,
	.operands_min = 2,
	.operands_max = 2,
	.complete = CLI_COMPLETE_DIR,
	.run = run_restore,
};

struct run {
	struct progress progress;
	bool json;
};

static int on_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct run *r = ctx;

	progress_show(&r->progress, done, total);
	return 0;
}

static void on_verified(void *ctx, uint64_t done, uint64_t total)
{
	struct run *r = ctx;

	progress_show(&r->progress, done, total);
}

static void on_fault(void *ctx, const struct verify_fault *f)
{
	struct run *r = ctx;
	struct buf out;

	if (f->harmless)
		return;
	progress_clear(&r->progress);
	if (!r->json) {
		printf("fault: %s: byte %llu: %s\n", f->file, (unsigned long long)f->position, f->text);
		return;
	}
	buf_init(&out, 1u << 20);
	(void)buf_append_str(&out, "{\"type\":\"fault\",\"file\":");
	progress_put_text(&out, f->file);
	(void)buf_appendf(&out, ",\"position\":%llu,\"text\":", (unsigned long long)f->position);
	progress_put_text(&out, f->text);
	(void)buf_append_str(&out, "}\n");
	(void)cli_print(&out);
}

static int verify(struct run *r, const char *dir, struct verify_result *result)
{
	struct verify_options with = {
		.sys = sys_kernel(), .dir = dir, .on_fault = on_fault, .on_progress = on_verified, .ctx = r};
	struct fault fault = {0};
	int rc;

	progress_init(&r->progress, "verifying", r->json);
	rc = state_verify(&with, result, &fault);
	progress_clear(&r->progress);
	if (rc)
		return cli_fail("%s", fault.text);
	if (result->faults)
		return cli_fail("%s was restored as it was backed up, and it has %llu faults", dir,
				(unsigned long long)result->faults);
	return CLI_DONE;
}

static void put_done(const struct run *r, const char *dir, const struct backup_result *restored,
		     const struct verify_result *verified)
{
	struct buf out;
	char size[16];

	progress_size(restored->bytes, size);
	if (!r->json) {
		printf("%s: %llu files, %s, %llu records; all is well\n", dir,
		       (unsigned long long)restored->files, size, (unsigned long long)verified->records);
		return;
	}
	buf_init(&out, 1u << 16);
	(void)buf_append_str(&out, "{\"type\":\"result\",\"dir\":");
	progress_put_text(&out, dir);
	(void)buf_appendf(&out, ",\"files\":%llu,\"bytes\":%llu,\"records\":%llu}\n",
			  (unsigned long long)restored->files, (unsigned long long)restored->bytes,
			  (unsigned long long)verified->records);
	(void)cli_print(&out);
}

static int run_restore(const struct args *args)
{
	struct run r = {.json = args_has(args, "json")};
	const char *dir = args->operands[1];
	struct backup_options with = {.sys = sys_kernel(),
				      .data = dir,
				      .dir = args->operands[0],
				      .on_progress = on_progress,
				      .ctx = &r};
	struct backup_result restored;
	struct verify_result verified;
	struct fault fault = {0};
	int rc;

	progress_init(&r.progress, "restoring", r.json);
	rc = backup_restore(&with, &restored, &fault);
	progress_clear(&r.progress);
	if (rc)
		return cli_fail("%s", fault.text);
	rc = verify(&r, dir, &verified);
	if (rc == CLI_DONE)
		put_done(&r, dir, &restored, &verified);
	return rc == CLI_DONE && !cli_flush() ? CLI_FAILED : rc;
}
