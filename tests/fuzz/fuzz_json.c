// SPDX-License-Identifier: MIT
// What json_parse accepts, cJSON holds; each raw member is what the tree says; an edit takes
// away just what it should; and any bytes, written as a string, are accepted again.
#include "base/json.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

static void must(bool holds) {
    if (!holds) {
        abort();
    }
}

static void check_written(const char *bytes, size_t length) {
    struct buf b;
    cJSON *tree = NULL;
    buf_init(&b, BUF_UNLIMITED);
    json_write_bytes(&b, bytes, length);
    must(json_parse(b.data, b.length, &tree, NULL) == ERR_OK);
    if (text_is_utf8(bytes, length) && !memchr(bytes, 0, length)) {
        must(strlen(tree->valuestring) == length && memcmp(tree->valuestring, bytes, length) == 0);
    }
    cJSON_Delete(tree);
    buf_free(&b);
}

static void check_member(const char *text, const cJSON *tree, const cJSON *member) {
    const char *start = NULL;
    size_t length = 0;
    cJSON *again = NULL;
    must(json_raw_member(text, member->string, &start, &length));
    must(json_parse(start, length, &again, NULL) == ERR_OK);
    must((again->type & 0xFF) == (member->type & 0xFF));
    cJSON_Delete(again);

    struct buf b;
    const char *const drop[] = {member->string, NULL};
    buf_init(&b, BUF_UNLIMITED);
    json_object_edit(&b, text, drop, NULL);
    must(json_parse_object(b.data, b.length, &again, NULL) == ERR_OK);
    must(!json_get(again, member->string));
    must(cJSON_GetArraySize(again) == cJSON_GetArraySize(tree) - 1);
    cJSON_Delete(again);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    const char *bytes = (const char *)data;
    cJSON *tree = NULL;
    struct err e = {0};
    if (json_parse(bytes, size, &tree, &e)) {
        must(text_starts_with(e.message, "invalid JSON at byte "));
    }
    cJSON_Delete(tree);
    if (json_parse_object(bytes, size, &tree, NULL) == ERR_OK) {
        char *text = strndup(bytes, size);
        const cJSON *member;
        const char *at = NULL, *start = NULL;
        size_t length = 0;
        cJSON_ArrayForEach(member, tree) {
            cJSON *again = NULL;
            must(json_next_raw(text, &at, &start, &length));
            must(json_parse(start, length, &again, NULL) == ERR_OK);
            must((again->type & 0xFF) == (member->type & 0xFF));
            cJSON_Delete(again);
        }
        must(!json_next_raw(text, &at, &start, &length));
        int left = 20; // of a million members each would read all the others
        cJSON_ArrayForEach(member, tree) {
            if (left-- > 0) {
                check_member(text, tree, member);
            }
        }
        free(text);
        cJSON_Delete(tree);
    }
    check_written(bytes, size);
    return 0;
}
