/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_OBS_LABELS_H
#define WEIR_OBS_LABELS_H

#include "base/err.h"

/*
 * The labels that a metric may have, each with all its values: LABEL_VALUE(NAME, TEXT).
 * Bounded by being enumerations: no peer can make a series. METRIC_LABEL gives a
 * value its C name, as in ROUTE_RECORDS_POST.
 */
#define METRIC_VALUES_NONE(V, label) V(label, ALL, "")

#define METRIC_VALUES_LISTENER(V, label) \
	V(label, HTTP, "http")           \
	V(label, KAFKA, "kafka")

#define METRIC_VALUES_ROUTE(V, label)            \
	V(label, RECORDS_POST, "records_post")   \
	V(label, RECORDS_PUT, "records_put")     \
	V(label, RECORDS_GET, "records_get")     \
	V(label, PARTITION_GET, "partition_get") \
	V(label, SSE, "sse")                     \
	V(label, WS, "ws")                       \
	V(label, TOPICS, "topics")               \
	V(label, TOPIC, "topic")                 \
	V(label, TRIM, "trim")                   \
	V(label, GROUPS, "groups")               \
	V(label, SOURCES, "sources")             \
	V(label, DEAD, "dead")                   \
	V(label, BACKUP, "backup")               \
	V(label, HEALTHZ, "healthz")             \
	V(label, READYZ, "readyz")               \
	V(label, METRICS, "metrics")             \
	V(label, PAGE, "page")                   \
	V(label, OTHER, "other")

#define METRIC_VALUES_METHOD(V, label) \
	V(label, GET, "get")           \
	V(label, HEAD, "head")         \
	V(label, POST, "post")         \
	V(label, PUT, "put")           \
	V(label, DELETE, "delete")     \
	V(label, OPTIONS, "options")   \
	V(label, OTHER, "other")

#define METRIC_VALUES_CLASS(V, label) \
	V(label, 1XX, "1xx")          \
	V(label, 2XX, "2xx")          \
	V(label, 3XX, "3xx")          \
	V(label, 4XX, "4xx")          \
	V(label, 5XX, "5xx")

#define METRIC_VALUES_ENTRY(V, label) \
	V(label, HTTP, "http")        \
	V(label, WS, "ws")            \
	V(label, KAFKA, "kafka")      \
	V(label, SOURCE, "source")

#define METRIC_VALUES_WAY(V, label)    \
	V(label, POLL, "poll")         \
	V(label, LONGPOLL, "longpoll") \
	V(label, SSE, "sse")           \
	V(label, WS, "ws")

/* In the order of proto/kafka/kafka_api.def. */
#define METRIC_VALUES_API(V, label)                                    \
	V(label, PRODUCE, "Produce")                                   \
	V(label, FETCH, "Fetch")                                       \
	V(label, LIST_OFFSETS, "ListOffsets")                          \
	V(label, METADATA, "Metadata")                                 \
	V(label, OFFSET_COMMIT, "OffsetCommit")                        \
	V(label, OFFSET_FETCH, "OffsetFetch")                          \
	V(label, FIND_COORDINATOR, "FindCoordinator")                  \
	V(label, JOIN_GROUP, "JoinGroup")                              \
	V(label, HEARTBEAT, "Heartbeat")                               \
	V(label, LEAVE_GROUP, "LeaveGroup")                            \
	V(label, SYNC_GROUP, "SyncGroup")                              \
	V(label, DESCRIBE_GROUPS, "DescribeGroups")                    \
	V(label, LIST_GROUPS, "ListGroups")                            \
	V(label, SASL_HANDSHAKE, "SaslHandshake")                      \
	V(label, API_VERSIONS, "ApiVersions")                          \
	V(label, CREATE_TOPICS, "CreateTopics")                        \
	V(label, DELETE_TOPICS, "DeleteTopics")                        \
	V(label, DELETE_RECORDS, "DeleteRecords")                      \
	V(label, INIT_PRODUCER_ID, "InitProducerId")                   \
	V(label, OFFSET_FOR_LEADER_EPOCH, "OffsetForLeaderEpoch")      \
	V(label, ADD_PARTITIONS_TO_TXN, "AddPartitionsToTxn")          \
	V(label, ADD_OFFSETS_TO_TXN, "AddOffsetsToTxn")                \
	V(label, END_TXN, "EndTxn")                                    \
	V(label, TXN_OFFSET_COMMIT, "TxnOffsetCommit")                 \
	V(label, DESCRIBE_CONFIGS, "DescribeConfigs")                  \
	V(label, ALTER_CONFIGS, "AlterConfigs")                        \
	V(label, SASL_AUTHENTICATE, "SaslAuthenticate")                \
	V(label, CREATE_PARTITIONS, "CreatePartitions")                \
	V(label, DELETE_GROUPS, "DeleteGroups")                        \
	V(label, INCREMENTAL_ALTER_CONFIGS, "IncrementalAlterConfigs") \
	V(label, OFFSET_DELETE, "OffsetDelete")                        \
	V(label, DESCRIBE_CLUSTER, "DescribeCluster")                  \
	V(label, DESCRIBE_PRODUCERS, "DescribeProducers")              \
	V(label, DESCRIBE_TRANSACTIONS, "DescribeTransactions")        \
	V(label, LIST_TRANSACTIONS, "ListTransactions")

#define METRIC_VALUES_QUEUE(V, label) \
	V(label, ENTERED, "entered")  \
	V(label, PINNED, "pinned")

#define METRIC_VALUES_ORIGIN(V, label) \
	V(label, TAIL, "tail")         \
	V(label, DISK, "disk")

#define METRIC_VALUES_REMOVAL(V, label) \
	V(label, REPLACED, "replaced")  \
	V(label, TOMBSTONE, "tombstone")

#define METRIC_VALUES_STORE(V, label) \
	V(label, TABLE, "table")      \
	V(label, RUNS, "runs")

/* In the order of enum group_state. */
#define METRIC_VALUES_STATE(V, label)               \
	V(label, EMPTY, "Empty")                    \
	V(label, PREPARING, "PreparingRebalance")   \
	V(label, COMPLETING, "CompletingRebalance") \
	V(label, STABLE, "Stable")

#define METRIC_VALUES_LEVEL(V, label) \
	V(label, ERROR, "error")      \
	V(label, WARNING, "warning")  \
	V(label, INFO, "info")        \
	V(label, DEBUG, "debug")

/* The parts that /readyz speaks of; health.h uses the same enumeration. */
#define METRIC_VALUES_COMPONENT(V, label)      \
	V(label, START, "start")               \
	V(label, INGEST, "ingest")             \
	V(label, LISTENERS, "listeners")       \
	V(label, DEAD_LETTERS, "dead_letters") \
	V(label, DRAIN, "drain")

/* Each label once: L(LABEL, text). CODE is made from err.def and comes last. */
#define METRIC_LABELS(L)        \
	L(NONE, "")             \
	L(LISTENER, "listener") \
	L(ROUTE, "route")       \
	L(METHOD, "method")     \
	L(CLASS, "class")       \
	L(ENTRY, "entry")       \
	L(WAY, "way")           \
	L(API, "api")           \
	L(STATE, "state")       \
	L(QUEUE, "queue")       \
	L(ORIGIN, "origin")     \
	L(REMOVAL, "removal")   \
	L(STORE, "store")       \
	L(LEVEL, "level")       \
	L(COMPONENT, "component")

#define METRIC_VALUE_NAME(label, name, text) label##_##name,
#define METRIC_LABEL_ENUM(label, text) \
	enum metric_##label{METRIC_VALUES_##label(METRIC_VALUE_NAME, label) METRIC_COUNT_##label};
METRIC_LABELS(METRIC_LABEL_ENUM)
#undef METRIC_LABEL_ENUM
#undef METRIC_VALUE_NAME

#define METRIC_COUNT_CODE ERR_COUNT

/* The value of the label `code` for an error. A number that is no error counts as ERR_INTERNAL. */
static inline unsigned metric_code(int err)
{
	unsigned index = (unsigned)(-1 - err);

	return err < 0 && index < ERR_COUNT ? index : (unsigned)ERR_INDEX_INTERNAL;
}

/* The value of the label `class` for an HTTP status. */
static inline unsigned metric_class(int status)
{
	return status >= 100 && status < 600 ? (unsigned)(status / 100 - 1) : (unsigned)CLASS_5XX;
}

#endif
