/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_SIM_WORLD_H
#define WEIR_TESTS_SIM_WORLD_H

#include "base/arena.h"
#include "base/buf.h"
#include "deliver/group.h"
#include "deliver/reader.h"
#include "machine.h"
#include "model.h"
#include "rot.h"
#include "sys/sim/sim.h"

/*
 * One seed: a disk, what the world outside knows (model), clients, and the core
 * in one machine after another.
 */
#define SENDS_MAX 24u
#define CONSUMERS 4u
#define CONSUMER_TOPICS 2u
#define JOBS_MAX 16u
#define WORLD_ROW_TABLE 15

struct world;

struct send {
	struct world *w;
	bool used, direct, conflict, none, answered;
	uint32_t request;
	struct ingest_request r;
	struct arena arena;
	struct log_commit commit;
	struct log_record records[MODEL_RECORDS_MAX + 1];
	struct log_key key;
	uint8_t parts[MODEL_RECORDS_MAX]; /* of direct records */
	char row_key[2], row_value[4], partition_key[16], idempotency_key[24];
	char event_text[2][24];
	char body[MODEL_RECORDS_MAX * MODEL_VALUE_MAX];
	char packed[MODEL_RECORDS_MAX * MODEL_VALUE_MAX];
};

struct consumer {
	uint8_t topics[CONSUMER_TOPICS];
	uint32_t topic_count;
	bool exact;      /* began at the beginning: every position is known */
	int64_t time_ms; /* began at a time, or INT64_MIN */
	char cursor[2048];
	size_t cursor_len;
	int64_t saved[CONSUMER_TOPICS][MODEL_PARTS_MAX]; /* -1: not known */
	/* of this life: */
	int64_t position[CONSUMER_TOPICS][MODEL_PARTS_MAX];
	struct reader *reader;
	bool parked, ready, watching;
	bool begun[CONSUMER_TOPICS][MODEL_PARTS_MAX]; /* something was given of it since the word was used */
	struct partition_set set;
	char key[16];
	size_t key_len; /* 0: none */
};

struct job {
	void (*run)(void *arg);
	void (*done)(void *arg);
	void *arg;
};

struct change { /* of a topic, under way */
	bool used;
	enum { CHANGE_CREATE, CHANGE_PARTS, CHANGE_DELETE, CHANGE_TRIM } kind;
	struct world *w;
	uint32_t topic, parts;
	int64_t before[MODEL_PARTS_MAX];
};

/* Of producers.c. */
#define WRITERS 4u
#define WRITER_BATCHES 3000u
#define WRITINGS_MAX 12u

struct writer_batch {
	int64_t offset; /* -1: not known */
	int32_t sequence;
	uint32_t txn;
	uint8_t count;
	bool acked;
};

struct writer {
	uint32_t made, unacked; /* batches; the first that was not answered */
	uint32_t sent;          /* in this life, or answered before */
	uint32_t txn;           /* number of the transaction that is open, or comes */
	uint8_t ending;         /* how it is to end */
	bool marking;           /* the marker is on its way */
	uint8_t decided[WRITER_BATCHES];
	struct writer_batch batches[WRITER_BATCHES];
};

struct writing { /* under way */
	bool used, marker;
	struct world *w;
	uint32_t writer, batch;
	struct log_commit commit;
	struct log_record record;
	uint8_t bytes[400];
};

/* Of members.c. */
#define MEMBERS 3u
#define MEMBERS_KNOWN 8u /* to the leader: members that left may still be there after a crash */
#define MEMBER_TEXT 96u
#define COMMITTING_MAX 8u

enum group_kind { GROUP_OF_MEMBERS, GROUP_ALONE, GROUP_KINDS };

struct member {
	struct group_wait wait; /* first */
	struct world *w;
	enum { MEMBER_OUT, MEMBER_JOINING, MEMBER_JOINED, MEMBER_SYNCING, MEMBER_IN } at;
	char id[64];
	size_t id_len;
	int32_t joined; /* generation; and the one whose assignment it was told, 0: none */
	int32_t told;
	char fellows[MEMBERS_KNOWN][MEMBER_TEXT]; /* of the leader: ids */
	size_t fellow_len[MEMBERS_KNOWN];
	uint32_t fellow_count;
};

struct committed { /* offsets of a group: the highest that has entered, that was answered */
	int64_t entered, answered;
};

struct committing { /* under way */
	bool used;
	struct world *w;
	enum group_kind kind;
	int64_t number;
};

struct profile { /* what a seed likes, chosen once */
	uint32_t sends, commits, moves, maintains, consumers, changes, clock, space, yields;
	uint64_t journal_file_bytes, segment_bytes, tail_bytes;
	uint32_t direct_bytes; /* what is moved at once goes past the page cache; 0: only much */
	struct sim_faults faults;
	uint32_t steps, lives;
	bool small_files, auto_create;
	uint32_t slack; /* of state */
	uint64_t rewrite_rate;
	uint32_t rot;    /* one life in so many is followed by a flip; 0: none */
	uint32_t allocs; /* one allocation in about so many fails; 0: none */
	/* of compacted topics: */
	bool compacting; /* much goes to them, and maintenance has time for it */
	uint32_t dirty_percent;
	int64_t max_lag_ms, tombstone_ms;
	int64_t recompress_ms; /* of all topics; 0: never */
	uint64_t compaction_bytes;
};

struct world {
	uint64_t seed;
	struct sim *sim;
	struct rand rand;
	struct model model;
	struct profile profile;
	struct rot rot;
	struct consumer consumers[CONSUMERS];
	struct send sends[SENDS_MAX];
	struct change changes[8];
	struct writer writers[WRITERS];
	struct writing writings[WRITINGS_MAX];
	bool producers_hit; /* a bit of a file of producers was turned, and no other has been written since */
	struct member members[MEMBERS];
	struct committed committed[GROUP_KINDS];
	struct committing committing[COMMITTING_MAX];
	struct job jobs[JOBS_MAX];
	uint32_t job_count;
	uint64_t operations, lives, crashes, clean_stops, fatals, refused_starts, failed_allocs, tidied,
		compactions, recompressions, assignments, offsets_found, producer_flips, source_rows;
	uint64_t life_failed_allocs, failures_before; /* when this life began */
	uint64_t crash_in; /* calls of the disk, of the kinds in crash_calls; 0: none */
	uint32_t crash_calls;
	bool faults_on, first_boot_done, down_cleanly, tracing;
	bool commit_idle;
	/* of this life: */
	struct log *log;
	struct state *state;
	struct topics *topics;
	struct log_port *port;
	struct ingest *ingest;
	struct ingest_queue *queue;
	struct hub *hub;
	struct partition *written_to; /* by producers */
	struct offsets *offsets;
	struct groups *groups;
	int64_t group_ns;
	uint32_t rows[MODEL_ROWS];
	int64_t state_start;
};

void world_say(const struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline bool chance(struct world *w, uint32_t one_in)
{
	return rand_below(&w->rand, one_in) == 0;
}
static inline uint32_t below(struct world *w, uint32_t n)
{
	return (uint32_t)rand_below(&w->rand, n);
}

/* Runs one seed; fails by model_fail. */
void world_run(struct world *w, uint64_t seed);

/* machine's life (life.c) */
void life_run(void *world);
void faults_set(struct world *w, bool on);
/* From now on some allocation fails, as the profile has it; or none. */
void allocs_set(struct world *w, bool on);
int64_t wall_ms(struct world *w);

/* clients.c */
void client_send(struct world *w);
void client_flush(struct world *w);
void client_change_topics(struct world *w);
void client_create(struct world *w, const char *name, uint32_t parts);
/* The number of a topic that weir has; -1: nobody asked for it. */
int client_topic_of(struct world *w, const struct topic *topic);
void clients_forget(struct world *w); /* the machine is gone */
bool clients_waiting(const struct world *w);
void client_run_jobs(struct world *w);
int client_queue_job(void *ctx, void (*run)(void *arg), void (*done)(void *arg), void *arg);

/* producers.c */
/* In one seed of three. */
bool producers_are_on(const struct world *w);
int producers_open(struct world *w);
void producers_turn(struct world *w);
void producers_check(struct world *w);
void producers_forget(struct world *w);
void producers_reset(struct world *w);
/* Between two lives, in some of those seeds: turns a bit in a file of producers. It must cost nothing. */
void producers_strike(struct world *w);

/* members.c */
/* In one seed of six. */
bool members_are_on(const struct world *w);
int members_open(struct world *w); /* before the state is loaded */
void members_start(struct world *w);
void members_turn(struct world *w);
bool members_waiting(const struct world *w);
void members_check(struct world *w);
void members_stop(struct world *w);
void members_close(struct world *w);
void members_forget(struct world *w);
void members_reset(struct world *w);

/* loop.c: the loop of sources */
struct loop;
struct loop *world_loop(const struct sys *sys);
void world_loop_turn(struct loop *loop);
/* Until there is something to do, ns; 0: now, -1: nothing will be by itself. */
int64_t world_loop_wait(const struct loop *loop);

/* sources.c */
/* In one seed of eight, but for those with rot. */
bool sources_are_on(const struct world *w);
bool sources_own(const char *topic);
int sources_open(struct world *w); /* before the state is loaded */
void sources_start(struct world *w);
void sources_turn(struct world *w);
/* Rows so far, whatever became of them; UINT64_MAX: none is expected at present. */
uint64_t sources_progress(struct world *w);
void sources_check(struct world *w);
void sources_stop(struct world *w);
bool sources_stopped(
	struct world *w); /* then nothing of it is left but the table, which sources_close frees */
void sources_close(struct world *w);
void sources_forget(struct world *w);
void sources_reset(struct world *w);

/* consumers.c */
void consumer_turn(struct world *w);
void consumers_check_awake(struct world *w);
void consumers_close(struct world *w);
void consumers_forget(struct world *w);
void consumers_reset(struct world *w);
/* The topic was lost before it was durable: who stood in it begins anew. */
void consumers_leave(struct world *w, uint32_t topic);

#endif
