/* SPDX-License-Identifier: Apache-2.0 */
#define SIMDJSON_EXCEPTIONS 0
#include "json/json_simd.h"

#include <charconv>
#include <simdjson.h>

bool json_simd_utf8(const void *bytes, size_t n)
{
	return n == 0 || simdjson::validate_utf8(static_cast<const char *>(bytes), n);
}

bool json_double_parse(const void *text, size_t n, double *out)
{
	const char *at = static_cast<const char *>(text);
	double value = 0;
	auto result = std::from_chars(at, at + n, value);

	if (result.ec != std::errc() || result.ptr != at + n)
		return false;
	*out = value;
	return true;
}

size_t json_double_print(double value, char text[32])
{
	auto result = std::to_chars(text, text + 32, value);

	return static_cast<size_t>(result.ptr - text);
}

bool json_simd_accepts(const void *bytes, size_t n)
{
	simdjson::dom::parser parser;
	simdjson::dom::element element;

	return parser.parse(static_cast<const char *>(bytes), n, false).get(element) == simdjson::SUCCESS;
}
