/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any name and value, set, added, taken away: the first byte says which, then the name up to a line end,
 * then the value. What was taken must be told so that it is taken again and changes nothing.
 */
#include "base/check.h"
#include "conf/kafka_topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_told(const struct kafka_topic_row *row, const struct conf_topic *topic)
{
	struct conf_topic again = *topic;
	struct buf text;

	buf_init(&text, 1000);
	CHECK(kafka_topic_text(row, topic, &text) == 0);
	CHECK(kafka_topic_set(row, &again, text.len ? buf_slice(&text) : SLICE_LIT(""), NULL) == 0);
	CHECK(memcmp(&again, topic, sizeof(again)) == 0);
	buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *line = size > 1 ? memchr(data + 1, '\n', size - 1) : NULL;
	const struct kafka_topic_row *row;
	struct conf_topic topic, before;
	struct fault fault = {0};
	struct slice name, value;
	int rc;

	if (!line)
		return 0;
	name = slice_make(data + 1, (size_t)(line - data - 1));
	value = slice_make(line + 1, size - (size_t)(line + 1 - data));
	row = kafka_topic_find(name);
	if (!row) {
		CHECK(kafka_topic_unknown(name, &fault) == ERR_BAD_TOPIC_CONFIG);
		return 0;
	}
	conf_topic_init(&topic);
	topic.segment_bytes = 1 << 20;
	if (data[0] & 4)
		topic.cleanup = CONF_CLEANUP_COMPACT_DELETE;
	before = topic;
	rc = (data[0] & 3) == 0 ? kafka_topic_append(row, &topic, value, &fault) :
	     (data[0] & 3) == 1 ? kafka_topic_subtract(row, &topic, value, &fault) :
				  kafka_topic_set(row, &topic, value, &fault);
	if (rc)
		CHECK(rc == ERR_BAD_TOPIC_CONFIG && memcmp(&topic, &before, sizeof(topic)) == 0);
	else
		check_told(row, &topic);
	return 0;
}
