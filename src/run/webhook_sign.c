// SPDX-License-Identifier: MIT
// What is secret about an endpoint: where it is taken from, and what is made of it.
#include "base/base64.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/text.h"
#include "run/webhook.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SHOWN "whsec_"

void webhook_wipe(struct buf *secret) {
    if (secret->data)
        explicit_bzero(secret->data, secret->capacity);
    buf_free(secret);
}

static bool is_plain(const struct buf *text) {
    for (size_t i = 0; i < text->length; i++)
        if ((unsigned char)text->data[i] < 0x20 || text->data[i] == 0x7f)
            return false;
    return !text->overflow;
}

static int from_variable(const char *endpoint, const char *variable, struct buf *out, struct err *e) {
    const char *value = getenv(variable);
    if (!value || !*value)
        return err_set(e, ERR_CONFIG, "webhook %s: the environment variable %s is not set: set it", endpoint,
                       variable);
    buf_text(out, value);
    return 0;
}

int webhook_url(const struct webhook_endpoint *w, struct buf *url, struct err *e) {
    int result = 0;
    buf_clear(url);
    if (w->url)
        buf_text(url, w->url);
    else if (w->url_env)
        result = from_variable(w->name, w->url_env, url, e);
    const char *text = buf_borrow(url);
    bool is_web = strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
    if (!result && (!is_web || !is_plain(url) || strpbrk(text, " \t")))
        return err_set(e, ERR_CONFIG,
                       "webhook %s: %s%s is no address: give a URL that begins with https:// or http://",
                       w->name, w->url ? "url" : "what stands in ",
                       w->url       ? ""
                       : w->url_env ? w->url_env
                                    : "url");
    return result;
}

static int from_file(const struct webhook_endpoint *w, struct buf *out, struct err *e) {
    struct buf file;
    struct err why;
    buf_init(&file, WEBHOOK_SECRET_MAXIMUM);
    int result = file_read(w->secret_file, WEBHOOK_SECRET_MAXIMUM, &file, &why);
    if (result || (file.length && memchr(file.data, '\0', file.length)))
        result = err_set(
            e, ERR_CONFIG,
            "webhook %s: secret_file %s cannot be used: write only the secret there, readable by this user",
            w->name, w->secret_file);
    else if (file.length)
        buf_text(out, text_trim(file.data));
    webhook_wipe(&file);
    if (!result && out->length == 0)
        result = err_set(e, ERR_CONFIG, "webhook %s: secret_file %s is empty: write the secret there",
                         w->name, w->secret_file);
    return result;
}

// Is the text a secret as Standard Webhooks shows them? *key: its bytes.
static bool take_key(const char *secret, struct buf *key) {
    if (!text_starts_with(secret, SHOWN))
        return buf_text(key, secret);
    return base64_decode(key, secret + strlen(SHOWN)) && key->length > 0;
}

int webhook_secret(const struct webhook_endpoint *w, struct buf *secret, struct err *e) {
    int result = 0;
    struct buf key;
    buf_clear(secret);
    if (!w->secret_env && !w->secret_file)
        return 0;
    buf_init(&key, WEBHOOK_SECRET_MAXIMUM);
    result = w->secret_env ? from_variable(w->name, w->secret_env, secret, e) : from_file(w, secret, e);
    if (!result && (!is_plain(secret) || !take_key(buf_borrow(secret), &key)))
        result = err_set(
            e, ERR_CONFIG,
            "webhook %s: the secret in %s is neither whsec_ and base64 nor a line of text: set it again",
            w->name, w->secret_env ? w->secret_env : w->secret_file);
    webhook_wipe(&key);
    return result;
}

bool webhook_sign(struct buf *out, const char *secret, const char *id, int64_t timestamp_s,
                  const char *body) {
    unsigned char digest[DIGEST_SIZE];
    struct buf key, content;
    buf_init(&key, WEBHOOK_SECRET_MAXIMUM);
    buf_init(&content, BUF_UNLIMITED);
    bool fine = take_key(secret, &key);
    if (fine) {
        buf_format(&content, "%s.%lld.%s", id, (long long)timestamp_s, body);
        digest_hmac_sha256(digest, buf_borrow(&key), key.length, buf_borrow(&content), content.length);
        buf_text(out, "v1,");
        base64_encode(out, digest, sizeof digest);
    }
    webhook_wipe(&key);
    buf_free(&content);
    return fine;
}

void webhook_digest(const char *url, char out[33]) {
    char hex[DIGEST_HEX_SIZE];
    digest_text(hex, url);
    memcpy(out, hex, 32);
    out[32] = '\0';
}
