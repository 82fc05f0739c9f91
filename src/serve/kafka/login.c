/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A password becomes a SCRAM secret when it is first asked for: that takes some
 * milliseconds, which a start with many users should not pay for all of them. A
 * user that there is not goes through the same steps with a secret that nobody
 * can prove, under a salt that stays the same, so that names cannot be guessed.
 */
#include "serve/kafka/login.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

#include "base/hash.h"
#include "base/mem.h"
#include "serve/kafka/call.h"
#include "serve/kafka/session.h"

#define REFUSED "the user or the password is not right"
#define NONCE_BYTES 24u

struct login_user {
	char *name, *password;
	struct scram_secret secrets[2]; /* by enum scram_hash; iterations 0: not derived yet */
};

struct login {
	const struct sys *sys;
	struct hash_key key; /* of salts for users that there are not */
	pthread_mutex_t lock;
	struct login_user *users;
	uint32_t count;
};

const struct slice login_mechanisms[LOGIN_COUNT] = {
	[LOGIN_PLAIN] = SLICE_LIT("PLAIN"),
	[LOGIN_SCRAM_256] = SLICE_LIT("SCRAM-SHA-256"),
	[LOGIN_SCRAM_512] = SLICE_LIT("SCRAM-SHA-512"),
};

static char *copy_text(const char *text)
{
	size_t n = strlen(text) + 1;
	char *out = mem_alloc(n);

	return out ? memcpy(out, text, n) : NULL;
}

int login_new(const struct sys *sys, const struct kafka_user *users, uint32_t count, struct login **out,
	      struct fault *fault)
{
	struct login *l = mem_zalloc(1, sizeof(*l));

	if (!l)
		return fault_set(fault, ERR_NOMEM, "no memory for the users of the Kafka port");
	(void)pthread_mutex_init(&l->lock, NULL);
	l->sys = sys;
	l->users = mem_zalloc(count, sizeof(*l->users));
	for (uint32_t i = 0; l->users && i < count; i++) {
		struct login_user *u = &l->users[l->count++];
		u->name = copy_text(users[i].name);
		u->password = copy_text(users[i].password);
		if (!u->name || !u->password)
			break;
	}
	if (l->count < count || (count && !l->users[count - 1].password)) {
		login_free(l);
		return fault_set(fault, ERR_NOMEM, "no memory for the users of the Kafka port");
	}
	if (sys->ops->random(sys->self, &l->key, sizeof(l->key))) {
		login_free(l);
		return fault_set(fault, ERR_IO, "no random bytes for logins");
	}
	*out = l;
	return 0;
}

void login_free(struct login *l)
{
	if (!l)
		return;
	for (uint32_t i = 0; i < l->count; i++) {
		if (l->users[i].password)
			OPENSSL_cleanse(l->users[i].password, strlen(l->users[i].password));
		mem_free(l->users[i].name);
		mem_free(l->users[i].password);
	}
	mem_free(l->users);
	(void)pthread_mutex_destroy(&l->lock);
	mem_free(l);
}

void login_state_fini(struct login_state *state)
{
	scram_free(state->scram);
	state->scram = NULL;
}

bool login_choose(struct login_state *state, struct slice mechanism)
{
	login_state_fini(state);
	*state = (struct login_state){.user = ""};
	for (unsigned i = LOGIN_PLAIN; i < LOGIN_COUNT; i++) {
		if (slice_eq(mechanism, login_mechanisms[i])) {
			state->mechanism = (uint8_t)i;
			return true;
		}
	}
	return false;
}

static struct login_user *find_user(struct login *l, struct slice name)
{
	for (uint32_t i = 0; i < l->count; i++)
		if (slice_eq_str(name, l->users[i].name))
			return &l->users[i];
	return NULL;
}

static int refuse(const char **detail)
{
	*detail = REFUSED;
	return ERR_UNAUTHORIZED;
}

static int welcome(struct login_state *state, const struct login_user *user)
{
	login_state_fini(state);
	state->user = user->name;
	state->done = true;
	return 0;
}

/* ---- PLAIN ---- */

/* As long for a wrong password as for the right one. */
static bool same_secret(struct slice a, struct slice b)
{
	uint8_t x[32], y[32];

	return EVP_Digest(a.ptr, a.len, x, NULL, EVP_sha256(), NULL) == 1 &&
	       EVP_Digest(b.ptr, b.len, y, NULL, EVP_sha256(), NULL) == 1 &&
	       CRYPTO_memcmp(x, y, sizeof(x)) == 0;
}

static struct slice take_part(struct slice *rest)
{
	const uint8_t *end = rest->len ? memchr(rest->ptr, 0, rest->len) : NULL;
	size_t n = end ? (size_t)(end - rest->ptr) : rest->len;
	struct slice part = slice_make(rest->ptr, n);

	*rest = slice_from(*rest, end ? n + 1 : n);
	return part;
}

/* [acts as] NUL user NUL password; acting as another is not known here. */
static int step_plain(struct login *l, struct login_state *state, struct slice token, const char **detail)
{
	struct slice as = take_part(&token), name = take_part(&token), password = take_part(&token);
	struct login_user *user = find_user(l, name);
	bool right = same_secret(password, slice_str(user ? user->password : ""));

	if (!user || !right || token.len || (as.len && !slice_eq(as, name)))
		return refuse(detail);
	return welcome(state, user);
}

/* ---- SCRAM ---- */

static int secret_of(struct login *l, struct login_user *user, enum scram_hash hash, struct scram_secret *out)
{
	uint8_t salt[SCRAM_SALT_BYTES];
	int rc = 0;

	(void)pthread_mutex_lock(&l->lock);
	if (user->secrets[hash].iterations == 0) {
		rc = l->sys->ops->random(l->sys->self, salt, sizeof(salt));
		if (rc == 0)
			rc = scram_derive(hash, slice_str(user->password), salt, SCRAM_ITERATIONS,
					  &user->secrets[hash]);
	}
	*out = user->secrets[hash];
	(void)pthread_mutex_unlock(&l->lock);
	return rc ? ERR_NOMEM : 0;
}

static void secret_of_nobody(const struct login *l, struct slice name, enum scram_hash hash,
			     struct scram_secret *out)
{
	struct hash128 salt = hash_sip24_128(&l->key, name);

	*out = (struct scram_secret){.hash = hash, .iterations = SCRAM_ITERATIONS};
	memcpy(out->salt, &salt, sizeof(out->salt));
}

static int begin_scram(struct login *l, struct login_state *state, struct slice token, struct buf *out)
{
	enum scram_hash hash = state->mechanism == LOGIN_SCRAM_256 ? SCRAM_SHA_256 : SCRAM_SHA_512;
	struct scram_secret secret;
	struct login_user *user;
	uint8_t random[NONCE_BYTES];
	struct slice name;
	int rc;

	state->scram = scram_new();
	if (!state->scram || l->sys->ops->random(l->sys->self, random, sizeof(random)))
		return ERR_NOMEM;
	rc = scram_first(state->scram, token, &name);
	if (rc)
		return rc;
	user = find_user(l, name);
	state->user = user ? user->name : NULL;
	if (user)
		rc = secret_of(l, user, hash, &secret);
	else
		secret_of_nobody(l, name, hash, &secret);
	return rc ? rc : scram_challenge(state->scram, &secret, slice_make(random, sizeof(random)), out);
}

static int step_scram(struct login *l, struct login_state *state, struct slice token, struct buf *out,
		      const char **detail)
{
	struct login_user *user;
	int rc;

	if (!state->scram) {
		rc = begin_scram(l, state, token, out);
	} else {
		rc = scram_last(state->scram, token, out);
		user = state->user ? find_user(l, slice_str(state->user)) : NULL;
		if (rc == 0 && user)
			return welcome(state, user);
		if (rc == 0)
			rc = ERR_UNAUTHORIZED;
	}
	if (rc == 0 || rc == ERR_NOMEM)
		return rc;
	return refuse(detail);
}

int login_step(struct login *l, struct login_state *state, struct slice token, struct buf *out,
	       const char **detail)
{
	int rc;

	*detail = REFUSED;
	if (state->mechanism == LOGIN_NONE || state->done)
		return ERR_UNAUTHORIZED;
	if (state->mechanism == LOGIN_PLAIN)
		rc = step_plain(l, state, token, detail);
	else
		rc = step_scram(l, state, token, out, detail);
	if (rc) {
		login_state_fini(state);
		*state = (struct login_state){.user = ""};
	}
	return rc;
}

/* ---- tokens without a header ---- */

void login_raw_token(struct kafka_call *call)
{
	struct kafka_session *s = call->session;
	struct login *l = s->ctx->server->login;
	struct slice *answer = kafka_call_new(call, sizeof(*answer));
	const char *detail = "a token, though nobody has to log in";
	struct buf out;
	int rc;

	buf_init(&out, 4096);
	rc = !answer ? ERR_NOMEM :
	     !l      ? ERR_UNAUTHORIZED :
		       login_step(l, &s->login, buf_slice(&call->frame), &out, &detail);
	if (rc == 0) {
		s->login.raw = !s->login.done;
		*answer = arena_copy(&call->arena, buf_slice(&out));
		rc = answer->ptr ? 0 : ERR_NOMEM;
	}
	buf_fini(&out);
	if (rc)
		kafka_call_fail(call, rc == ERR_NOMEM ? "no memory for a login" : detail);
	else
		kafka_call_answer(call, answer);
}
