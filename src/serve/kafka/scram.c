/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/scram.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/base64.h"
#include "base/err.h"
#include "base/mem.h"

#define MESSAGE_MAX 2048u
#define NONCE_MAX 512u
#define USER_MAX 255u

struct scram {
	struct buf transcript; /* AuthMessage as far as it has come */
	struct buf nonce;      /* the client's, then both */
	struct buf binding;    /* base64 of the header that the client's last message must repeat */
	uint8_t user[USER_MAX];
	size_t user_len;
	struct scram_secret secret;
};

static const EVP_MD *digest(enum scram_hash hash)
{
	return hash == SCRAM_SHA_256 ? EVP_sha256() : EVP_sha512();
}

static size_t hash_bytes(enum scram_hash hash)
{
	return hash == SCRAM_SHA_256 ? 32 : 64;
}

static int hmac(enum scram_hash hash, const uint8_t *key, struct slice message, uint8_t *out)
{
	unsigned n = 0;

	if (!HMAC(digest(hash), key, (int)hash_bytes(hash), message.ptr, message.len, out, &n))
		return ERR_NOMEM;
	return 0;
}

int scram_derive(enum scram_hash hash, struct slice password, const uint8_t salt[SCRAM_SALT_BYTES],
		 uint32_t iterations, struct scram_secret *out)
{
	uint8_t salted[SCRAM_HASH_MAX], client_key[SCRAM_HASH_MAX];
	size_t n = hash_bytes(hash);
	int rc = 0;

	*out = (struct scram_secret){.hash = hash, .iterations = iterations};
	memcpy(out->salt, salt, sizeof(out->salt));
	if (PKCS5_PBKDF2_HMAC((const char *)password.ptr, (int)password.len, salt, SCRAM_SALT_BYTES,
			      (int)iterations, digest(hash), (int)n, salted) != 1 ||
	    hmac(hash, salted, SLICE_LIT("Client Key"), client_key) ||
	    EVP_Digest(client_key, n, out->stored_key, NULL, digest(hash), NULL) != 1 ||
	    hmac(hash, salted, SLICE_LIT("Server Key"), out->server_key))
		rc = ERR_NOMEM;
	OPENSSL_cleanse(salted, sizeof(salted));
	OPENSSL_cleanse(client_key, sizeof(client_key));
	return rc;
}

struct scram *scram_new(void)
{
	struct scram *s = mem_zalloc(1, sizeof(*s));

	if (!s)
		return NULL;
	buf_init(&s->transcript, 3 * (size_t)MESSAGE_MAX);
	buf_init(&s->nonce, 2 * (size_t)NONCE_MAX);
	buf_init(&s->binding, MESSAGE_MAX);
	return s;
}

void scram_free(struct scram *s)
{
	if (!s)
		return;
	buf_fini(&s->transcript);
	buf_fini(&s->nonce);
	buf_fini(&s->binding);
	OPENSSL_cleanse(s, sizeof(*s));
	mem_free(s);
}

/* ---- texts ---- */

static int append_base64(struct buf *out, const uint8_t *bytes, size_t n)
{
	size_t len = base64_encoded_len(BASE64_STANDARD, n);
	int rc = buf_reserve(out, len);

	if (rc == 0)
		out->len += base64_encode(BASE64_STANDARD, slice_make(bytes, n), (char *)out->ptr + out->len);
	return rc;
}

/* The next "x=value" up to a comma; false where it is not the letter wanted. */
static bool take_field(struct slice *rest, char letter, struct slice *value)
{
	size_t n = 2;

	if (rest->len < 2 || rest->ptr[0] != (uint8_t)letter || rest->ptr[1] != '=')
		return false;
	while (n < rest->len && rest->ptr[n] != ',')
		n++;
	*value = slice_make(rest->ptr + 2, n - 2);
	*rest = slice_from(*rest, n < rest->len ? n + 1 : n);
	return true;
}

/* "n,[a=name],": no channel binding, or none that we could. */
static bool take_header(struct slice *rest, struct slice *header)
{
	struct slice all = *rest, name;

	if (rest->len < 3 || (rest->ptr[0] != 'n' && rest->ptr[0] != 'y') || rest->ptr[1] != ',')
		return false;
	*rest = slice_from(*rest, 2);
	if (rest->ptr[0] == ',')
		*rest = slice_from(*rest, 1);
	else if (!take_field(rest, 'a', &name))
		return false;
	*header = slice_make(all.ptr, all.len - rest->len);
	return true;
}

/* =2C and =3D stand for ',' and '='. */
static int keep_user(struct scram *s, struct slice name)
{
	s->user_len = 0;
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i];
		if (c == '=') {
			if (name.len - i < 3 || name.ptr[i + 1] < '2' || name.ptr[i + 1] > '3')
				return ERR_MALFORMED;
			if (memcmp(name.ptr + i, "=2C", 3) != 0 && memcmp(name.ptr + i, "=3D", 3) != 0)
				return ERR_MALFORMED;
			c = name.ptr[i + 1] == '2' ? ',' : '=';
			i += 2;
		}
		if (s->user_len == USER_MAX)
			return ERR_LIMIT;
		s->user[s->user_len++] = c;
	}
	return s->user_len ? 0 : ERR_MALFORMED;
}

/* ---- the exchange ---- */

int scram_first(struct scram *s, struct slice message, struct slice *user)
{
	struct slice rest = message, header, name, nonce;
	int rc;

	if (message.len > MESSAGE_MAX)
		return ERR_LIMIT;
	if (!take_header(&rest, &header))
		return ERR_MALFORMED;
	rc = append_base64(&s->binding, header.ptr, header.len);
	if (rc == 0)
		rc = buf_append_slice(&s->transcript, rest);
	if (rc)
		return rc;
	if (!take_field(&rest, 'n', &name) || !take_field(&rest, 'r', &nonce))
		return ERR_MALFORMED;
	if (nonce.len == 0 || nonce.len > NONCE_MAX)
		return ERR_LIMIT;
	rc = buf_append_slice(&s->nonce, nonce);
	if (rc == 0)
		rc = keep_user(s, name);
	*user = slice_make(s->user, s->user_len);
	return rc;
}

int scram_challenge(struct scram *s, const struct scram_secret *secret, struct slice random, struct buf *out)
{
	size_t from = out->len;

	s->secret = *secret;
	(void)append_base64(&s->nonce, random.ptr, random.len);
	(void)buf_append_str(out, "r=");
	(void)buf_append_slice(out, buf_slice(&s->nonce));
	(void)buf_append_str(out, ",s=");
	(void)append_base64(out, secret->salt, sizeof(secret->salt));
	(void)buf_append_str(out, ",i=");
	(void)buf_append_u64(out, secret->iterations);
	if (buf_status(out) || buf_status(&s->nonce))
		return buf_status(out) ? buf_status(out) : buf_status(&s->nonce);
	(void)buf_append_byte(&s->transcript, ',');
	(void)buf_append_slice(&s->transcript, slice_from(buf_slice(out), from));
	return buf_append_byte(&s->transcript, ',');
}

static bool decode_proof(struct slice text, size_t want, uint8_t *out)
{
	uint8_t bytes[2 * SCRAM_HASH_MAX];
	size_t n;

	if (base64_decoded_max(text.len) > sizeof(bytes) || base64_decode(BASE64_STANDARD, text, bytes, &n) ||
	    n != want)
		return false;
	memcpy(out, bytes, want);
	return true;
}

static bool proves(const struct scram *s, const uint8_t *proof)
{
	uint8_t key[SCRAM_HASH_MAX], stored[SCRAM_HASH_MAX];
	size_t n = hash_bytes(s->secret.hash);

	if (hmac(s->secret.hash, s->secret.stored_key, buf_slice(&s->transcript), key))
		return false;
	for (size_t i = 0; i < n; i++)
		key[i] ^= proof[i];
	if (EVP_Digest(key, n, stored, NULL, digest(s->secret.hash), NULL) != 1)
		return false;
	return CRYPTO_memcmp(stored, s->secret.stored_key, n) == 0;
}

/*
 * The client's nonce and ours, and nothing else (RFC 5802 section 5.1). librdkafka before 2.6.1 says its own twice; a broker of
 * Apache Kafka takes whatever ends as it should, so those clients are at work. What is fresh here is our part, and that is whole.
 */
static bool is_our_nonce(const struct scram *s, struct slice nonce)
{
	struct slice ours = buf_slice(&s->nonce);

	return nonce.len >= ours.len && slice_eq(slice_from(nonce, nonce.len - ours.len), ours);
}

int scram_last(struct scram *s, struct slice message, struct buf *out)
{
	uint8_t proof[SCRAM_HASH_MAX], signature[SCRAM_HASH_MAX];
	struct slice rest = message, binding, nonce, text = slice_null();
	size_t unproved = 0;
	int rc;

	if (message.len > MESSAGE_MAX)
		return ERR_LIMIT;
	if (!take_field(&rest, 'c', &binding) || !take_field(&rest, 'r', &nonce))
		return ERR_MALFORMED;
	for (unproved = message.len - rest.len; rest.len && !take_field(&rest, 'p', &text);
	     unproved = message.len - rest.len) {
		struct slice other; /* an extension: nothing that we must know */
		if (rest.ptr[0] == 'm' || !take_field(&rest, (char)rest.ptr[0], &other))
			return ERR_MALFORMED;
	}
	if (!text.ptr || rest.len || unproved < 1)
		return ERR_MALFORMED;
	if (!slice_eq(binding, buf_slice(&s->binding)) || !is_our_nonce(s, nonce))
		return ERR_UNAUTHORIZED;
	if (!decode_proof(text, hash_bytes(s->secret.hash), proof))
		return ERR_MALFORMED;
	rc = buf_append(&s->transcript, message.ptr, unproved - 1); /* without the comma */
	if (rc)
		return rc;
	if (!proves(s, proof))
		return ERR_UNAUTHORIZED;
	rc = hmac(s->secret.hash, s->secret.server_key, buf_slice(&s->transcript), signature);
	if (rc == 0)
		rc = buf_append_str(out, "v=");
	return rc ? rc : append_base64(out, signature, hash_bytes(s->secret.hash));
}
