/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks between settings of the file: the only ones outside the table. Told where the one or the other stands.
 */
#include "base/check.h"
#include "conf/walk.h"

/* low must not be above high; told where one of the two stands. */
static void check_order(struct loader *l, const struct walk *w, const char *low_path, const char *high_path)
{
	const struct setting *low = setting_find(SETTING_FILE, slice_str(low_path));
	const struct setting *high = setting_find(SETTING_FILE, slice_str(high_path));
	struct buf a, b;

	CHECK(low && high);
	int64_t low_value = *(const int64_t *)((const char *)l->conf + low->offset);
	int64_t high_value = *(const int64_t *)((const char *)l->conf + high->offset);
	if (low_value <= high_value)
		return;
	buf_init(&a, 64);
	buf_init(&b, 64);
	setting_number_text(low, low_value, &a);
	setting_number_text(high, high_value, &b);
	struct conf_mark at = w->marks[low - setting_table];
	if (at.line == 0)
		at = w->marks[high - setting_table];
	load_tell(l, at, low_path, "%s: \"%.*s\": expected at most %s, which is %.*s", low_path,
		  CONF_SHOWN(buf_slice(&a)), high_path, CONF_SHOWN(buf_slice(&b)));
	buf_fini(&a);
	buf_fini(&b);
}

static bool picks_port(const char *address)
{
	const char *colon = strrchr(address, ':');

	return colon && strcmp(colon, ":0") == 0;
}

void load_between(struct loader *l, const struct walk *w)
{
	const struct conf *c = l->conf;
	const struct setting *cors = setting_find(SETTING_FILE, SLICE_LIT("http.cors"));
	const struct setting *kafka = setting_find(SETTING_FILE, SLICE_LIT("kafka.listen"));
	const struct setting *http = setting_find(SETTING_FILE, SLICE_LIT("http.listen"));
	struct conf_mark listen_at = w->marks[kafka - setting_table];

	if (listen_at.line == 0)
		listen_at = w->marks[http - setting_table];
	check_order(l, w, "http.record_bytes_max", "http.body_bytes_max");
	check_order(l, w, "http.record_bytes_max", "log.group_bytes");
	check_order(l, w, "log.group_bytes", "log.entered_bytes");
	check_order(l, w, "log.group_bytes", "log.pinned_bytes");
	check_order(l, w, "log.group_bytes", "log.journal_bytes");
	check_order(l, w, "log.journal_file_bytes", "log.journal_bytes");
	check_order(l, w, "http.body_bytes_max", "memory");
	if (c->kafka.listen && strcmp(c->http.listen, c->kafka.listen) == 0 && !picks_port(c->http.listen))
		load_tell(l, listen_at, "kafka.listen",
			  "kafka.listen: \"%s\": http.listen has this address already", c->kafka.listen);
	if (c->http.cors && c->http.allowed_origins.count == 0)
		load_problem(l,
			     (struct conf_problem){
				     .at = w->marks[cors - setting_table],
				     .warning = true,
				     .key = "http.cors",
				     .text = "http.cors: has no effect while http.allowed_origins is empty"});
}
