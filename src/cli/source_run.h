/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_SOURCE_RUN_H
#define WEIR_CLI_SOURCE_RUN_H

#include "cli/command.h"

extern const struct command source_run, source_runs, source_cancel;

#endif
