/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idle PORT PATH COUNT
 *
 * Opens so many WebSockets, says `ready`, and holds them until its input ends.
 */
#include <stdio.h>
#include <stdlib.h>

#include "client.h"

int main(int argc, char **argv)
{
	if (argc != 4)
		die("idle PORT PATH COUNT");
	raise_file_limit();
	for (int i = 0; i < atoi(argv[3]); i++)
		(void)ws_connect(atoi(argv[1]), argv[2]);
	(void)puts("ready");
	(void)fflush(stdout);
	(void)getchar();
	return 0;
}
