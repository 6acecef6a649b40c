// SPDX-License-Identifier: MIT
// [http]: the defaults that follow from others, and the admin secret, which stands in a variable or a file.
#include "lib/config_http.h"
#include "base/address.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

#define SECRET_MAXIMUM 4096 // bytes
#define SECRET_SHORT 16     // one with fewer could be guessed

// ---- what follows ----

void config_http_complete(struct config *config, struct mistakes *mistakes) {
    struct http_settings *http = &config->http;
    if (config->data_dir == NULL && config->database != NULL)
        config->data_dir = mem_format("%s.files", config->database);
    config->jobs.files = config->data_dir;
    if (http->max_streams == 0)
        http->max_streams = http->max_connections / 2;
    if (http->max_streams < http->max_connections)
        return;
    const char *origin = config_origin(config, "http", "max_streams");
    mistakes_add(
        mistakes,
        "%s: max_streams is not less than max_connections (%d), so that live events could take them all: "
        "lower it, or leave it out",
        origin, http->max_connections);
}

// ---- the admin secret ----

void config_wipe(struct buf *secret) {
    if (secret->data != NULL)
        explicit_bzero(secret->data, secret->capacity);
    buf_free(secret);
}

void config_write_admin_key_source(const struct config *config, struct buf *out) {
    const struct http_settings *http = &config->http;
    if (http->admin_key_file != NULL)
        buf_format(out, "admin_key_file %s", http->admin_key_file);
    else
        buf_format(out, "environment variable %s", http->admin_key_env);
}

static int read_secret_file(const char *path, struct buf *out, struct err *e) {
    struct err reason = {0};
    if (file_read(path, SECRET_MAXIMUM, out, &reason) != 0)
        return err_set(
            e, ERR_CONFIG,
            "admin_key_file %s cannot be read: write the secret there, at most %d bytes, readable by this "
            "user",
            path, SECRET_MAXIMUM);
    if (out->length > 0 && memchr(out->data, '\0', out->length) != NULL)
        return err_set(e, ERR_CONFIG, "admin_key_file %s holds a NUL byte: write only the secret there",
                       path);
    return 0;
}

int config_admin_key(const struct config *config, struct buf *secret, struct err *e) {
    struct buf raw;
    int rc = 0;
    buf_init(&raw, SECRET_MAXIMUM);
    buf_clear(secret);
    if (config->http.admin_key_file != NULL) {
        rc = read_secret_file(config->http.admin_key_file, &raw, e);
    } else {
        const char *value = getenv(config->http.admin_key_env);
        buf_text(&raw, value != NULL ? value : "");
    }
    if (rc == 0 && raw.length > 0)
        buf_text(secret, text_trim(raw.data));
    bool fine = !raw.overflow && !secret->overflow;
    for (size_t i = 0; i < secret->length; i++)
        fine = fine && (unsigned char)secret->data[i] >= 0x20 && secret->data[i] != 0x7f;
    config_wipe(&raw);
    if (rc == 0 && !fine) {
        struct buf source;
        buf_init(&source, BUF_UNLIMITED);
        config_write_admin_key_source(config, &source);
        rc = err_set(
            e, ERR_CONFIG,
            "the admin secret in %s is longer than %d bytes or holds control characters: set it again",
            buf_borrow(&source), SECRET_MAXIMUM);
        buf_free(&source);
    }
    if (rc != 0 && secret->data != NULL)
        explicit_bzero(secret->data, secret->capacity);
    if (rc != 0)
        buf_clear(secret);
    return rc;
}

char *config_http_describe_key(const struct config *config, const char *section, const char *name) {
    bool is_file = strcmp(name, "admin_key_file") == 0, is_env = strcmp(name, "admin_key_env") == 0;
    const char *file = config->http.admin_key_file;
    if (strcmp(section, "http") != 0 || !(is_env || (is_file && file != NULL)))
        return NULL;
    if (is_env && file != NULL)
        return mem_copy("not used, as admin_key_file is set");
    struct buf secret;
    struct err e = {0};
    buf_init(&secret, SECRET_MAXIMUM);
    bool is_set = config_admin_key(config, &secret, &e) == 0 && secret.length > 0;
    config_wipe(&secret);
    return !is_set   ? mem_copy("missing")
           : is_file ? mem_format("set (from file %s)", file)
                     : mem_format("set (from env %s)", config->http.admin_key_env);
}

// ---- judging ----

bool config_admin_key_is_short(const struct buf *secret) {
    return secret->length > 0 && secret->length < SECRET_SHORT;
}

bool config_listens_beyond(const char *listen) {
    struct address address;
    return listen != NULL && address_parse(&address, listen) &&
           !address_is_loopback((const struct sockaddr *)&address.socket);
}

void config_http_judge(const struct config *config, int64_t keys,
                       void (*tell)(void *payload, bool is_mistake, const char *option, const char *line),
                       void *payload) {
    struct buf secret, source;
    struct err e = {0};
    const char *option = config->http.admin_key_file != NULL ? "admin_key_file" : "admin_key_env";
    buf_init(&secret, SECRET_MAXIMUM);
    buf_init(&source, BUF_UNLIMITED);
    config_write_admin_key_source(config, &source);
    int rc = config_admin_key(config, &secret, &e);
    bool is_missing = rc == 0 && secret.length == 0;
    if (rc != 0) {
        tell(payload, true, option, e.message);
    } else if (config_admin_key_is_short(&secret)) {
        err_set(&e, ERR_CONFIG,
                "the admin secret in %s has fewer than %d characters: take a longer one, such as "
                "'openssl rand -hex 32' makes",
                buf_borrow(&source), SECRET_SHORT);
        tell(payload, false, option, e.message);
    } else if (is_missing && config->http.admin_key_file != NULL) {
        err_set(&e, ERR_CONFIG, "%s is empty: write the admin secret there", buf_borrow(&source));
        tell(payload, true, option, e.message);
    }
    if (is_missing && keys <= 0 && config_listens_beyond(config->http.listen)) {
        config_say_unguarded(config, config->http.listen, &e);
        tell(payload, true, "listen", e.message);
    }
    config_wipe(&secret);
    buf_free(&source);
}

int config_say_unguarded(const struct config *config, const char *listen, struct err *e) {
    return err_set(e, ERR_CONFIG,
                   "%s can be reached from other machines, and there is no key: set the admin secret in the "
                   "environment variable %s, make a key with 'genrun key add', or listen on 127.0.0.1",
                   listen, config->http.admin_key_env);
}
