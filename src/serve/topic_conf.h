/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_TOPIC_CONF_H
#define WEIR_SERVE_TOPIC_CONF_H

#include "conf/conf.h"
#include "state/topics.h"

/* A topic's settings between the words of the configuration and those of state. conf has checked all bounds. */
void topic_conf_to(const struct conf_topic *from, struct topic_config *to);
void topic_conf_from(const struct topic_config *from, struct conf_topic *to);

#endif
