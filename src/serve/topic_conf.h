/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_TOPIC_CONF_H
#define WEIR_SERVE_TOPIC_CONF_H

#include "conf/conf.h"
#include "state/topics.h"

/* A topic's settings between the words of the configuration and those of state. conf has checked all bounds. */
void topic_conf_to(const struct conf_topic *from, struct topic_config *to);
void topic_conf_from(const struct topic_config *from, struct conf_topic *to);

/* The settings of a topic, and those that a new one gets. Any thread. */
void topic_conf_of(struct topics *topics, struct topic *topic, struct conf_topic *out);
void topic_conf_defaults(struct topics *topics, struct conf_topic *out);

/* 0, ERR_BAD_TOPIC, or ERR_FORBIDDEN for a name that is kept (topic_name_is_reserved), with *fault. */
int topic_conf_check_name(struct slice name, struct fault *fault);

/*
 * What a client may do to topics, whatever its protocol: as topics_create, topics_change and
 * topics_delete, between log_enter_begin and log_enter_end, and besides as
 * topic_conf_check_name and ERR_MANAGED_BY_FILE for a topic of the configuration file, each with *fault.
 */
int topic_conf_create(struct topics *topics, struct slice name, const struct conf_topic *settings,
		      const struct state_done *done, struct topic **out, struct fault *fault);
int topic_conf_change(struct topics *topics, struct topic *topic, const struct conf_topic *settings,
		      const struct state_done *done, struct fault *fault);
int topic_conf_delete(struct topics *topics, struct topic *topic, const struct state_done *done,
		      struct fault *fault);

/*
 * A topic that somebody has used and that is not there, with the defaults: ERR_UNKNOWN_TOPIC where
 * topics are not made on use, ERR_TOPIC_EXISTS with *out where it is there now; else as topic_conf_create.
 */
int topic_conf_auto_create(struct topics *topics, struct slice name, const struct state_done *done,
			   struct topic **out, struct fault *fault);

#endif
