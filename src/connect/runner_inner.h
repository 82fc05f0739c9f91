/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_RUNNER_INNER_H
#define WEIR_CONNECT_RUNNER_INNER_H

#include <pthread.h>

#include "connect/runner.h"
#include "connect/source_schedule.h"

/* What runner.c, runner_pull.c and runner_plan.c share. */

enum part_phase {
	PART_RESTS,    /* nothing to do until a run, a wake or a timer */
	PART_READY,    /* in the list: to be pulled */
	PART_PULLING,  /* its type is at it */
	PART_ENTERING, /* its batch is on its way into the log */
	PART_HELD,     /* the log refused: the batch is entered again later */
	PART_SETTLING, /* waits for the batch to be durable, then its type settles */
	PART_DROPPING, /* its state is being freed */
};

/* A pull and what it brought, until that is durable. */
struct box {
	struct source_batch batch; /* the first member */
	struct part *part;
	struct ingest_rows entry;
	struct ingest_row *rows;
	uint32_t row_cap;
	/* Of the part, and of the source: to be set, and what the commit points to. */
	struct source_row *row[2], *copy[2];
	uint32_t row_count;
	bool paused; /* as the row of the source says */
	struct log_record more[2];
	struct buf scratch;
	uint8_t *checkpoint; /* of the part from now on; its bytes are those that were marked */
	struct source_settle settle;
	enum source_end end, settle_end;
	int64_t began_ns;
	size_t held; /* counted in held_bytes */
	struct box *next;
};

struct part {
	struct source_part source; /* the first member */
	struct table_node node;
	struct runner *runner;
	struct part *next;    /* of the list of ready ones */
	struct part *sibling; /* of all */
	enum part_phase phase;
	struct box *box;                /* in work; NULL: none */
	uint32_t entered;               /* boxes on their way to the disk */
	uint32_t failures;              /* in a row */
	bool done, gone, waits, wanted; /* wanted: asked for while it was busy */
	bool begun; /* of a type with SOURCE_HOLDS: from its first pull until it has given another end than SOURCE_MORE */
	bool opened_settle; /* settle is due for what was found at the start */
	_Atomic bool woken;
	struct loop_msg wake; /* posted while woken */
	struct loop_timer timer;
	uint64_t records, done_units, total;
	int64_t lag_records, lag_ms;
	char *names; /* name and title */
	uint8_t *checkpoint;
};

/* A plan in work. */
struct plan_box {
	struct source_plan_inner plan; /* the first member */
	struct runner *runner;
	enum source_end end;
	struct ingest_rows entry;
	struct log_record *more;
	struct source_row **rows, **copies;
	uint32_t row_count;
	/* What it has marked: the source's own once the plan has entered. */
	uint8_t *mark_bytes;
	struct source_checkpoint mark;
	bool paused; /* as its row of the source says */
};

struct runner {
	struct source source; /* the first member */
	const struct runner_shared *shared;
	const struct runner_loop *home;
	struct conf_source *conf;
	struct arena arena; /* of the secrets */
	const struct source_type *type;
	const struct runner_run *run; /* NULL: what the schedule asks for */
	const char *name;             /* of its rows */
	int64_t rate;                 /* records a second; -1: no limit */
	void *self;
	struct rand rand;
	bool started, opened, paused, stopping, closed, run_active, run_over, plan_wanted, plan_running,
		run_once, some_done;
	bool broken; /* it could not be opened */
	bool saved_in_run;
	bool unsaved;     /* a run has ended that the row of state does not know of */
	int64_t saved_ns; /* loop time at which that row was written last; 0: it is not there */
	bool ended, told; /* the type is closed; who stopped it knows */
	uint32_t calls;   /* of the type, that run */
	uint32_t busy;    /* parts that are pulling, entering, held or settling */
	uint32_t begun;   /* parts that are */
	struct table table;
	struct part *parts; /* all, by sibling */
	struct part *ready, **ready_end;
	struct box *spare; /* used last first */
	uint32_t spare_count;
	struct plan_box *plan;
	struct loop_turn turn;   /* kick, at the end of the turn */
	struct loop_timer timer; /* of the schedule, of a plan that failed, of the hold */
	struct loop_timer hold;
	/* The schedule. */
	struct schedule *schedule;
	struct zone *zone;
	struct schedule_state slot;
	struct adaptive adaptive;
	int64_t found_ms; /* wall time of the last run that was answered, -1: none */
	uint64_t run_records;
	bool run_failed;
	int64_t plan_retry_at; /* loop time; 0: none */
	int64_t open_until;    /* loop time: the circuit is open till then; 0: closed */
	uint32_t failures;     /* calls in a row */
	uint64_t said_hash;    /* of the failure that the log was told last, and when */
	int64_t said_ns;
	int64_t rate_free_ns; /* loop time at which the rate allows the next record */
	struct source_checkpoint plan_checkpoint;
	uint8_t *plan_bytes;
	void (*on_stopped)(void *ctx);
	void *stopped_ctx;
	_Atomic bool plan_again;
	struct loop_msg again;
	int64_t shown_ns; /* loop time of the last show */
	/* Shown. */
	pthread_mutex_t lock;
	struct runner_figures shown;       /* but for its warnings */
	char (*warnings)[RUNNER_TEXT_MAX]; /* made with the first: most have none */
};

#define RUNNER_NS 1000000000ll
#define RUNNER_MS 1000000ll

/* runner.c */
void runner_kick(struct runner *r); /* at the end of the turn: begins what can begin */
struct schedule_now runner_now(const struct runner *r);
void runner_succeeded(struct runner *r, const struct source_call *call);
/* Gives how long to wait before the next try, ns. */
int64_t runner_failed(struct runner *r, struct part *part, const struct source_call *call);
void runner_show_state(struct runner *r);
/* added: the batch that enters with it, which is not counted yet; NULL: none. */
int runner_state_row(struct runner *r, const struct source_checkpoint *plan, const struct ingest_rows *added,
		     struct buf *key, struct buf *value);
/* That row has entered; paused: as it says, which may have changed since it was made. */
void runner_saved(struct runner *r, bool paused);

/* runner_pull.c */
struct part *part_find(struct runner *r, struct slice name);
/* In the table; ERR_NOMEM gives NULL. checkpoint and counts from a row, or NULL. */
struct part *part_new(struct runner *r, struct slice name, struct slice title,
		      const struct source_part_row *row);
void part_free(struct part *p);
int part_set_checkpoint(struct part *p, uint8_t version, struct slice bytes);
void part_want(struct part *p);
void part_pull(struct part *p);
void part_try_again(struct part *p); /* a held batch */
void part_drop(struct part *p);      /* its state; and itself where it is gone */
void part_row_key(const struct part *p, struct buf *out);
void runner_cancel_pulls(struct runner *r);
/* Too many pulls of the loop have just begun and not ended: each of them holds memory. */
bool runner_is_crowded(struct runner *r);
void box_free(struct box *b);
void box_keep(struct runner *r, struct box *b); /* for other sources of the loop, or it is freed */

/* runner_dead.c: rows that the door never takes become dead letters, as those of the batch do; the others move up. ERR_NOMEM. */
int box_set_aside(struct box *b);

/* runner_plan.c */
void runner_plan(struct runner *r);
void runner_plan_hold_over(struct runner *r); /* a plan that the log refused is entered again */
void plan_box_free(struct plan_box *p);

#endif
