/* SPDX-License-Identifier: Apache-2.0 */
#include "log/verify.h"

#include <stdio.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "state/state_verify.h"

static int run_verify(const struct args *args);

static const struct cli_option options[] = {
	{.name = "repair", .doc = "mend what can be mended; what is replaced goes to DATA_DIR/quarantine"},
	{.name = "dry-run", .doc = "with --repair: say what it would do, and change nothing"},
	{.name = "json", .doc = "a JSON object a line on stdout: faults, notes, progress, the result"},
	{0},
};

static const struct cli_example examples[] = {
	{"weir verify ./weir-data", "while no weir runs on it"},
	{"weir verify --repair ./weir-data", "where a start refuses, or readers meet damage"},
	{0},
};

const struct command command_verify = {
	.name = "verify",
	.synopsis = "DATA_DIR",
	.summary = "Checks a data directory, or a backup, offline; mends it with --repair.",
	.about =
		"Reads everything: checkpoint, segments and their indexes, journal, idempotency keys, and state against the log. "
		"Each fault is told with its file, the byte in it, the offsets that are lost and what a repair would do. What a start mends by "
		"itself, such as a torn last group of the journal, is a note and no fault. Exit code 0 only where there is no fault.\n\n"
		"With --repair damaged ranges become gaps that readers are told of, what can be made anew is made anew, and every file that is "
		"replaced is kept whole in DATA_DIR/quarantine, with a MANIFEST of what was wrong. Nothing is deleted. A repair that was "
		"interrupted is simply run again. Afterwards everything is verified once more; the exit code says whether all is well then.",
	.options = options,
	.examples = examples,
	.operands_min = 1,
	.operands_max = 1,
	.complete = CLI_COMPLETE_DIR,
	.run = run_verify,
};

struct report {
	bool json;
	bool repair, dry_run;
	struct progress progress;
};

static void put_fault(const struct verify_fault *f, bool mended)
{
	struct buf out;

	buf_init(&out, 1u << 20);
	(void)buf_appendf(&out, "{\"type\":\"%s\",\"file\":", f->harmless ? "note" : "fault");
	progress_put_text(&out, f->file);
	(void)buf_appendf(&out, ",\"position\":%llu,\"from\":%lld,\"to\":%lld,\"text\":",
			  (unsigned long long)f->position, (long long)f->offset_from,
			  (long long)f->offset_to);
	progress_put_text(&out, f->text);
	(void)buf_append_str(&out, mended ? ",\"mended\":" : ",\"repair\":");
	if (f->mend)
		progress_put_text(&out, f->mend);
	else
		(void)buf_append_str(&out, "null");
	(void)buf_append_str(&out, "}\n");
	if (buf_status(&out) == 0)
		fwrite(out.ptr, 1, out.len, stdout);
	buf_fini(&out);
}

static void on_fault(void *ctx, const struct verify_fault *f)
{
	struct report *r = ctx;

	progress_clear(&r->progress);
	if (r->json) {
		put_fault(f, r->repair);
		return;
	}
	printf("%s: %s: byte %llu: %s", f->harmless ? "note" : "fault", f->file,
	       (unsigned long long)f->position, f->text);
	if (f->offset_from + 1 == f->offset_to)
		printf("; offset %lld%s", (long long)f->offset_from, f->harmless ? "" : " is lost");
	else if (f->offset_from != f->offset_to)
		printf("; offsets %lld to %lld%s", (long long)f->offset_from, (long long)f->offset_to - 1,
		       f->harmless ? "" : " are lost");
	if (f->mend && (r->repair || r->dry_run))
		printf("; %s%s", r->repair ? "repair: " : "a repair would do this: ", f->mend);
	else if (!f->mend && !f->harmless && (r->repair || r->dry_run))
		printf("; a repair cannot mend this");
	printf("\n");
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct report *r = ctx;

	progress_show(&r->progress, done, total);
}

static void put_result(struct report *r, const struct verify_result *result)
{
	char size[16];

	progress_size(result->bytes, size);
	if (r->json)
		printf("{\"type\":\"result\",\"ok\":%s,\"faults\":%llu,\"notes\":%llu,\"files\":%llu,\"bytes\":%llu,\"batches\":%llu,"
		       "\"records\":%llu,\"groups\":%llu,\"keys\":%llu,\"lost\":%llu}\n",
		       result->faults ? "false" : "true", (unsigned long long)result->faults,
		       (unsigned long long)result->harmless, (unsigned long long)result->files,
		       (unsigned long long)result->bytes, (unsigned long long)result->batches,
		       (unsigned long long)result->records, (unsigned long long)result->groups,
		       (unsigned long long)result->keys, (unsigned long long)result->lost);
	else
		printf("%s: %llu records in %llu batches, %llu groups in the journal, %llu keys, %llu files, %s; %llu faults\n",
		       result->faults ? "damaged" : "ok", (unsigned long long)result->records,
		       (unsigned long long)result->batches, (unsigned long long)result->groups,
		       (unsigned long long)result->keys, (unsigned long long)result->files, size,
		       (unsigned long long)result->faults);
	if (!r->json && result->lost)
		printf("%llu offsets were lost to damage and set aside by earlier repairs\n",
		       (unsigned long long)result->lost);
}

static void put_repair(struct report *r, const struct verify_result *result)
{
	struct buf out;

	if (!r->json) {
		if (result->mended)
			printf("mended %llu; what was replaced is in %s\n",
			       (unsigned long long)result->mended, result->quarantine);
		else
			printf("nothing to mend\n");
		return;
	}
	buf_init(&out, 1u << 16);
	(void)buf_appendf(&out, "{\"type\":\"repair\",\"mended\":%llu,\"quarantine\":",
			  (unsigned long long)result->mended);
	if (result->quarantine[0])
		progress_put_text(&out, result->quarantine);
	else
		(void)buf_append_str(&out, "null");
	(void)buf_append_str(&out, "}\n");
	if (buf_status(&out) == 0)
		fwrite(out.ptr, 1, out.len, stdout);
	buf_fini(&out);
}

/* One walk over all; CLI_FAILED where it could not be done. */
static int walk(struct report *r, const char *dir, struct verify_result *result)
{
	struct verify_options options_in = {.sys = sys_kernel(),
					    .dir = dir,
					    .repair = r->repair,
					    .on_fault = on_fault,
					    .on_progress = on_progress,
					    .ctx = r};
	struct fault fault = {0};
	int rc;

	progress_init(&r->progress, r->repair ? "repairing" : "verifying", r->json);
	rc = state_verify(&options_in, result, &fault);
	progress_clear(&r->progress);
	if (rc == 0)
		return CLI_DONE;
	if (r->repair && result->quarantine[0])
		return cli_fail("%s; run it again: what is done stays done, and %s holds what was replaced",
				fault.text, result->quarantine);
	return cli_fail("%s", fault.text);
}

static int run_verify(const struct args *args)
{
	struct report r = {.json = args_has(args, "json"),
			   .dry_run = args_has(args, "dry-run"),
			   .repair = args_has(args, "repair") && !args_has(args, "dry-run")};
	struct verify_result result;
	int code;

	if (r.dry_run && !args_has(args, "repair"))
		return cli_misuse("--dry-run goes with --repair; without it nothing is changed anyway");
	code = walk(&r, args->operands[0], &result);
	if (code == CLI_DONE && r.repair) {
		put_repair(&r, &result);
		r.repair = false;
		if (result.mended)
			code = walk(&r, args->operands[0], &result);
	}
	if (code != CLI_DONE)
		return code;
	put_result(&r, &result);
	return cli_flush() && result.faults == 0 ? CLI_DONE : CLI_FAILED;
}
