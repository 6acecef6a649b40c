// SPDX-License-Identifier: MIT
// Merging parameters as text, so that big numbers stay as they were typed.
#include "cli/params.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

// Appends the value of a pair: JSON that is no string stays as it is.
static void write_value(struct buf *out, const char *text) {
    cJSON *value = NULL;
    struct err ignored = {0};
    if (json_parse(text, strlen(text), &value, &ignored) == ERR_OK && !cJSON_IsString(value))
        buf_text(out, text);
    else
        json_write_text(out, text);
    cJSON_Delete(value);
}

static int check_pair(const char *pair, struct err *e) {
    const char *equals = strchr(pair, '=');
    if (equals == NULL || equals == pair)
        return err_set(e, ERR_INVALID,
                       "--param '%s' is not of the form K=V: give for example temperature=0.2", pair);
    if (!text_is_utf8(pair, strlen(pair)))
        return err_set(e, ERR_INVALID, "--param '%s' is not valid UTF-8: give its text in UTF-8", pair);
    return ERR_OK;
}

static bool is_last_of_key(const char *const *pairs, size_t count, size_t at) {
    size_t length = strcspn(pairs[at], "=") + 1;
    for (size_t i = at + 1; i < count; i++)
        if (strncmp(pairs[at], pairs[i], length) == 0)
            return false;
    return true;
}

int params_merge(struct buf *out, const char *object, const char *const *pairs, size_t count, struct err *e) {
    cJSON *tree = NULL;
    char **keys = NULL;
    struct buf extra;
    buf_init(&extra, BUF_UNLIMITED);
    int code = ERR_OK;
    if (object != NULL) {
        code = json_parse_object(object, strlen(object), &tree, e);
        if (code != ERR_OK) {
            err_prefix(e, "--params");
            goto out;
        }
    }
    keys = mem_alloc(count + 1, sizeof *keys); // ends with NULL
    for (size_t i = 0; i < count; i++) {
        code = check_pair(pairs[i], e);
        if (code != ERR_OK)
            goto out;
        size_t length = strcspn(pairs[i], "=");
        keys[i] = mem_copy_bytes(pairs[i], length);
        if (!is_last_of_key(pairs, count, i))
            continue;
        if (extra.length > 0)
            buf_char(&extra, ',');
        json_write_text(&extra, keys[i]);
        buf_char(&extra, ':');
        write_value(&extra, pairs[i] + length + 1);
    }
    json_object_edit(out, object != NULL ? object : "{}", (const char *const *)keys, buf_borrow(&extra));
out:
    for (size_t i = 0; keys != NULL && keys[i] != NULL; i++)
        free(keys[i]);
    free(keys);
    buf_free(&extra);
    cJSON_Delete(tree);
    return code;
}
