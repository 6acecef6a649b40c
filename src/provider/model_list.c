// SPDX-License-Identifier: MIT
#include "provider/model_list.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

#define NAMES_SHOWN 3
#define NAME_SHOWN 60

// OpenAI, Ollama, vLLM: {"data":[…]}; Together: […]; Gemini and Ollama's own: {"models":[…]}.
static const cJSON *list_in(const cJSON *root) {
    if (cJSON_IsArray(root))
        return root;
    const cJSON *list = json_get(root, "data");
    if (!cJSON_IsArray(list))
        list = json_get(root, "models");
    return cJSON_IsArray(list) ? list : NULL;
}

static const char *name_in(const cJSON *entry) {
    const char *name = json_text(entry, "id", NULL);
    if (!name)
        name = json_text(entry, "name", NULL);
    return name ? name : cJSON_IsString(entry) ? entry->valuestring : NULL;
}

// Gemini lists models/NAME and Ollama NAME:latest, and take NAME.
static bool is_same(const char *listed, const char *name) {
    size_t length = strlen(name);
    if (text_starts_with(listed, "models/"))
        listed += strlen("models/");
    return strcmp(listed, name) == 0 ||
           (strncmp(listed, name, length) == 0 && strcmp(listed + length, ":latest") == 0);
}

// llama.cpp serves its one model under any name.
static bool takes_any_name(const cJSON *list) {
    return cJSON_GetArraySize(list) == 1 && strcmp(json_text(list->child, "owned_by", ""), "llamacpp") == 0;
}

enum model_list model_list_find(const char *body, size_t length, const char *name, struct buf *names) {
    cJSON *root = NULL;
    struct err e;
    if (json_parse(body ? body : "", length, &root, &e))
        return MODEL_LIST_NONE;
    const cJSON *list = list_in(root), *entry;
    enum model_list found = !list                                ? MODEL_LIST_NONE
                            : json_bool(root, "has_more", false) ? MODEL_LIST_PAGED
                                                                 : MODEL_LIST_LACKS;
    cJSON_ArrayForEach(entry, list) {
        const char *listed = name_in(entry);
        if (!listed)
            continue;
        buf_append(names, listed, strlen(listed) + 1);
        if (is_same(listed, name))
            found = MODEL_LIST_HAS;
    }
    if (list && takes_any_name(list))
        found = MODEL_LIST_HAS;
    cJSON_Delete(root);
    return found;
}

char *model_list_nearest(const struct buf *names, const char *name) {
    const char **list = NULL;
    size_t count = 0;
    const char *at = buf_borrow(names), *end = at + names->length;
    for (; at < end; at += strlen(at) + 1) {
        list = mem_resize(list, count + 1, sizeof *list);
        list[count++] = at;
    }
    char *nearest = mem_copy(count > 0 ? text_nearest(name, list, count) : NULL);
    free(list);
    return nearest;
}

char *model_list_some(const struct buf *names) {
    struct buf out;
    size_t count = 0;
    buf_init(&out, BUF_UNLIMITED);
    const char *at = buf_borrow(names), *end = at + names->length;
    for (; at < end; at += strlen(at) + 1) {
        if (count++ >= NAMES_SHOWN)
            continue;
        buf_text(&out, count > 1 ? ", " : "");
        text_escape(&out, at, strlen(at), NAME_SHOWN);
    }
    if (count > NAMES_SHOWN)
        buf_format(&out, " and %zu more", count - NAMES_SHOWN);
    return buf_take(&out);
}
