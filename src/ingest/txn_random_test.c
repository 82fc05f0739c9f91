/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that transact, more of them than there are transactional ids, over a log on a simulated disk that is
 * synced, moved, checkpointed, cut from its power and set forward in time at random. What is unanswered when weir dies is asked again. Always: a transaction is
 * seen as a whole or not at all, with its offsets; what was answered stays so; who is fenced writes nothing.
 * WEIR_SEED=n runs that seed alone, WEIR_SEEDS=n so many of them.
 */
#include "ingest/txn_world_test.h"

#include "base/rand.h"

#define IDS 3u
#define CLIENTS 7u
#define TXNS_MAX 4096u
#define STEPS 3000u
#define SEEDS 100u

enum op { OP_INIT, OP_ADD, OP_GROUP, OP_OFFSET, OP_END };

enum fate {
	FATE_OPEN,   /* never asked to be committed */
	FATE_ASKED,  /* was asked, nobody knows */
	FATE_COMMIT, /* told so */
};

struct one_txn {
	uint32_t id;
	uint32_t written[PARTITIONS];
	bool has_offset;
	enum fate fate;
};

struct client;
struct pending {
	struct txn_call call;  /* first */
	struct client *client; /* NULL: nobody waits for it any more */
	enum op op;
};

struct client {
	struct random_world *r;
	uint32_t id;
	char name[8], group[8];
	struct who who;
	bool was, ready, must_abort;
	uint32_t txn; /* 0: none */
	uint32_t added;
	bool has_group;
	int32_t sequence[PARTITIONS];
	uint32_t unsynced; /* writes */
	struct pending *waiting;
	enum op op;
	bool commit;
	uint32_t partition;
};

struct random_world {
	struct world *w;
	jmp_buf power_off;
	uint32_t calls_left; /* of the disk, until the power goes; 0: it stays */
	struct rand rand;
	struct client clients[CLIENTS];
	struct one_txn txns[TXNS_MAX];
	uint32_t txn_count;
	uint32_t commits, aborts, fenced, crashes;
};

static uint64_t below(struct random_world *r, uint64_t n)
{
	return rand_below(&r->rand, n);
}

/* A life that ends without power leaves its memory behind. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}

/* ---- what a client does with an answer ---- */

static void finish(struct client *c)
{
	c->txn = c->added = 0;
	c->has_group = false;
	if (c->must_abort) { /* what was written is not known: on with a new epoch */
		c->must_abort = false;
		c->ready = false;
	}
}

static void take_answer(struct client *c, enum op op, const struct txn_call *call)
{
	switch (op) {
	case OP_INIT:
		c->who.producer_id = call->producer_id;
		c->who.epoch = call->producer_epoch;
		memset(c->sequence, 0, sizeof(c->sequence));
		c->ready = c->was = true;
		c->must_abort = false;
		finish(c);
		break;
	case OP_ADD:
		c->added |= 1u << c->partition;
		break;
	case OP_GROUP:
		c->has_group = true;
		break;
	case OP_OFFSET:
		c->r->txns[c->txn].has_offset = true;
		break;
	case OP_END:
		if (c->commit)
			c->r->txns[c->txn].fate = FATE_COMMIT;
		c->r->commits += c->commit;
		c->r->aborts += !c->commit;
		finish(c);
		break;
	}
}

static void on_answer(struct txn_call *call)
{
	struct pending *p = (struct pending *)call;

	if (p->client && p->client->waiting == p) {
		p->client->waiting = NULL;
		take_answer(p->client, p->op, call);
	}
	free(p);
}

static void take_refusal(struct client *c, int rc)
{
	assert_true(rc == ERR_PRODUCER_FENCED || rc == ERR_PRODUCER_EPOCH || rc == ERR_PRODUCER_MAPPING ||
		    rc == ERR_TXN_STATE);
	c->r->fenced++;
	c->ready = false;
	c->was = c->was && below(c->r, 2) && rc != ERR_PRODUCER_MAPPING; /* half give up who they were */
	c->must_abort = false;
	finish(c);
}

static int ask_coordinator(struct client *c, struct pending *p)
{
	struct world *w = c->r->w;
	struct txn_who who = as_who(&c->who);
	struct txn_partition partition = at(w, c->partition);
	struct txn_init init = {.id = slice_str(c->name),
				.timeout_ms = MINUTE,
				.producer_id = c->was ? c->who.producer_id : -1,
				.epoch = c->was ? c->who.epoch : -1};
	struct offset_item item = {.topic = w->topic->id,
				   .leader_epoch = -1,
				   .offset = c->txn,
				   .committed_ms = w->now_ms,
				   .expires_ms = -1,
				   .metadata = SLICE_LIT("")};

	switch (c->op) {
	case OP_INIT:
		return txn_init(w->txns, &p->call, &init, w->now_ms);
	case OP_ADD:
		return txn_add_partitions(w->txns, &p->call, &who, &partition, 1, w->now_ms);
	case OP_GROUP:
		return txn_add_group(w->txns, &p->call, &who, slice_str(c->group), w->now_ms);
	case OP_OFFSET:
		return txn_commit_offsets(w->txns, &p->call, &who, slice_str(c->group), &item, 1, w->now_ms);
	case OP_END:
		return txn_end(w->txns, &p->call, &who, c->commit, w->now_ms);
	}
	return ERR_INTERNAL;
}

static void ask(struct client *c, enum op op)
{
	struct pending *p = calloc(1, sizeof(*p));
	int rc;

	*p = (struct pending){.call.on_done = on_answer, .client = c, .op = op};
	c->op = op;
	rc = ask_coordinator(c, p);
	if (rc == TXN_LATER) {
		c->waiting = p;
		return;
	}
	if (rc == 0)
		take_answer(c, op, &p->call);
	else
		take_refusal(c, rc);
	free(p);
}

/* ---- what a client does of itself ---- */

static void write_one(struct client *c)
{
	struct txn_view view;
	uint32_t partition = (uint32_t)below(c->r, PARTITIONS);
	uint32_t before = c->r->w->unsynced;
	int rc;

	if (!(c->added & 1u << partition))
		return;
	rc = write_value(c->r->w, &c->who, partition, c->txn, &c->sequence[partition]);
	if (rc) {
		take_refusal(c, rc);
		return;
	}
	assert_true(txn_look(c->r->w->txns, slice_str(c->name), &view));
	assert_int_equal(view.producer_id, c->who.producer_id);
	assert_int_equal(view.epoch, c->who.epoch);
	assert_int_equal(view.state, TXN_ONGOING);
	assert_int_equal(c->r->w->unsynced, before + 1);
	c->r->txns[c->txn].written[partition]++;
	c->unsynced++;
}

static bool has_written(const struct client *c)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < PARTITIONS; i++)
		sum += c->r->txns[c->txn].written[i];
	return sum > 0;
}

static void begin(struct client *c)
{
	if (c->r->txn_count + 1 == TXNS_MAX)
		return;
	c->txn = ++c->r->txn_count;
	c->r->txns[c->txn] = (struct one_txn){.id = c->id};
	c->partition = (uint32_t)below(c->r, PARTITIONS);
	ask(c, OP_ADD);
}

static void end_it(struct client *c)
{
	c->commit = !c->must_abort && has_written(c) && below(c->r, 4) > 0;
	if (c->unsynced && !c->must_abort)
		return; /* as clients do: first all is acknowledged */
	if (c->commit)
		c->r->txns[c->txn].fate = FATE_ASKED;
	ask(c, OP_END);
}

static void act(struct client *c)
{
	uint64_t what = below(c->r, 10);

	if (c->waiting) {
		if (what == 0 && c->op != OP_INIT) { /* asked once more, as after a lost connection */
			c->waiting->client = NULL;
			c->waiting = NULL;
			ask(c, c->op);
		}
		return;
	}
	if (!c->ready) {
		if (c->was ? below(c->r, 4) == 0 : below(c->r, 60) == 0) /* who is new fences another */
			ask(c, OP_INIT);
	} else if (!c->txn) {
		begin(c);
	} else if (c->must_abort || what < 2) {
		end_it(c);
	} else if (what < 4) {
		c->partition = (uint32_t)below(c->r, PARTITIONS);
		ask(c, OP_ADD);
	} else if (what == 4) {
		ask(c, c->has_group ? OP_OFFSET : OP_GROUP);
	} else {
		write_one(c);
	}
}

/* ---- the world ---- */

static void sync_all(struct random_world *r)
{
	settle(r->w);
	if (r->w->unsynced == 0)
		for (uint32_t i = 0; i < CLIENTS; i++)
			r->clients[i].unsynced = 0;
}

static void on_call(void *ctx, enum sim_call call)
{
	struct random_world **r = ctx;

	(void)call;
	if (*r && (*r)->calls_left && --(*r)->calls_left == 0)
		longjmp((*r)->power_off, 1);
}

/* The log works, and does not come to the end of it. */
static void work_into_the_dark(struct random_world *r)
{
	r->calls_left = 1 + (uint32_t)below(r, 30);
	if (setjmp(r->power_off) == 0) {
		sync_log(r->w);
		sim_pass(r->w->sim, 20000000000);
		while (log_step(r->w->log, LOG_STEP_MOVE) > 0 || log_step(r->w->log, LOG_STEP_MAINTAIN) > 0)
			;
	}
	r->calls_left = 0;
}

/* Who waited does not know; he asks again, but who has written and was not told aborts. */
static void crash_all(struct random_world *r)
{
	bool again[CLIENTS];

	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct client *c = &r->clients[i];
		again[i] = c->waiting != NULL;
		if (c->waiting)
			c->waiting->client = NULL;
		c->waiting = NULL;
		c->must_abort = c->must_abort || c->unsynced;
		c->unsynced = 0;
	}
	if (below(r, 2))
		work_into_the_dark(r);
	r->w->cut = (enum sim_cut)below(r, 3);
	crash(r->w);
	r->crashes++;
	for (uint32_t i = 0; i < CLIENTS; i++)
		if (again[i])
			ask(&r->clients[i], r->clients[i].op);
}

/* What is seen of each transaction; false: an open one holds readers back. */
static bool count_seen(struct random_world *r, uint32_t number, uint32_t *count)
{
	static uint32_t values[1u << 16];
	uint32_t n = read_values(r->w, number, false, values, 1u << 16);
	struct partition_range range;

	for (uint32_t i = 0; i < n; i++) {
		assert_true(values[i] > 0 && values[i] <= r->txn_count);
		count[values[i]]++;
	}
	partition_range(topic_partition(r->w->topic, number), &range);
	return range.stable == range.end;
}

/* Of the partitions in which nothing is open. */
static void check_txn(const struct one_txn *x, const uint32_t *seen, const bool *closed)
{
	uint32_t seen_sum = 0, written_sum = 0;

	for (uint32_t p = 0; p < PARTITIONS; p++) {
		if (x->fate == FATE_OPEN)
			assert_int_equal(seen[p], 0);
		if (closed[p] && x->fate == FATE_COMMIT)
			assert_int_equal(seen[p], x->written[p]);
		seen_sum += closed[p] ? seen[p] : 0;
		written_sum += closed[p] ? x->written[p] : 0;
	}
	assert_true(seen_sum == 0 || seen_sum == written_sum);
}

static void check_all(struct random_world *r, bool all_ended)
{
	static uint32_t count[PARTITIONS][TXNS_MAX];
	uint32_t last[IDS] = {0}, told[IDS] = {0};
	bool closed[PARTITIONS];

	memset(count, 0, sizeof(count));
	for (uint32_t p = 0; p < PARTITIONS; p++) {
		closed[p] = count_seen(r, p, count[p]);
		assert_true(closed[p] || !all_ended);
	}
	for (uint32_t t = 1; t <= r->txn_count; t++) {
		const struct one_txn *x = &r->txns[t];
		uint32_t seen[PARTITIONS], sum = 0;
		for (uint32_t p = 0; p < PARTITIONS; p++)
			sum += seen[p] = count[p][t];
		check_txn(x, seen, closed);
		if (sum && x->has_offset)
			last[x->id] = t;
		if (x->fate == FATE_COMMIT && x->has_offset)
			told[x->id] = t;
	}
	for (uint32_t i = 0; i < IDS; i++) {
		int64_t offset = committed(r->w, r->clients[i].group);
		assert_true(offset >= told[i] || !told[i]);
		assert_true(offset == -1 || r->txns[offset].fate != FATE_OPEN);
		if (all_ended)
			assert_int_equal(offset, last[i] ? (int64_t)last[i] : -1);
	}
}

/* Everything ends, and then nothing holds readers back. */
static void check_end(struct random_world *r)
{
	for (uint32_t i = 0; i < 3; i++) {
		r->w->now_ms += 2 * MINUTE;
		sync_all(r);
		txns_tick(r->w->txns, r->w->now_ms);
	}
	sync_all(r);
	check_all(r, true);
}

static void step(struct random_world *r)
{
	uint64_t what = below(r, 100);

	if (what < 70) {
		act(&r->clients[below(r, CLIENTS)]);
	} else if (what < 85) {
		sync_all(r);
	} else if (what < 90) {
		sync_log(r->w); /* durable, and nobody hears of it */
	} else if (what < 93) {
		(void)log_step(r->w->log, LOG_STEP_MOVE);
	} else if (what < 95) {
		sim_pass(r->w->sim, (int64_t)below(r, 20) * 1000000000);
		(void)log_step(r->w->log, LOG_STEP_MAINTAIN);
	} else if (what < 98) {
		r->w->now_ms += (int64_t)below(r, MINUTE / 3);
		if (txns_deadline_ms(r->w->txns) <= r->w->now_ms)
			txns_tick(r->w->txns, r->w->now_ms);
	} else if (what == 98 && below(r, 3) == 0) {
		crash_all(r);
		sync_all(r);
		check_all(r, false);
	}
}

static void start_clients(struct random_world *r)
{
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct client *c = &r->clients[i];
		*c = (struct client){.r = r, .id = i % IDS};
		(void)snprintf(c->name, sizeof(c->name), "t%u", i % IDS);
		(void)snprintf(c->group, sizeof(c->group), "g%u", i % IDS);
		c->who.id = c->name;
	}
}

static void run_seed(struct sim *sim, uint64_t seed, struct random_world **current)
{
	struct random_world *r = calloc(1, sizeof(*r));
	struct world w = {.dir = "data", .sim = sim, .now_ms = 1000000};

	sim_reset(sim, seed);
	start(&w);
	r->w = &w;
	*current = r;
	rand_seed(&r->rand, seed);
	state_set_slack(w.state, 100);
	start_clients(r);
	for (uint32_t i = 0; i < STEPS; i++)
		step(r);
	check_end(r);
	print_message("seed %llu: %u transactions, %u commits, %u aborts, %u refusals, %u crashes\n",
		      (unsigned long long)seed, r->txn_count, r->commits, r->aborts, r->fenced, r->crashes);
	assert_true(r->commits > 0);
	down(&w);
	*current = NULL;
	free(r);
}

static void whatever_happens_transactions_are_whole(void **state)
{
	const char *chosen = getenv("WEIR_SEED"), *many = getenv("WEIR_SEEDS");
	uint64_t first = chosen ? strtoull(chosen, NULL, 10) : 1;
	uint64_t count = chosen ? 1 : many ? strtoull(many, NULL, 10) : SEEDS;
	struct random_world *current = NULL;
	struct sim_options options = {.seed = 1, .pages_max = 1u << 14, .on_call = on_call, .ctx = &current};
	struct sim *sim;

	(void)state;
	assert_int_equal(sim_new(&options, &sim), 0);
	for (uint64_t seed = first; seed < first + count; seed++)
		run_seed(sim, seed, &current);
	sim_free(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_happens_transactions_are_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
