/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_RUNNER_INNER_H
#define WEIR_CONNECT_RUNNER_INNER_H

#include <pthread.h>

#include "connect/runner.h"
#include "connect/runner_box.h"
#include "connect/source_schedule.h"

/*
 * A source at work, as its files share it. Each changes one thing, and asks the others for the rest:
 *
 *	runner.c            its life: made, opened, paused, stopped; the turn, and wakes from other threads
 *	runner_begin.c      what may begin now: the one place where plans and pulls begin
 *	runner_schedule.c   when a run begins and is over
 *	runner_failures.c   how long to wait behind a failure, and whether the circuit is open
 *	runner_row.c        the source's own row of state; what an earlier life has left
 *	runner_figures.c    what is shown
 *	runner_plan.c       which parts there are
 *	runner_part.c       a part: made, found, queued, let go
 *	runner_pull.c       a pull of a part, and where the part goes on
 *	runner_enter.c      what a pull brought, as a commit; runner_dead.c: what of it is no record
 *	runner_settle.c     what is done at the source once that is durable
 *
 * Without struct runner: runner_box.h (boxes and where they wait), row_changes.h (rows in a commit).
 */

#define RUNNER_NS 1000000000ll
#define RUNNER_MS 1000000ll

enum part_phase {
	PART_RESTS,    /* nothing to do until a run, a wake or a timer */
	PART_READY,    /* in the list: to be pulled */
	PART_PULLING,  /* its type is at it */
	PART_ENTERING, /* its batch is on its way into the log */
	PART_HELD,     /* the log refused: the batch is entered again later */
	PART_SETTLING, /* waits for the batch to be durable, then its type settles */
	PART_DROPPING, /* its state is being freed */
};

struct part {
	struct source_part source; /* the first member; its checkpoint is owned */
	struct table_node node;
	struct runner *runner;
	struct part *next;    /* of the list of ready ones */
	struct part *sibling; /* of all */
	enum part_phase phase;
	struct box *box;                /* in work; NULL: none */
	uint32_t entered;               /* boxes on their way to the disk */
	size_t entered_bytes;           /* memory of those, as it was counted */
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
};

struct runner {
	struct source source; /* the first member */
	/* What it is. Set before it starts, but for self. */
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
	/* Its life. */
	bool started, loaded, opened, paused, stopping;
	bool rested;        /* since it was paused it keeps nothing open at the source */
	bool broken;        /* it could not be opened */
	bool closed, ended; /* the type is being closed; it is */
	bool told;          /* who stopped it knows */
	void (*on_stopped)(void *ctx);
	void *stopped_ctx;
	struct loop_turn turn;   /* asked for by whoever notes that something has happened */
	struct loop_timer timer; /* of the schedule */
	struct loop_timer hold;  /* of what may not begin yet, of a plan that the log refused */
	_Atomic bool plan_again;
	struct loop_msg again; /* posted while plan_again */
	/* What is under way. */
	uint32_t calls;       /* of the type */
	uint32_t busy;        /* parts that are pulling, entering, held or settling */
	uint32_t begun;       /* parts that are */
	uint32_t entered;     /* boxes of all parts on their way to the disk */
	size_t entered_bytes; /* memory of those */
	bool some_done;       /* a part has ended for good since that was looked at last */
	struct box_list spare;
	int64_t rate_free_ns; /* loop time at which the rate allows the next record */
	/* Parts. */
	struct table table;
	struct part *parts; /* all, by sibling */
	struct part *ready, **ready_end;
	/* The plan. */
	struct plan_box *plan; /* until it is durable */
	bool plan_wanted, plan_running;
	int64_t plan_retry_at;                    /* loop time; 0: none */
	struct source_checkpoint plan_checkpoint; /* owned */
	/* Runs. */
	struct schedule *schedule;
	struct zone *zone;
	struct schedule_state slot;
	struct adaptive adaptive;
	bool run_once;   /* a run is to begin, whatever the schedule says */
	bool run_active; /* one is under way */
	bool run_failed, run_over;
	uint64_t run_records;
	int64_t found_ms; /* wall time of the last run that was answered, -1: none */
	/* Its own row. */
	bool unsaved; /* a run has ended that the row does not know of */
	bool saved_in_run;
	int64_t saved_ns; /* loop time at which the row was written last; 0: it is not there */
	/* Failures. */
	uint32_t failures;  /* calls in a row */
	int64_t open_until; /* loop time: the circuit is open till then; 0: closed */
	int64_t try_at;     /* loop time of the first of the tries that failures have set; may be past */
	uint64_t said_hash; /* of the failure that the log was told last, and when */
	int64_t said_ns;
	/* What has entered, as rows of state say it; what is shown comes behind. */
	uint64_t entered_records, entered_dead;
	/* Shown. */
	pthread_mutex_t lock;
	struct runner_figures shown;       /* but for its warnings */
	char (*warnings)[RUNNER_TEXT_MAX]; /* made with the first: most have none */
	int64_t shown_ns;                  /* loop time of the last show */
	bool parts_go;                     /* what was known of them stays */
};

/* ---- runner.c ---- */

/* Something has happened: what can begin is begun at the end of the turn. */
void runner_kick_later(struct runner *r);

/* ---- runner_begin.c ---- */

/* At the end of the turn, opened and not stopping. */
void runner_begin(struct runner *r);

/* ---- runner_schedule.c ---- */

struct schedule_now runner_now(const struct runner *r);
int runner_make_schedule(struct runner *r, struct fault *fault);
/* Nothing is under way, on its way to the disk, or waits to begin. */
bool runner_is_quiet(const struct runner *r);

/* Ends the run of which nothing is left, begins the one that is due, or sets the timer for it. */
void runner_look_at_schedule(struct runner *r);
void runner_break_off_run(struct runner *r); /* one under way is over, with nothing learned of it */

/* Of a run beside the schedule: tells who asked for it, once. fault NULL: nothing is left to read. */
void runner_tell_over(struct runner *r, const struct fault *fault);

/* ---- runner_failures.c ---- */

void runner_succeeded(struct runner *r, const struct source_call *call);

/* part NULL: the plan. Gives how long to wait before the next try, ns. */
int64_t runner_failed(struct runner *r, struct part *part, const struct source_call *call);

/* How many parts may be pulled at once now: one where the circuit is half open. */
uint32_t runner_parallel(const struct runner *r);

/* ---- runner_row.c ---- */

/* Parts, checkpoints and counts as an earlier life has left them; begins the schedule's state. ERR_CORRUPT, ERR_NOMEM. */
int runner_load_rows(struct runner *r);

/*
 * The source's own row, of key_bytes and then its value, into an empty buffer. added: the batch that enters with it, which is not counted
 * yet; NULL: none. *paused: as it says. The buffer's error.
 */
int runner_own_row(struct runner *r, const struct source_checkpoint *plan, const struct ingest_rows *added,
		   struct buf *row, size_t *key_bytes, bool *paused);

/* That row has entered. */
void runner_saved(struct runner *r, bool paused);

int runner_save(struct runner *r,
		const struct state_done *done); /* that row, in a commit of its own; as row_commit */
void runner_save_at_times(struct runner *r);    /* a run has ended: where the row is old */

/* ---- runner_figures.c: all of these lock ---- */

/* Counts the parts. They are few, or change together: when something was decided, not for each pull. */
void runner_show_state(struct runner *r);
void runner_show_state_at_times(struct runner *r);        /* for each pull */
void runner_show_parts_go(struct runner *r);              /* from now on only the state is shown anew */
void runner_show_next(struct runner *r, int64_t wait_ms); /* as schedule_wait has it */
void runner_show_pull(struct runner *r, const struct source_call *call);
/* Durable, and not before: somebody may look. */
void runner_show_durable(struct runner *r, const struct ingest_rows *entry);
void runner_show_success(struct runner *r, bool was_failing);
void runner_show_failure(struct runner *r, const struct part *part, const char *text);
void runner_show_broken(struct runner *r, const char *text);
void runner_show_warning(struct source *source, const char *text); /* source_ops.warn; any thread */

/* records, dead and success_ms of the source's own row: what has entered; what it is to say; what it said, and the sum of the parts' records. */
void runner_count_entered(struct runner *r, const struct ingest_rows *entry);
void runner_put_counts(struct runner *r, struct source_state_row *row);
void runner_take_counts(struct runner *r, const struct source_state_row *row);
void runner_know_records(struct runner *r, uint64_t at_least);

/* ---- runner_plan.c ---- */

void runner_plan(struct runner *r);
void runner_plan_hold_over(struct runner *r); /* a plan that the log refused is entered again */
void runner_plan_cancel(struct runner *r);

/* ---- runner_part.c ---- */

struct part *part_find(const struct runner *r, struct slice name);

/* In the table; ERR_NOMEM gives NULL. checkpoint and counts from a row, or NULL. */
struct part *part_new(struct runner *r, struct slice name, struct slice title,
		      const struct source_part_row *row);
void part_want(struct part *p);
struct part *part_take_ready(struct runner *r); /* the first of the list, which has one */
void part_unready(struct runner *r);            /* all of the list rest, and are wanted later */
void part_want_again(struct runner *r);         /* those */
void part_set_begun(struct part *p, bool begun);
void part_drop(struct part *p); /* its state; and itself where it is gone */
void part_free(struct part *p); /* off every list but that of siblings */
void part_row_key(const struct part *p, struct buf *out);

/* ---- runner_pull.c ---- */

void part_pull(struct part *p);
void runner_cancel_pulls(struct runner *r);
struct box *part_take_box(
	struct part *p); /* for a call that begins now. NULL: no memory, it is tried again by itself */
void box_finished(
	struct box *b); /* the part has nothing more to do with it; it may still be on its way to the disk */
bool box_has_something(const struct box *b);
void box_put_away(struct runner *r, struct box *b); /* it is durable, or nothing of it enters */

/* ---- runner_enter.c ---- */

void box_enter(struct box *b);

/* Batches of a part that may be on their way to the disk: see runner_begin.c. */
#define RUNNER_ENTERED_MAX 16u
void part_try_again(struct part *p); /* a held batch */

/* ---- runner_dead.c ---- */

/* Rows that the door never takes become dead letters, as those of the batch do; the others move up. ERR_NOMEM. */
int box_set_aside(struct box *b);

/* ---- runner_settle.c ---- */

/* again: what was found at the start, or failed, without a batch; else what the part's box has brought. */
void part_settle(struct part *p, bool again);

#endif
