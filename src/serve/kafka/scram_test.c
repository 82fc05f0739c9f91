/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/err.h"
#include "serve/kafka/scram.h"

/* The exchange of RFC 7677, section 3, whose nonces are not ours to choose: so the server's is given as base64 of itself. */
#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define FIRST "n,,n=user,r=" CLIENT_NONCE

static struct slice text(const char *s)
{
	return slice_str(s);
}

static void secret_for(struct scram_secret *out, const char *password, enum scram_hash hash)
{
	static const uint8_t salt[SCRAM_SALT_BYTES] = "0123456789abcde";

	assert_int_equal(scram_derive(hash, text(password), salt, SCRAM_ITERATIONS, out), 0);
}

/* RFC 7677's salt and password: the keys are known from its server-final message. */
static void the_keys_are_those_of_rfc_7677(void **state)
{
	struct scram_secret secret;
	uint8_t salt[SCRAM_SALT_BYTES];
	struct slice user;
	struct buf out;
	struct scram *s = scram_new();
	size_t n;

	(void)state;
	assert_non_null(s);
	buf_init(&out, 4096);
	assert_int_equal(base64_decode(BASE64_STANDARD, text("W22ZaJ0SNY7soEsUEjb6gQ=="), salt, &n), 0);
	assert_int_equal(n, sizeof(salt));
	assert_int_equal(scram_derive(SCRAM_SHA_256, text("pencil"), salt, 4096, &secret), 0);
	assert_int_equal(scram_first(s, text(FIRST), &user), 0);
	assert_true(slice_eq_str(user, "user"));
	/* Nonce bytes whose base64 is a text of our choice: the exchange must then be accepted with the proof below only if it is the RFC's. */
	assert_int_equal(scram_challenge(s, &secret, text("eighteen bytes...."), &out), 0);
	assert_memory_equal(out.ptr, "r=" CLIENT_NONCE, 2 + strlen(CLIENT_NONCE));
	assert_non_null(memmem(out.ptr, out.len, ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", 34));
	scram_free(s);
	buf_fini(&out);
}

static void garbage_is_refused_and_nothing_is_proved_by_it(void **state)
{
	static const char *const firsts[] = {
		"",       "n",         "n,",        "p=tls,,n=u,r=x", "n,,n=u",
		"n,,r=x", "n,,n=,r=x", "n,,n=u,r=", "n,,n=a=2,r=x",   "n,,n=a=4C,r=x"};
	static const char *const lasts[] = {
		"", "c=biws", "c=biws,r=x", "c=biws,r=x,p=", "c=biws,r=x,p=AAAA", "c=biws,r=x,m=1,p=AAAA"};
	struct scram_secret secret;
	struct slice user;

	(void)state;
	secret_for(&secret, "secret", SCRAM_SHA_512);
	for (size_t i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++) {
		struct scram *s = scram_new();
		assert_true(scram_first(s, text(firsts[i]), &user) < 0);
		scram_free(s);
	}
	for (size_t i = 0; i < sizeof(lasts) / sizeof(lasts[0]); i++) {
		struct scram *s = scram_new();
		struct buf out;
		buf_init(&out, 4096);
		assert_int_equal(scram_first(s, text(FIRST), &user), 0);
		assert_int_equal(scram_challenge(s, &secret, text("random"), &out), 0);
		assert_true(scram_last(s, text(lasts[i]), &out) < 0);
		scram_free(s);
		buf_fini(&out);
	}
}

/* The client's side, so that a proof is right whatever the nonces are. */
static int answer(const char *prefix, const char *nonce_end)
{
	static const uint8_t salt[SCRAM_SALT_BYTES] = "0123456789abcde";
	struct scram *s = scram_new();
	struct scram_secret secret;
	uint8_t salted[32], key[32], stored[32], signature[32];
	unsigned n = 32;
	char last[600], transcript[1200], proof[64];
	struct slice user, nonce;
	struct buf out;
	int rc;

	secret_for(&secret, "secret", SCRAM_SHA_256);
	buf_init(&out, 4096);
	assert_int_equal(scram_first(s, text(FIRST), &user), 0);
	assert_int_equal(scram_challenge(s, &secret, text("random"), &out), 0);
	nonce = slice_make(out.ptr + 2, (size_t)((uint8_t *)memchr(out.ptr, ',', out.len) - out.ptr) - 2);
	(void)snprintf(last, sizeof(last), "c=biws,r=%s%.*s%s", prefix, (int)nonce.len,
		       (const char *)nonce.ptr, nonce_end);
	(void)snprintf(transcript, sizeof(transcript), "%s,%.*s,%s", &FIRST[3], (int)out.len,
		       (const char *)out.ptr, last);
	assert_int_equal(PKCS5_PBKDF2_HMAC("secret", 6, salt, sizeof(salt), SCRAM_ITERATIONS, EVP_sha256(),
					   32, salted),
			 1);
	assert_non_null(HMAC(EVP_sha256(), salted, 32, (const uint8_t *)"Client Key", 10, key, &n));
	assert_int_equal(EVP_Digest(key, 32, stored, NULL, EVP_sha256(), NULL), 1);
	assert_non_null(HMAC(EVP_sha256(), stored, 32, (const uint8_t *)transcript, strlen(transcript),
			     signature, &n));
	for (int i = 0; i < 32; i++)
		key[i] ^= signature[i];
	n = (unsigned)base64_encode(BASE64_STANDARD, slice_make(key, 32), proof);
	(void)snprintf(last + strlen(last), 100, ",p=%.*s", (int)n, proof);
	buf_clear(&out);
	rc = scram_last(s, text(last), &out);
	scram_free(s);
	buf_fini(&out);
	return rc;
}

static void a_nonce_ends_with_ours(void **state)
{
	(void)state;
	assert_int_equal(answer("", ""), 0);
	assert_int_equal(answer(CLIENT_NONCE, ""), 0); /* librdkafka before 2.6.1 */
	assert_int_equal(answer("", "x"), ERR_UNAUTHORIZED);
}

static void names_are_unescaped(void **state)
{
	struct scram *s = scram_new();
	struct slice user;

	(void)state;
	assert_int_equal(scram_first(s, text("n,a=other,n=a=2Cb=3Dc,r=x"), &user), 0);
	assert_true(slice_eq_str(user, "a,b=c"));
	scram_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_keys_are_those_of_rfc_7677),
		cmocka_unit_test(garbage_is_refused_and_nothing_is_proved_by_it),
		cmocka_unit_test(a_nonce_ends_with_ours),
		cmocka_unit_test(names_are_unescaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
