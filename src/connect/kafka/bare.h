/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_KAFKA_BARE_H
#define WEIR_CONNECT_KAFKA_BARE_H

#include "base/slice.h"

/*
 * Has a record headers? librdkafka tells that by making and freeing an object for each message, which costs as much as all the rest
 * of taking it. But it gives keys and values where they stand in the broker's answer, and there the number of headers stands right behind the value,
 * and the next record right behind that, if the number is 0 (record batch v2):
 *
 *	… value | headers | length | attributes | time | offset | key's length | key | value's length | value …
 *	        ▲   0                                                            ▲ of the next record
 *
 * Nothing promises that it will always give them so. Therefore what lies between the two is believed only where it is a record's
 * beginning to the last byte and has the next one's lengths; anywhere else nothing is known, and the library is asked. No
 * byte is read but between the end of the one and the beginning of the other, no further from each other than two records of one batch can be,
 * so in the pages that hold these two. Two batches that were inflated may lie as near by chance, with something of the allocator's between them:
 * the answer is right there too, as the number of headers is the first record's own, right behind its value.
 */

/* True: the record with this value has no headers. False: it may have. Null where there is none; next_… of the one that comes behind it. */
bool kafka_is_bare(struct slice value, struct slice next_key, struct slice next_value);

#endif
