/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_KAFKA_KAFKA_RECORDS_H
#define WEIR_PROTO_KAFKA_KAFKA_RECORDS_H

#include "base/slice.h"

/*
 * Is what a Produce request carries for a partition what its version may carry:
 * exactly one batch, magic 2, as long as it says. Looks at no more than that;
 * CRC, counts and records are proto/batch's to check. Message sets of before
 * Kafka 0.11 (magic 0 and 1) are recognised and refused, never read.
 *
 * 0; ERR_BAD_RECORD: none, another format, or more than one batch; ERR_CORRUPT:
 * cut short, or a length that cannot be; ERR_BAD_ENCODING: zstd before version 7.
 * As ProduceRequest.validateRecords of Apache Kafka.
 */
int kafka_records_check(struct slice records, int16_t version);

#endif
