/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kafka's coordinator writes that it will end a transaction (PrepareCommit), then the markers, partition by
 * partition, perhaps on other machines, then that it has (CompleteCommit). In between the transaction is
 * half ended, and requests about it are put off with CONCURRENT_TRANSACTIONS. Here all of it is one commit of
 * one log. So there is no in between: a request is decided against what has entered, and enters its own
 * change behind it; what is told waits for the sync. A repeat whose effect is on its way to the
 * disk waits for that (txn.last) and enters nothing.
 *
 * How a request runs: check against the fields of the transaction, write down how they shall be (a draft), take all
 * memory that this needs, enter, and only then make the draft true, which cannot fail.
 *
 * Rejected: PrepareCommit as a row of its own and CONCURRENT_TRANSACTIONS after it, as in Kafka. It costs a
 * second sync for each transaction and a recovery that ends what was half ended.
 */
#include "ingest/txn.h"

#include "base/check.h"
#include "base/mem.h"
#include "ingest/txn_table.h"
#include "log/producers.h"

#define BYTES_MAX_DEFAULT ((size_t)64 << 20)
#define EPOCH_LAST   \
	(INT16_MAX - \
	 1) /* given to a producer; one more is left to fence it (TransactionMetadata.isEpochExhausted) */
#define TICK_COMMITS 64    /* under one lock */
#define TICK_ROWS 256      /* of one commit that forgets */
#define TICK_PAUSE_MS 20   /* deadlines are met within this */
#define TICK_RETRY_MS 1000 /* where the log took nothing */
#define COORDINATOR_EPOCH 0

/* The coordinator's thread writes, any reads. */
struct txn_figures {
	_Atomic uint64_t begun, committed, aborted, timed_out, fenced, expired;
};

struct txns {
	struct txns_options options;
	struct producer_ids *ids;
	struct txn_table table;
	struct log_port *port;
	int64_t timeout_at_ms;   /* no transaction times out before */
	int64_t expiry_retry_ms; /* nothing is forgotten before: the log took nothing */
	int64_t told_ms;         /* the deadline that was given last */
	void (*on_deadline)(void *ctx);
	void *ctx;
	struct txn_figures stats;
};

/* A commit on its way to the disk, and who waits for it. */
struct txn_change {
	struct txns *txns;
	struct txn *txn; /* NULL: it is forgotten */
	struct txn_call *first, *last;
	enum txn_state shown; /* as long as it is under way */
};

const char *txn_state_name(enum txn_state state)
{
	static const char *const names[TXN_STATES] = {
		"Empty",          "Ongoing",       "PrepareCommit", "PrepareAbort",
		"CompleteCommit", "CompleteAbort", "Dead",
	};

	return names[state];
}

/* ---- opening ---- */

static int apply_row(void *ctx, struct slice key, struct slice value)
{
	struct txns *t = ctx;

	return txn_table_apply(&t->table, key, value);
}

static int each_row(void *ctx, uint32_t part, uint32_t parts, state_row_fn *fn, void *fn_ctx)
{
	const struct txns *t = ctx;

	return txn_table_each(&t->table, part, parts, fn, fn_ctx);
}

int txns_new(const struct txns_options *options, struct txns **out)
{
	struct txns *t = mem_zalloc(1, sizeof(*t));
	struct state_table table = {.id = STATE_TRANSACTIONS,
				    .name = "transactions",
				    .apply = apply_row,
				    .each_part = each_row,
				    .ctx = t};
	int rc;

	if (!t)
		return ERR_NOMEM;
	t->options = *options;
	if (!t->options.timeout_max_ms)
		t->options.timeout_max_ms = TXN_TIMEOUT_MAX_MS;
	if (!t->options.expiry_ms)
		t->options.expiry_ms = TXN_EXPIRY_MS;
	if (!t->options.bytes_max)
		t->options.bytes_max = BYTES_MAX_DEFAULT;
	t->timeout_at_ms = t->told_ms = INT64_MAX;
	rc = txn_table_init(&t->table, log_sys(options->log));
	if (rc == 0)
		rc = producer_ids_new(options->state, &t->ids);
	if (rc == 0)
		rc = state_register(options->state, &table);
	if (rc) {
		txns_free(t);
		return rc;
	}
	*out = t;
	return 0;
}

void txns_free(struct txns *t)
{
	if (!t)
		return;
	t->table.share = NULL; /* its loop has ended */
	producer_ids_free(t->ids);
	txn_table_fini(&t->table);
	mem_free(t);
}

static int64_t timeout_of(const struct txn_fields *f)
{
	return f->start_ms + f->timeout_ms + 1;
}

static void note_timeout(struct txns *t, const struct txn *x)
{
	if (x->now.state == TXN_ONGOING && timeout_of(&x->now) < t->timeout_at_ms)
		t->timeout_at_ms = timeout_of(&x->now);
}

static int fence_loaded(void *ctx, const struct txn *x)
{
	struct txns *t = ctx;

	note_timeout(t, x);
	return x->now.epoch > 0 ? producer_fence(t->options.log, x->now.producer_id, x->now.epoch) : 0;
}

int txns_ready(struct txns *t, struct fault *fault)
{
	int rc = txn_table_sort(&t->table);

	if (rc == 0)
		rc = txn_table_walk(&t->table, fence_loaded, t);
	return rc ? fault_set(fault, rc, "no memory for the producers of transactions") : 0;
}

void txns_start(struct txns *t, struct log_port *port, struct budget_share *share)
{
	t->port = port;
	t->table.share = share;
	if (share)
		budget_add(share, t->table.bytes);
	producer_ids_start(t->ids, port);
}

void txns_watch(struct txns *t, void (*on_deadline)(void *ctx), void *ctx)
{
	t->on_deadline = on_deadline;
	t->ctx = ctx;
}

/* When the first of the idle ones is to be forgotten. */
static int64_t expiry_of(const struct txns *t)
{
	const struct txn *x = t->table.idle.first;
	int64_t at_ms = x ? x->now.update_ms + t->options.expiry_ms : INT64_MAX;

	return at_ms > t->expiry_retry_ms ? at_ms : t->expiry_retry_ms;
}

static int64_t deadline_of(const struct txns *t)
{
	return t->timeout_at_ms < expiry_of(t) ? t->timeout_at_ms : expiry_of(t);
}

int64_t txns_deadline_ms(struct txns *t)
{
	t->told_ms = deadline_of(t);
	return t->told_ms;
}

/* ---- entering ---- */

static bool is_under_way(const struct txn_change *c)
{
	return c->txn && c->txn->last == c;
}

static void on_durable(void *ctx)
{
	struct txn_change *c = ctx;
	struct txn_call *call = c->first;

	if (is_under_way(c))
		c->txn->last = NULL;
	mem_free(c);
	while (call) {
		struct txn_call *next = call->next;
		call->on_done(call);
		call = next;
	}
}

static void add_waiter(struct txn_change *c, struct txn_call *call)
{
	call->next = NULL;
	if (c->last)
		c->last->next = call;
	else
		c->first = call;
	c->last = call;
}

/* What a client is told where the log, or memory, is at a bound. */
static int refusal(int rc)
{
	return rc == ERR_LIMIT ? rc : ERR_COORDINATOR;
}

/* The effect is there already: answered when it is durable. */
static int answer_repeat(const struct txn *x, struct txn_call *call)
{
	if (!x->last)
		return 0;
	add_waiter(x->last, call);
	return TXN_LATER;
}

/* What enters besides the row of the transaction. */
struct txn_also {
	const struct txn_fields *fields; /* the draft; NULL: nothing changes but the offsets */
	struct offsets_change *offsets;  /* NULL: none */
	struct log_record *markers;
	uint32_t marker_count;
	enum txn_state shown;
};

static uint32_t gather_rows(struct state_row *rows, const struct txn *x, const struct txn_also *also,
			    struct buf *key, struct buf *value)
{
	uint32_t offset_rows = 0, count = 0;
	const struct state_row *more =
		also->offsets ? offsets_change_rows(also->offsets, &offset_rows) : NULL;

	if (also->fields) {
		txn_row_key(key, txn_id(x));
		txn_row_write(value, also->fields);
		rows[count++] = (struct state_row){.table = STATE_TRANSACTIONS,
						   .key = buf_slice(key),
						   .value = buf_slice(value),
						   .frees = also->marker_count > 0 || also->offsets};
	}
	for (uint32_t i = 0; i < offset_rows; i++)
		rows[count++] = more[i];
	return count;
}

static int put(struct txns *t, const struct txn *x, const struct txn_also *also, struct txn_change *c)
{
	struct state_done done = {.port = t->port, .fn = on_durable, .ctx = c};
	uint32_t count = 0;
	struct state_row *rows;
	struct buf key, value;
	int rc;

	if (also->offsets)
		(void)offsets_change_rows(also->offsets, &count);
	rows = mem_alloc((count + 1) * sizeof(*rows));
	if (!rows)
		return ERR_NOMEM;
	buf_init(&key, STATE_ROW_BYTES_MAX);
	buf_init(&value, STATE_ROW_BYTES_MAX);
	count = gather_rows(rows, x, also, &key, &value);
	rc = buf_status(&key) ? buf_status(&key) : buf_status(&value);
	if (rc == 0)
		rc = state_put_with(t->options.state, rows, count, also->markers, also->marker_count, &done);
	buf_fini(&key);
	buf_fini(&value);
	mem_free(rows);
	return rc;
}

/*
 * Enters, and makes the draft true. Takes also->offsets where it gives 0 or TXN_LATER. Under log_enter_begin.
 * A fence in the log is for batches outside of transactions; the door asks for the others. So it may fail for memory.
 */
static int enter(struct txns *t, struct txn *x, const struct txn_also *also, struct txn_call *call)
{
	const struct txn_fields *f = also->fields;
	struct txn_change *c = mem_zalloc(1, sizeof(*c));
	int rc;

	if (!c)
		return ERR_COORDINATOR;
	*c = (struct txn_change){.txns = t, .txn = x, .shown = also->shown};
	rc = put(t, x, also, c);
	if (rc) {
		mem_free(c);
		return refusal(rc);
	}
	if (f && f->producer_id != x->now.producer_id)
		producer_unfence(t->options.log, x->now.producer_id);
	if (f && f->epoch > 0 && f->epoch != x->now.epoch)
		(void)producer_fence(t->options.log, f->producer_id, f->epoch);
	if (f && f->state == TXN_ONGOING && x->now.state != TXN_ONGOING)
		t->stats.begun++;
	if (f)
		txn_set(&t->table, x, f);
	if (also->offsets)
		offsets_change_apply(t->options.offsets, also->offsets);
	x->last = c;
	note_timeout(t, x);
	if (t->on_deadline && deadline_of(t) < t->told_ms)
		t->on_deadline(t->ctx);
	state_tidy(t->options.state);
	if (call)
		add_waiter(c, call);
	return TXN_LATER;
}

/* ---- ending ---- */

/* The partition, where it is there still. */
static struct partition *find_partition(const struct txns *t, const struct txn_partition *at)
{
	struct topic *topic = topics_find_id(t->options.topics, &at->topic);

	return topic ? topic_partition(topic, at->number) : NULL;
}

struct marker {
	struct log_record record;
	uint8_t bytes[BATCH_MARKER_BYTES];
};

static int make_markers(const struct txns *t, const struct txn *x, const struct batch_marker *marker,
			struct txn_also *also)
{
	uint32_t count = x->now.partition_count;
	uint8_t *bytes;

	also->markers = mem_zalloc(count + 1, sizeof(struct marker));
	if (!also->markers)
		return ERR_COORDINATOR;
	bytes = (uint8_t *)(also->markers + count);
	(void)batch_put_marker(bytes, marker);
	for (uint32_t i = 0; i < count; i++) {
		struct partition *p = find_partition(t, &x->now.partitions[i]);
		if (p)
			also->markers[also->marker_count++] =
				(struct log_record){.partition = p,
						    .timestamp_ms = -1,
						    .value = slice_make(bytes, BATCH_MARKER_BYTES),
						    .batch_records = 1};
	}
	return 0;
}

static void count_end(struct txns *t, bool commit)
{
	if (commit)
		t->stats.committed++;
	else
		t->stats.aborted++;
}

/*
 * Ends the transaction and makes `after` true, all in one commit; `epoch` is that of the markers. Offsets
 * that waited are committed or let go. Under log_enter_begin.
 */
static int end_with(struct txns *t, struct txn *x, const struct txn_fields *after, int16_t epoch, bool commit,
		    struct txn_call *call, int64_t now_ms)
{
	struct batch_marker marker = {.producer_id = x->now.producer_id,
				      .producer_epoch = epoch,
				      .timestamp_ms = now_ms,
				      .coordinator_epoch = COORDINATOR_EPOCH,
				      .commit = commit};
	struct txn_also also = {.fields = after, .shown = commit ? TXN_PREPARE_COMMIT : TXN_PREPARE_ABORT};
	int rc = make_markers(t, x, &marker, &also);

	if (rc == 0 && offsets_end(t->options.offsets, x->now.producer_id, commit, &also.offsets))
		rc = ERR_COORDINATOR;
	if (rc == 0)
		rc = enter(t, x, &also, call);
	if (rc < 0)
		offsets_change_free(also.offsets);
	else
		count_end(t, commit);
	mem_free(also.markers);
	return rc;
}

/* As it is once it has ended. */
static struct txn_fields ended(const struct txn *x, bool commit, int64_t now_ms)
{
	struct txn_fields f = x->now;

	f.state = commit ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT;
	f.last_producer_id = f.producer_id;
	f.partitions = NULL;
	f.partition_count = 0;
	f.groups = NULL;
	f.update_ms = now_ms;
	return f;
}

/* ---- checking ---- */

/* 0 and the transaction, or why not. */
static int find(const struct txns *t, const struct txn_who *who, struct txn **out)
{
	if (!who->id.ptr || who->id.len == 0)
		return ERR_MALFORMED;
	*out = txn_find(&t->table, who->id);
	if (!*out || (*out)->now.producer_id != who->producer_id)
		return ERR_PRODUCER_MAPPING;
	return (*out)->now.epoch == who->epoch ? 0 : ERR_PRODUCER_FENCED;
}

int txn_may_write(const struct txns *t, int64_t producer_id, int16_t epoch, const struct partition *p)
{
	const struct txn *x = txn_find_producer(&t->table, producer_id);
	struct txn_partition at = {.topic = *partition_topic(p), .number = partition_number(p)};

	if (!x)
		return ERR_PRODUCER_MAPPING;
	if (x->now.epoch != epoch)
		return ERR_PRODUCER_EPOCH;
	return x->now.state == TXN_ONGOING && txn_has_partition(&x->now, &at) ? 0 : ERR_TXN_STATE;
}

/* ---- InitProducerId ---- */

static void on_id_durable(struct producer_ids_waiter *w)
{
	struct txn_call *call = (struct txn_call *)((char *)w - offsetof(struct txn_call, waiter));

	call->on_done(call);
}

static int init_idempotent(struct txns *t, struct txn_call *call)
{
	int rc;

	call->producer_epoch = 0;
	call->waiter.on_durable = on_id_durable;
	log_enter_begin(t->options.log);
	rc = producer_ids_take(t->ids, &call->waiter, &call->producer_id);
	log_enter_end(t->options.log);
	return rc < 0 ? refusal(rc) : rc;
}

static int check_init(const struct txns *t, const struct txn_init *ask)
{
	if (ask->id.len == 0 || (ask->producer_id == -1) != (ask->epoch == -1))
		return ERR_MALFORMED;
	return ask->timeout_ms > 0 && ask->timeout_ms <= t->options.timeout_max_ms ? 0 : ERR_TXN_TIMEOUT;
}

/* TransactionCoordinator.isValidProducerId: the expected one is the present, or the one before, whose epochs were used up. */
static bool is_expected_producer(const struct txn_fields *f, const struct txn_init *ask)
{
	return ask->producer_id == -1 || ask->producer_id == f->producer_id ||
	       (ask->producer_id == f->last_producer_id && ask->epoch >= EPOCH_LAST);
}

/* TransactionMetadata.prepareProducerIdRotation */
static int rotate(struct txns *t, const struct txn_init *ask, struct txn_fields *f)
{
	int rc;

	f->last_epoch = ask->epoch == -1 ? -1 : f->epoch;
	f->epoch = 0;
	rc = producer_ids_take(t->ids, NULL, &f->producer_id);
	return rc < 0 ? refusal(rc) : 0;
}

/* TransactionMetadata.prepareIncrementProducerEpoch */
static int next_epoch(struct txns *t, const struct txn_init *ask, struct txn_fields *f)
{
	if (ask->epoch != -1 && ask->epoch != f->epoch)
		return ask->epoch == f->last_epoch ? 0 :
						     ERR_PRODUCER_FENCED; /* a repeat gets the same again */
	if (f->epoch >= EPOCH_LAST)
		return rotate(t, ask, f);
	f->last_epoch = ask->epoch;
	f->epoch++;
	return 0;
}

/* Its transaction is aborted with the epoch that follows, and the producer goes on with that, or under a new id. */
static int init_over_ongoing(struct txns *t, struct txn *x, const struct txn_init *ask,
			     struct txn_fields *draft, struct txn_call *call, int64_t now_ms)
{
	int16_t fence = (int16_t)(x->now.epoch + 1);

	if (ask->epoch != -1 && (ask->producer_id != x->now.producer_id || ask->epoch != x->now.epoch))
		return ERR_PRODUCER_FENCED;
	return next_epoch(t, ask, draft) ?: end_with(t, x, draft, fence, false, call, now_ms);
}

static int init_known(struct txns *t, struct txn *x, const struct txn_init *ask, struct txn_call *call,
		      int64_t now_ms)
{
	struct txn_fields draft = ended(x, false, now_ms);
	struct txn_also also = {.fields = &draft, .shown = TXN_EMPTY};
	int rc;

	if (!is_expected_producer(&x->now, ask))
		return ERR_PRODUCER_FENCED;
	draft.state = TXN_EMPTY;
	draft.start_ms = -1;
	draft.timeout_ms = ask->timeout_ms;
	if (x->now.state == TXN_ONGOING)
		rc = init_over_ongoing(t, x, ask, &draft, call, now_ms);
	else
		rc = next_epoch(t, ask, &draft) ?: enter(t, x, &also, call);
	call->producer_id = draft.producer_id;
	call->producer_epoch = draft.epoch;
	return rc;
}

static int init_new(struct txns *t, const struct txn_init *ask, struct txn_call *call, int64_t now_ms)
{
	struct txn *x;
	struct txn_fields draft;
	struct txn_also also = {.fields = &draft, .shown = TXN_EMPTY};
	int rc;

	if (t->table.bytes + sizeof(*x) + ask->id.len > t->options.bytes_max)
		return ERR_COORDINATOR;
	x = txn_new(ask->id);
	if (!x)
		return ERR_COORDINATOR;
	draft = x->now;
	draft.epoch = 0;
	draft.timeout_ms = ask->timeout_ms;
	draft.update_ms = now_ms;
	rc = producer_ids_take(t->ids, NULL, &draft.producer_id);
	x->now.producer_id = draft.producer_id;
	txn_add(&t->table, x);
	rc = rc < 0 ? refusal(rc) : enter(t, x, &also, call);
	if (rc < 0)
		txn_drop(&t->table, x);
	call->producer_id = draft.producer_id;
	call->producer_epoch = 0;
	return rc;
}

int txn_init(struct txns *t, struct txn_call *call, const struct txn_init *ask, int64_t now_ms)
{
	struct txn *x;
	int rc;

	if (!ask->id.ptr)
		return init_idempotent(t, call);
	rc = check_init(t, ask);
	if (rc)
		return rc;
	log_enter_begin(t->options.log);
	x = txn_find(&t->table, ask->id);
	rc = x ? init_known(t, x, ask, call, now_ms) : init_new(t, ask, call, now_ms);
	log_enter_end(t->options.log);
	if (rc == ERR_PRODUCER_FENCED)
		t->stats.fenced++;
	return rc;
}

/* ---- what a transaction covers ---- */

/* Begins one where there is none. */
static struct txn_fields begun(const struct txn *x, int64_t now_ms)
{
	struct txn_fields f = x->now;

	if (f.state != TXN_ONGOING)
		f.start_ms = now_ms;
	f.state = TXN_ONGOING;
	f.last_producer_id = f.producer_id;
	f.update_ms = now_ms;
	return f;
}

static bool has_all(const struct txn *x, const struct txn_partition *partitions, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (!txn_has_partition(&x->now, &partitions[i]))
			return false;
	return x->now.state == TXN_ONGOING;
}

static int add_partitions(struct txns *t, struct txn *x, const struct txn_partition *partitions,
			  uint32_t count, struct txn_call *call, int64_t now_ms)
{
	struct txn_fields draft = begun(x, now_ms);
	struct txn_also also = {.fields = &draft, .shown = TXN_ONGOING};
	int rc;

	if (has_all(x, partitions, count))
		return answer_repeat(x, call);
	if (t->table.bytes + count * sizeof(*partitions) > t->options.bytes_max)
		return ERR_COORDINATOR;
	draft.partitions = txn_partitions_merge(&x->now, partitions, count, &draft.partition_count);
	if (!draft.partitions)
		return ERR_COORDINATOR;
	rc = enter(t, x, &also, call);
	if (rc < 0)
		mem_free(draft.partitions);
	return rc;
}

int txn_add_partitions(struct txns *t, struct txn_call *call, const struct txn_who *who,
		       const struct txn_partition *partitions, uint32_t count, int64_t now_ms)
{
	struct txn *x;
	int rc = find(t, who, &x);

	if (rc)
		return rc;
	log_enter_begin(t->options.log);
	rc = add_partitions(t, x, partitions, count, call, now_ms);
	log_enter_end(t->options.log);
	return rc;
}

static int add_group(struct txns *t, struct txn *x, struct slice group, struct txn_call *call, int64_t now_ms)
{
	struct txn_fields draft = begun(x, now_ms);
	struct txn_also also = {.fields = &draft, .shown = TXN_ONGOING};
	struct txn_group *g;
	int rc;

	if (x->now.state == TXN_ONGOING && txn_find_group(x, group))
		return answer_repeat(x, call);
	g = t->table.bytes + sizeof(*g) + group.len > t->options.bytes_max ? NULL : txn_group_new(group);
	if (!g)
		return ERR_COORDINATOR;
	g->next = x->now.groups;
	draft.groups = g;
	rc = enter(t, x, &also, call);
	if (rc < 0)
		mem_free(g);
	return rc;
}

int txn_add_group(struct txns *t, struct txn_call *call, const struct txn_who *who, struct slice group,
		  int64_t now_ms)
{
	struct txn *x;
	int rc = find(t, who, &x);

	if (rc)
		return rc;
	log_enter_begin(t->options.log);
	rc = add_group(t, x, group, call, now_ms);
	log_enter_end(t->options.log);
	return rc;
}

int txn_commit_offsets(struct txns *t, struct txn_call *call, const struct txn_who *who, struct slice group,
		       const struct offset_item *items, uint32_t count, int64_t now_ms)
{
	struct txn_also also = {.shown = TXN_ONGOING};
	struct txn *x;
	int rc = find(t, who, &x);

	(void)now_ms;
	if (rc)
		return rc == ERR_PRODUCER_FENCED ? ERR_PRODUCER_EPOCH : rc;
	if (x->now.state != TXN_ONGOING || !txn_find_group(x, group))
		return ERR_TXN_STATE;
	if (count == 0)
		return answer_repeat(x, call);
	log_enter_begin(t->options.log);
	rc = offsets_put(t->options.offsets, group, who->producer_id, items, count, &also.offsets);
	rc = rc ? refusal(rc) : enter(t, x, &also, call);
	if (rc < 0)
		offsets_change_free(also.offsets);
	log_enter_end(t->options.log);
	return rc;
}

/* ---- EndTxn ---- */

int txn_end(struct txns *t, struct txn_call *call, const struct txn_who *who, bool commit, int64_t now_ms)
{
	struct txn_fields after;
	struct txn *x;
	int rc = find(t, who, &x);

	if (rc)
		return rc;
	if (x->now.state == (commit ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT))
		return answer_repeat(x, call);
	if (x->now.state != TXN_ONGOING)
		return ERR_TXN_STATE;
	after = ended(x, commit, now_ms);
	log_enter_begin(t->options.log);
	rc = end_with(t, x, &after, x->now.epoch, commit, call, now_ms);
	log_enter_end(t->options.log);
	return rc;
}

/* ---- time ---- */

/* Aborted under the next epoch, which nobody is given: its producer is fenced. */
static int time_out(struct txns *t, struct txn *x, int64_t now_ms)
{
	struct txn_fields after = ended(x, false, now_ms);
	int rc;

	after.epoch++;
	after.last_epoch = -1;
	rc = end_with(t, x, &after, after.epoch, false, NULL, now_ms);
	if (rc >= 0)
		t->stats.timed_out++;
	return rc;
}

/* Up to so many; gives when to come again. */
static int64_t time_out_some(struct txns *t, int64_t now_ms)
{
	int64_t next_ms = INT64_MAX;
	uint32_t ended_count = 0;
	struct txn *following;

	for (struct txn *x = t->table.ongoing.first; x; x = following) {
		following = x->next;
		if (timeout_of(&x->now) > now_ms) {
			if (timeout_of(&x->now) < next_ms)
				next_ms = timeout_of(&x->now);
			continue;
		}
		if (ended_count++ == TICK_COMMITS)
			return now_ms;
		if (time_out(t, x, now_ms) < 0)
			return now_ms + TICK_RETRY_MS;
	}
	return next_ms < now_ms + TICK_PAUSE_MS ? now_ms + TICK_PAUSE_MS : next_ms;
}

/* The first so many that were idle for long enough, in one commit. */
static int forget_some(struct txns *t, int64_t before_ms)
{
	struct state_row rows[TICK_ROWS];
	struct buf keys;
	struct state_row *row = rows;
	uint32_t count = 0;
	size_t at = 0;
	int rc;

	buf_init(&keys, (size_t)TICK_ROWS * (INT16_MAX + 1));
	for (const struct txn *x = t->table.idle.first; x && count < TICK_ROWS; x = x->next, count++) {
		if (x->last || x->now.update_ms > before_ms)
			break;
		txn_row_key(&keys, txn_id(x));
	}
	rc = buf_status(&keys);
	for (const struct txn *x = t->table.idle.first; rc == 0 && at < keys.len; x = x->next) {
		*row++ = (struct state_row){.table = STATE_TRANSACTIONS,
					    .key = slice_make(keys.ptr + at, x->id_len + 1),
					    .frees = true};
		at += x->id_len + 1;
	}
	if (rc == 0 && count)
		rc = state_put(t->options.state, rows, count, NULL);
	buf_fini(&keys);
	for (; count && rc == 0; count--) {
		producer_unfence(t->options.log, t->table.idle.first->now.producer_id);
		txn_drop(&t->table, t->table.idle.first);
		t->stats.expired++;
	}
	return rc;
}

void txns_tick(struct txns *t, int64_t now_ms)
{
	log_enter_begin(t->options.log);
	if (now_ms >= t->timeout_at_ms)
		t->timeout_at_ms = time_out_some(t, now_ms);
	if (now_ms >= expiry_of(t) && forget_some(t, now_ms - t->options.expiry_ms))
		t->expiry_retry_ms = now_ms + TICK_RETRY_MS;
	state_tidy(t->options.state);
	log_enter_end(t->options.log);
}

/* ---- looking ---- */

static struct txn_view view_of(const struct txn *x)
{
	bool ending = x->last && x->last->shown != TXN_EMPTY && x->last->shown != TXN_ONGOING;

	return (struct txn_view){.id = txn_id(x),
				 .producer_id = x->now.producer_id,
				 .epoch = x->now.epoch,
				 .state = ending ? x->last->shown : x->now.state,
				 .timeout_ms = x->now.timeout_ms,
				 .start_ms = x->now.start_ms,
				 .partitions = x->now.partitions,
				 .partition_count = x->now.partition_count,
				 .groups = x->now.groups};
}

bool txn_view_group(struct txn_view *view, struct slice *group)
{
	if (!view->groups)
		return false;
	*group = txn_group_name(view->groups);
	view->groups = view->groups->next;
	return true;
}

bool txn_look(const struct txns *t, struct slice id, struct txn_view *out)
{
	const struct txn *x = txn_find(&t->table, id);

	if (x)
		*out = view_of(x);
	return x != NULL;
}

struct viewing {
	bool (*fn)(void *ctx, const struct txn_view *view);
	void *ctx;
};

static int show(void *ctx, const struct txn *x)
{
	struct viewing *v = ctx;
	struct txn_view view = view_of(x);

	return !v->fn(v->ctx, &view);
}

void txns_each(const struct txns *t, bool (*fn)(void *ctx, const struct txn_view *view), void *ctx)
{
	struct viewing v = {.fn = fn, .ctx = ctx};

	(void)txn_table_walk(&t->table, show, &v);
}

void txns_stats(const struct txns *t, struct txns_stats *out)
{
	const struct txn_figures *f = &t->stats;

	*out = (struct txns_stats){.ids = t->table.id_count,
				   .ongoing = t->table.ongoing_count,
				   .bytes = t->table.bytes,
				   .begun = f->begun,
				   .committed = f->committed,
				   .aborted = f->aborted,
				   .timed_out = f->timed_out,
				   .fenced = f->fenced,
				   .expired = f->expired};
}
