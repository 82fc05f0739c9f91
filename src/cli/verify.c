/* SPDX-License-Identifier: Apache-2.0 */
#include "log/verify.h"

#include <stdio.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/say.h"

static int run_verify(const struct args *args);

static const struct cli_option options[] = {
	{.name = "json", .doc = "print the result to stdout as JSON"},
	{0},
};

static const struct cli_example examples[] = {
	{"weir verify ./weir-data", "while no weir runs on it"},
	{0},
};

const struct command command_verify = {
	.name = "verify",
	.synopsis = "DATA_DIR",
	.summary = "Checks a data directory offline: journal, segments and indexes.",
	.about =
		"Reads everything and changes nothing. Each fault is told with its file, the byte in it, and the offsets that "
		"are lost. A torn last group of the journal and an index that does not fit are told, but are no faults: a start mends "
		"them. Exit code 0 only where there is no fault.",
	.options = options,
	.examples = examples,
	.operands_min = 1,
	.operands_max = 1,
	.complete = CLI_COMPLETE_DIR,
	.run = run_verify,
};

struct report {
	bool json;
	bool progress;
	struct buf out;
};

static void put_text(struct buf *out, const char *text)
{
	(void)buf_append_byte(out, '"');
	for (const char *at = text; *at; at++) {
		if (*at == '"' || *at == '\\')
			(void)buf_append_byte(out, '\\');
		(void)buf_append_byte(out, (uint8_t)*at < 0x20 ? ' ' : (uint8_t)*at);
	}
	(void)buf_append_byte(out, '"');
}

static void put_fault(struct report *r, const struct verify_fault *f)
{
	(void)buf_append_str(&r->out, r->out.ptr[r->out.len - 1] == '[' ? "{\"file\":" : ",{\"file\":");
	put_text(&r->out, f->file);
	(void)buf_appendf(&r->out, ",\"position\":%llu,\"from\":%lld,\"to\":%lld,\"harmless\":%s,\"text\":",
			  (unsigned long long)f->position, (long long)f->offset_from, (long long)f->offset_to,
			  f->harmless ? "true" : "false");
	put_text(&r->out, f->text);
	(void)buf_append_byte(&r->out, '}');
}

static void on_fault(void *ctx, const struct verify_fault *f)
{
	struct report *r = ctx;

	if (r->json) {
		put_fault(r, f);
		return;
	}
	printf("%s: %s: byte %llu: %s", f->harmless ? "note" : "fault", f->file,
	       (unsigned long long)f->position, f->text);
	if (f->offset_from != f->offset_to)
		printf("; offsets %lld to %lld are lost", (long long)f->offset_from,
		       (long long)f->offset_to - 1);
	printf("\n");
}

static void on_file(void *ctx, const char *file, uint64_t bytes)
{
	struct report *r = ctx;

	if (r->progress)
		fprintf(stderr, "\r\033[K%.100s (%llu MiB)", file, (unsigned long long)(bytes >> 20));
}

static void put_result(struct report *r, const struct verify_result *result)
{
	if (r->json)
		(void)buf_appendf(
			&r->out,
			"],\"files\":%llu,\"bytes\":%llu,\"batches\":%llu,\"records\":%llu,\"groups\":%llu,\"ok\":%s}\n",
			(unsigned long long)result->files, (unsigned long long)result->bytes,
			(unsigned long long)result->batches, (unsigned long long)result->records,
			(unsigned long long)result->groups, result->faults ? "false" : "true");
	else
		printf("%s: %llu records in %llu batches, %llu groups in the journal, %llu files, %llu MiB; %llu faults\n",
		       result->faults ? "damaged" : "ok", (unsigned long long)result->records,
		       (unsigned long long)result->batches, (unsigned long long)result->groups,
		       (unsigned long long)result->files, (unsigned long long)(result->bytes >> 20),
		       (unsigned long long)result->faults);
}

static int run_verify(const struct args *args)
{
	struct report r = {.json = args_has(args, "json"), .progress = isatty(STDERR_FILENO)};
	struct verify_options options_in = {.sys = sys_kernel(),
					    .dir = args->operands[0],
					    .on_fault = on_fault,
					    .on_file = on_file,
					    .ctx = &r};
	struct verify_result result;
	struct fault fault = {0};
	int rc;

	buf_init(&r.out, 64u << 20);
	(void)buf_append_str(&r.out, "{\"faults\":[");
	rc = log_verify(&options_in, &result, &fault);
	if (r.progress)
		fprintf(stderr, "\r\033[K");
	if (rc) {
		buf_fini(&r.out);
		return cli_fail("%s", fault.text);
	}
	put_result(&r, &result);
	if (r.json && cli_print(&r.out))
		return CLI_FAILED;
	if (!r.json)
		buf_fini(&r.out);
	return cli_flush() && result.faults == 0 ? CLI_DONE : CLI_FAILED;
}
