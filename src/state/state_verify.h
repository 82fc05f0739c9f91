/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STATE_STATE_VERIFY_H
#define WEIR_STATE_STATE_VERIFY_H

#include "log/verify.h"

/*
 * Verification of a data directory with its state: log_verify, to which this adds
 * what the rows mean. options->state is filled in here. Result as log_verify.
 */
int state_verify(const struct verify_options *options, struct verify_result *out, struct fault *fault);

#endif
