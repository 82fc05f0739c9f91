#include "daemon/parts.h"
#include "serve/http/health.h"
#include "serve/page/page.h"
#include "serve/http/resources.h"
static const struct route *const plain[] = {
	&route_produce,	    &route_produce_once, &route_topics,	   &route_topic_get, &route_topic_put, &route_topic_delete,
	&route_topic_trim,   &route_healthz,	 &route_readyz,	   &route_metrics,&route_page,	    &route_page_script,	 &route_page_style, &route_page_icon,
};
const struct route *const *routes_all(size_t *count) { *count = 14; return plain; }
