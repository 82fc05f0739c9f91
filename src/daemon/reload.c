/* SPDX-License-Identifier: Apache-2.0 */
/* SIGHUP: read, check, apply what can be applied, say what changed and what waits for a restart. */
#include "base/buf.h"
#include "daemon/parts.h"
#include "obs/say.h"
#include "serve/topic_conf.h"

void parts_apply_say(struct parts *p, const struct conf *conf)
{
	struct say_options options = {.sys = p->sys,
				      .level = (enum say_level)conf->log_level,
				      .form = conf->log_format == CONF_LOG_JSON ? SAY_JSON : SAY_LOGFMT};

	say_start(&options);
}

void parts_apply_limits(struct parts *p, const struct conf *conf)
{
	struct ingest_limits limits = {.record_bytes_max = (size_t)conf->http.record_bytes_max,
				       .body_bytes_max = (size_t)conf->http.body_bytes_max,
				       .records_max = (uint32_t)conf->http.records_max};

	ingest_set_limits(p->app.ingest, &limits);
}

/* The limits that need no restart. */
static void change_limits(struct parts *p, const struct conf *conf)
{
	struct ingest_limits limits;

	ingest_get_limits(p->app.ingest, &limits);
	limits.record_bytes_max = (size_t)conf->http.record_bytes_max;
	limits.records_max = (uint32_t)conf->http.records_max;
	ingest_set_limits(p->app.ingest, &limits);
	budget_set_max(&p->budget, conf->memory_bytes);
}

/* Of the changes those that need a restart, or the others. */
static void say_changes(const struct conf_changes *changes, bool restart)
{
	for (uint32_t i = 0; i < changes->count; i++) {
		const struct conf_change *c = &changes->list[i];
		if (c->restart != restart)
			continue;
		say(c->restart ? SAY_WARNING : SAY_INFO,
		    c->restart ? "setting_needs_restart" : "setting_changed",
		    "%s setting=%s before=%s after=%s",
		    c->restart ? "takes effect at the next start" : "in force now", c->path,
		    c->before ? c->before : "-", c->after ? c->after : "-");
	}
}

static void say_problems(const struct conf_problems *problems)
{
	for (uint32_t i = 0; i < problems->count; i++) {
		const struct conf_problem *problem = &problems->list[i];
		say(problem->warning ? SAY_WARNING : SAY_ERROR, "setting_refused",
		    "%s file=%s line=%u column=%u", problem->text, problem->file, problem->at.line,
		    problem->at.column);
	}
}

static int apply(struct parts *p, struct conf *fresh)
{
	struct conf_changes changes, waiting;
	struct topic_config defaults;
	struct fault fault = {0};
	int rc = conf_diff(p->conf, fresh, &changes);

	if (rc)
		return rc;
	/* A setting that was changed and changed back waits for nothing. */
	rc = conf_diff(p->started, fresh, &waiting);
	if (rc) {
		conf_changes_fini(&changes);
		return rc;
	}
	rc = file_topics_apply(p, fresh, &fault);
	if (rc) {
		say(SAY_ERROR, "reload_failed", "%s", fault.text);
	} else {
		topic_conf_to(&fresh->topic_defaults, &defaults);
		topics_set_defaults(p->app.topics, &defaults, fresh->topic_defaults.auto_create);
		change_limits(p, fresh);
		log_set_clock_hold(p->app.log, fresh->log.clock_hold_ms ? fresh->log.clock_hold_ms : -1);
		parts_apply_say(p, fresh);
		rc = sources_follow(p, fresh);
		say_changes(&changes, false);
		say_changes(&waiting, true);
		say(SAY_INFO, "reloaded", "the configuration was read again changes=%u restart=%u",
		    changes.count, waiting.restart_count);
	}
	conf_changes_fini(&changes);
	conf_changes_fini(&waiting);
	return rc;
}

void parts_reload(struct parts *p)
{
	struct conf_problems problems;
	struct conf *fresh = NULL;
	int rc;

	if (!p->options->reload) {
		say(SAY_WARNING, "reload_without_file", "there is no configuration file to read again");
		return;
	}
	conf_problems_init(&problems);
	rc = p->options->reload(p->options->ctx, &fresh, &problems);
	say_problems(&problems);
	conf_problems_fini(&problems);
	if (rc)
		say(SAY_ERROR, "reload_refused", "the configuration in force goes on: %s",
		    err_row(rc)->sentence);
	else
		rc = apply(p, fresh);
	atomic_store(&p->reload_ok, rc == 0);
	if (rc) {
		conf_free(fresh);
		return;
	}
	atomic_store(&p->reload_ns, p->sys->ops->wall_ns(p->sys->self));
	/* The one before stays where parts still hold its strings: the HTTP server's lists. It is small. */
	if (p->conf_owned && p->conf != fresh)
		conf_free((struct conf *)(uintptr_t)p->conf);
	p->conf = fresh;
	p->conf_owned = true;
}
