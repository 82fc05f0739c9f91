/* SPDX-License-Identifier: Apache-2.0 */
#include "base/troff.h"

void troff_append(struct buf *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		(void)buf_append_str(out, "\\&");
	for (; *text; text++) {
		if (*text == '\\')
			(void)buf_append_str(out, "\\e");
		else if (*text == '-')
			(void)buf_append_str(out, "\\-");
		else if (text[0] == '\n' && text[1] == '\n')
			(void)buf_append_str(out, "\n.PP");
		else
			(void)buf_append_byte(out, (uint8_t)*text);
	}
}
