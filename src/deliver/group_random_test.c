/* SPDX-License-Identifier: Apache-2.0 */
/* The property: whatever members do and however often weir restarts, they agree in the end. GROUP_SEEDS=n runs more of it. */
#include "deliver/group_world_test.h"

#define ACTORS 6

struct actor {
	struct client c;
	bool alive, stable;
	int32_t generation; /* of its assignment */
};

static void actor_step(struct world *w, struct actor *actor)
{
	struct client *c = &actor->c;
	int rc;

	if (c->parked)
		return;
	if (!actor->stable && c->answers && c->err == 0 && c->assignment[0]) {
		actor->stable = true;
		actor->generation = c->generation;
		return;
	}
	if (actor->stable) {
		rc = beat(w, c);
		if (rc == 0)
			return;
		actor->stable = false;
		c->assignment[0] = 0;
		if (rc != ERR_REBALANCING)
			c->err = rc;
		if (rc == ERR_UNKNOWN_MEMBER)
			c->id[0] = 0;
		join(w, c);
		return;
	}
	if (c->err == ERR_UNKNOWN_MEMBER)
		c->id[0] = 0;
	if (c->answers && c->err == 0 && c->generation > 0 && c->protocol[0] && !c->assignment[0] &&
	    c->leader[0])
		sync_as(w, c);
	else
		join(w, c);
	if (!c->parked && c->err)
		c->generation = -1;
}

/* Who is stable in the group's generation has an assignment of that generation, and nobody else may commit. */
static void check_world(struct world *w, struct actor *actors, const struct named *topic)
{
	struct group_view v = view(w);

	for (int i = 0; i < ACTORS; i++) {
		struct client *c = &actors[i].c;
		int32_t of = 0;
		if (!actors[i].stable)
			continue;
		of = (int32_t)strtol(c->assignment, NULL, 10);
		assert_int_equal(of, actors[i].generation);
		assert_string_equal(strchr(c->assignment, ':') + 1, c->id + strlen(c->id) - 8);
		if (actors[i].generation != v.generation)
			assert_int_not_equal(commit_as(w, slice_str(c->id), actors[i].generation, topic, 1),
					     0);
	}
}

static void settle(struct world *w, struct actor *actors)
{
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < ACTORS; i++)
			if (actors[i].alive)
				actor_step(w, &actors[i]);
		pass(w, 500);
	}
}

static void check_settled(struct world *w, struct actor *actors)
{
	struct group_view v = view(w);
	uint32_t alive = 0, leaders = 0;

	for (int i = 0; i < ACTORS; i++) {
		if (!actors[i].alive)
			continue;
		alive++;
		assert_true(actors[i].stable);
		assert_int_equal(actors[i].generation, v.generation);
		assert_int_equal(beat(w, &actors[i].c), 0);
		leaders += actors[i].c.leader[0] && strcmp(actors[i].c.leader, actors[i].c.id) == 0;
	}
	assert_int_equal(v.member_count, alive);
	if (alive)
		assert_int_equal(v.state, GROUP_STABLE);
	assert_true(leaders <= 1);
}

static void disturb(struct world *w, struct actor *actors, struct rand *r)
{
	struct actor *actor = &actors[rand_below(r, ACTORS)];

	switch (rand_below(r, 8)) {
	case 0: /* dies */
		actor->alive = false;
		actor->stable = false;
		break;
	case 1: /* a new process */
		if (actor->c.parked)
			break;
		*actor = (struct actor){.alive = true};
		break;
	case 2:
		if (actor->alive && !actor->c.parked && actor->c.id[0]) {
			(void)leave(w, &actor->c);
			*actor = (struct actor){0};
		}
		break;
	case 3:
		restart(w); /* ends every wait */
		break;
	case 4:
		pass(w, (int64_t)rand_below(r, SESSION));
		break;
	case 5:
		if (actor->alive && !actor->c.parked && actor->c.id[0]) { /* its metadata changed, say */
			actor->stable = false;
			actor->c.assignment[0] = 0;
			join(w, &actor->c);
		}
		break;
	default:
		if (actor->alive)
			actor_step(w, actor);
		break;
	}
}

static void members_agree_whatever_happens(void **state)
{
	struct world *w = *state;
	struct named *orders = create(w, "orders");
	struct actor actors[ACTORS];
	const char *seeds = getenv("GROUP_SEEDS");
	uint64_t last = seeds ? strtoull(seeds, NULL, 10) : 12;

	memset(actors, 0, sizeof(actors));
	for (uint64_t seed = 1; seed <= last; seed++) {
		struct rand r;
		rand_seed(&r, seed);
		for (int i = 0; i < 300; i++) {
			disturb(w, actors, &r);
			if (rand_below(&r, 3) == 0)
				sync_disk(w);
			check_world(w, actors, orders);
			for (int a = 0; a < ACTORS && rand_below(&r, 2) == 0; a++)
				if (actors[a].alive)
					actor_step(w, &actors[a]);
		}
		settle(w, actors);
		check_settled(w, actors);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(members_agree_whatever_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
