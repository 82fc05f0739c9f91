/* SPDX-License-Identifier: Apache-2.0 */
#include <libfyaml.h>
#include <lz4.h>
#include <openssl/crypto.h>
#include <string.h>
#include <uv.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include "cli/args.h"
#include "cli/build.h"
#include "cli/commands.h"
#include "cli/say.h"

static int run_version(const struct args *args);

static const struct cli_option options[] = {
	{.name = "json", .doc = "print it as JSON"},
	{0},
};

const struct command command_version = {
	.name = "version",
	.synopsis = "",
	.summary = "Prints the version, the build flags and the versions of linked libraries.",
	.options = options,
	.run = run_version,
};

struct library {
	const char *name;
	const char *version;
};

/* Asked at run time where the library can say it: what is linked, not what was compiled against. */
static uint32_t list_libraries(struct library out[10], char xxhash[16])
{
	unsigned x = XXH_versionNumber();
	uint32_t n = 8;
	struct buf text;

	buf_init(&text, 15);
	buf_appendf(&text, "%u.%u.%u", x / 10000, x / 100 % 100, x % 100);
	memset(xxhash, 0, 16);
	if (text.len > 0)
		memcpy(xxhash, text.ptr, text.len);
	buf_fini(&text);
	out[0] = (struct library){"libuv", uv_version_string()};
	out[1] = (struct library){"openssl", OpenSSL_version(OPENSSL_VERSION_STRING)};
	out[2] = (struct library){"libfyaml", fy_library_version()};
	out[3] = (struct library){"simdjson", BUILD_SIMDJSON};
	out[4] = (struct library){"zstd", ZSTD_versionString()};
	out[5] = (struct library){"lz4", LZ4_versionString()};
	out[6] = (struct library){"zlib", zlibVersion()};
	out[7] = (struct library){"xxhash", xxhash};
	/* The connectors' libraries may be missing. */
	if (BUILD_CURL[0])
		out[n++] = (struct library){"libcurl", BUILD_CURL};
	if (BUILD_RDKAFKA[0])
		out[n++] = (struct library){"librdkafka", BUILD_RDKAFKA};
	return n;
}

static int run_version(const struct args *args)
{
	static const char flags[] =
		"buildtype=" BUILD_TYPE " optimization=" BUILD_OPTIMIZATION " sanitize=" BUILD_SANITIZE;
	struct library libraries[10];
	char xxhash[16];
	struct buf out;
	bool json = args_has(args, "json");

	uint32_t count = list_libraries(libraries, xxhash);
	buf_init(&out, 4096);
	if (json)
		buf_appendf(&out, "{\"version\":\"%s\",\"compiler\":\"%s\",\"build\":\"%s\",\"libraries\":{",
			    BUILD_VERSION, __VERSION__, flags);
	else
		buf_appendf(&out, "weir %s\nbuild: %s\ncompiler: %s\n", BUILD_VERSION, flags, __VERSION__);
	for (uint32_t i = 0; i < count; i++) {
		if (json)
			buf_appendf(&out, "%s\"%s\":\"%s\"", i ? "," : "", libraries[i].name,
				    libraries[i].version);
		else
			buf_appendf(&out, "%s %s\n", libraries[i].name, libraries[i].version);
	}
	if (json)
		buf_append_str(&out, "}}\n");
	return cli_print(&out);
}
