// SPDX-License-Identifier: MIT
// Models: which entry serves a name, and where its key comes from.
#include "provider/model.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

#define KEY_MAXIMUM 65536

const struct model *model_find(const struct model *models, size_t count, const char *name) {
    const struct model *any = NULL;
    for (size_t i = 0; i < count; i++) {
        if (name && strcmp(models[i].name, name) == 0)
            return &models[i];
        if (!any && strcmp(models[i].name, "*") == 0)
            any = &models[i];
    }
    return any;
}

// A key goes into a header line, so it may hold only what a header value may.
static bool is_header_safe(const char *text) {
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    }
    return true;
}

static int read_key_file(const struct model *model, struct buf *secret, struct err *e) {
    struct buf file;
    buf_init(&file, KEY_MAXIMUM);
    int rc = file_read(model->api_key_file, KEY_MAXIMUM, &file, e);
    if (rc) {
        rc = err_set(e, ERR_CONFIG,
                     "model %s: cannot read api_key_file %s: write the key there, readable by this user",
                     model->name, model->api_key_file);
    } else if (memchr(buf_borrow(&file), '\0', file.length)) {
        rc = err_set(e, ERR_CONFIG, "model %s: api_key_file %s holds a NUL byte: write only the key there",
                     model->name, model->api_key_file);
    } else if (file.length) {
        buf_text(secret, text_trim(file.data));
    }
    if (file.data)
        explicit_bzero(file.data, file.capacity);
    buf_free(&file);
    return rc;
}

int model_api_key(const struct model *model, struct buf *secret, struct err *e) {
    buf_clear(secret);
    const char *source = NULL;
    if (model->api_key_env && *model->api_key_env) {
        source = model->api_key_env;
        const char *value = getenv(source);
        if (!value || !*value)
            return err_set(e, ERR_CONFIG, "no key for model %s: set the environment variable %s", model->name,
                           source);
        buf_text(secret, value);
    } else if (model->api_key_file && *model->api_key_file) {
        source = model->api_key_file;
        int rc = read_key_file(model, secret, e);
        if (rc)
            return rc;
        if (!secret->length)
            return err_set(e, ERR_CONFIG, "no key for model %s: api_key_file %s is empty, write it there",
                           model->name, source);
    }
    if (source && (secret->overflow || !is_header_safe(buf_borrow(secret)))) {
        buf_clear(secret);
        return err_set(e, ERR_CONFIG,
                       "model %s: the API key in %s is too long or holds control characters: set it again",
                       model->name, source);
    }
    return 0;
}

int model_check_key(const struct model *model, struct err *e) {
    struct buf key;
    buf_init(&key, KEY_MAXIMUM);
    int rc = model_api_key(model, &key, e);
    if (key.data)
        explicit_bzero(key.data, key.capacity);
    buf_free(&key);
    return rc;
}

void model_clear(struct model *model) {
    free(model->name);
    free(model->provider);
    free(model->base_url);
    free(model->endpoint);
    free(model->remote_name);
    free(model->api_key_env);
    free(model->api_key_file);
    for (size_t i = 0; i < model->header_count; i++) {
        free(model->headers[i].name);
        free(model->headers[i].value);
    }
    free(model->headers);
    free(model->status_rules);
    text_words_free(model->command);
    free(model->program);
    free(model->folder);
    text_words_free(model->pass_env);
    free(model->exit_rules);
    memset(model, 0, sizeof *model);
}
