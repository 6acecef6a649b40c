// SPDX-License-Identifier: MIT
// Headers are put together here, whatever the request: a value that would end a
// header's line is refused, and the key is wiped from all but the list.
#include "provider/headers.h"

#include "base/buf.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEY_MAXIMUM 65536

static int add_header(struct curl_slist **headers, const char *name, const char *value, struct err *e) {
    // libcurl sends an empty value only when told so by a semicolon.
    char *line = mem_format(*value ? "%s: %s" : "%s;", name, value);
    struct curl_slist *longer = curl_slist_append(*headers, line);
    explicit_bzero(line, strlen(line));
    free(line);
    if (!longer)
        return err_set(e, ERR_REMOTE, "libcurl cannot hold the headers: free some memory");
    *headers = longer;
    return 0;
}

static bool is_header_name(const char *name) {
    return *name && name[strspn(name, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                      "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] == '\0';
}

static bool is_header_value(const char *value) {
    for (; *value; value++) {
        if (((unsigned char)*value < ' ' && *value != '\t') || *value == 0x7f)
            return false;
    }
    return true;
}

static bool model_sets(const struct model *model, const char *name) {
    for (size_t i = 0; i < model->header_count; i++) {
        if (strcasecmp(model->headers[i].name, name) == 0)
            return true;
    }
    return false;
}

static int add_model_headers(struct curl_slist **headers, const struct model *model, struct err *e) {
    for (size_t i = 0; i < model->header_count; i++) {
        const struct model_header *header = &model->headers[i];
        if (!is_header_name(header->name) || !is_header_value(header->value))
            return err_set(e, ERR_CONFIG,
                           "model %s: header.%.64s is no header: use a plain name and a value of one line",
                           model->name, header->name);
        int rc = add_header(headers, header->name, header->value, e);
        if (rc)
            return rc;
    }
    return 0;
}

static int add_key(struct curl_slist **headers, const struct model *model, struct err *e) {
    struct buf key;
    buf_init(&key, KEY_MAXIMUM);
    int rc = model_api_key(model, &key, e);
    if (!rc && key.length && !model_sets(model, "Authorization")) {
        char *bearer = mem_format("Bearer %s", key.data);
        rc = add_header(headers, "Authorization", bearer, e);
        explicit_bzero(bearer, strlen(bearer));
        free(bearer);
    }
    if (key.data)
        explicit_bzero(key.data, key.capacity);
    buf_free(&key);
    return rc;
}

int headers_make(struct curl_slist **out, const struct model *model, const char *const (*ours)[2],
                 size_t count, bool with_key, struct err *e) {
    int rc = 0;
    for (size_t i = 0; !rc && i < count; i++) {
        if (ours[i][1] && !model_sets(model, ours[i][0]))
            rc = add_header(out, ours[i][0], ours[i][1], e);
    }
    if (!rc && !model_sets(model, "User-Agent"))
        rc = add_header(out, "User-Agent", "genrun/" VERSION_TEXT, e);
    if (!rc && with_key)
        rc = add_key(out, model, e);
    if (!rc)
        rc = add_model_headers(out, model, e);
    if (!rc) { // no "Expect: 100-continue": it costs a second with servers that do not know it
        struct curl_slist *longer = curl_slist_append(*out, "Expect:");
        *out = longer ? longer : *out;
    }
    return rc;
}
