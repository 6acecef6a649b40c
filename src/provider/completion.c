// SPDX-License-Identifier: MIT
// The merging of streamed chat chunks; completion.h has the rules.
#include "provider/completion.h"

#include "base/json.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

#define CHILDREN_MAXIMUM 4096 // members of one object, choices, tool calls: beyond all sense

enum node_kind {
    NODE_NULL,
    NODE_TEXT,   // text
    NODE_RAW,    // text, as it was written
    NODE_VALUE,  // value: a number or a boolean
    NODE_LIST,   // value: a list that is appended to
    NODE_OBJECT, // children, by key
    NODE_INDEXED // children, by index: the elements of a list
};

// A value that grows.
struct node {
    enum node_kind kind;
    char *key;     // as the child of an object
    int64_t index; // as the child of a list
    struct buf text;
    cJSON *value;
    struct node *children;
    size_t count, capacity;
};

struct completion {
    struct node top; // an object; `choices` is merged, the other members are replaced
    size_t maximum, kept;
    size_t content_bytes; // of the chunk under way
    size_t chunk_length;
};

// Which rules hold where: above the deltas, texts are replaced.
enum place { PLACE_OUTSIDE, PLACE_DELTA };

static void clear_node(struct node *node) {
    free(node->key);
    buf_free(&node->text);
    cJSON_Delete(node->value);
    for (size_t i = 0; i < node->count; i++)
        clear_node(&node->children[i]);
    free(node->children);
}

struct completion *completion_new(size_t maximum) {
    struct completion *completion = mem_alloc(1, sizeof *completion);
    completion->top.kind = NODE_OBJECT;
    completion->maximum = maximum;
    return completion;
}

void completion_free(struct completion *completion) {
    if (!completion)
        return;
    clear_node(&completion->top);
    free(completion);
}

// ---- merging ----

static int keep(struct completion *completion, size_t bytes, struct err *e) {
    if (bytes > completion->maximum - completion->kept)
        return err_set(e, ERR_WORK,
                       "the answer is larger than max_output (%zu bytes): raise it or ask for less",
                       completion->maximum);
    completion->kept += bytes;
    return 0;
}

// Makes the node one of that kind; what it held as another is dropped.
static void become(struct node *node, enum node_kind kind) {
    if (node->kind == kind)
        return;
    struct node empty = {.kind = kind, .key = node->key, .index = node->index};
    node->key = NULL;
    clear_node(node);
    *node = empty;
    buf_init(&node->text, BUF_UNLIMITED); // keep() counts
}

static const struct node *find_child(const struct node *node, const char *key) {
    for (size_t i = 0; node->kind == NODE_OBJECT && i < node->count; i++) {
        if (strcmp(node->children[i].key, key) == 0)
            return &node->children[i];
    }
    return NULL;
}

// Makes room for a child at `position`. The caller fills key or index.
static int add_child(struct completion *completion, struct node *node, size_t position, struct node **out,
                     struct err *e) {
    if (node->count == CHILDREN_MAXIMUM)
        return err_set(e, ERR_INVALID,
                       "the stream names more than %d members in one place: not an answer to keep",
                       CHILDREN_MAXIMUM);
    int rc = keep(completion, sizeof *node, e);
    if (rc)
        return rc;
    if (node->count == node->capacity) {
        node->capacity = node->capacity ? node->capacity * 2 : 4;
        node->children = mem_resize(node->children, node->capacity, sizeof *node->children);
    }
    struct node *child = &node->children[position];
    memmove(child + 1, child, (node->count - position) * sizeof *child);
    node->count++;
    *child = (struct node){.kind = NODE_NULL};
    buf_init(&child->text, BUF_UNLIMITED);
    *out = child;
    return 0;
}

static int child_by_key(struct completion *completion, struct node *node, const char *key, struct node **out,
                        struct err *e) {
    *out = (struct node *)(uintptr_t)find_child(node, key);
    if (*out)
        return 0;
    int rc = keep(completion, strlen(key), e);
    if (!rc)
        rc = add_child(completion, node, node->count, out, e);
    if (!rc)
        (*out)->key = mem_copy(key);
    return rc;
}

// The element of a list that an item with this index (-1: none given) and id ("": none) continues. One that
// names neither continues the last.
static int child_by_index(struct completion *completion, struct node *node, int64_t index, const char *id,
                          struct node **out, struct err *e) {
    for (size_t i = node->count; i-- > 0;) {
        struct node *child = &node->children[i];
        const struct node *known = find_child(child, "id");
        const char *known_id = known && known->kind == NODE_TEXT ? buf_borrow(&known->text) : "";
        bool same_id = !*id || !*known_id || strcmp(id, known_id) == 0;
        if ((index < 0 || child->index == index) && same_id) {
            *out = child;
            return 0;
        }
    }
    if (index < 0)
        index = node->count ? node->children[node->count - 1].index + 1 : 0;
    size_t position = node->count;
    while (position > 0 && node->children[position - 1].index > index)
        position--;
    int rc = add_child(completion, node, position, out, e);
    if (!rc) {
        (*out)->index = index;
        become(*out, NODE_OBJECT);
    }
    return rc;
}

static bool is_repeated(const char *key) {
    static const char *const keys[] = {"role", "id", "type", "name", "object", "format", "status", "model"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strcmp(keys[i], key) == 0)
            return true;
    }
    return false;
}

static int merge_text(struct completion *completion, struct node *node, const char *text, enum place place,
                      struct err *e) {
    become(node, NODE_TEXT);
    size_t length = strlen(text);
    bool replace = place == PLACE_OUTSIDE || (node->key && is_repeated(node->key));
    if (replace) {
        if (!length && node->text.length)
            return 0;
        completion->kept -= node->text.length;
        buf_clear(&node->text);
    } else {
        completion->content_bytes += length;
    }
    int rc = keep(completion, length, e);
    if (!rc)
        buf_append(&node->text, text, length);
    return rc;
}

static int merge(struct completion *completion, struct node *node, cJSON *item, enum place place,
                 struct err *e);

static int merge_object(struct completion *completion, struct node *node, cJSON *object, enum place place,
                        struct err *e) {
    become(node, NODE_OBJECT);
    int rc = 0;
    cJSON *member;
    cJSON_ArrayForEach(member, object) {
        struct node *child;
        rc = child_by_key(completion, node, member->string, &child, e);
        if (!rc)
            rc = merge(completion, child, member, place, e);
        if (rc)
            break;
    }
    return rc;
}

static bool is_indexed(const struct node *node, const cJSON *list) {
    if (node->kind == NODE_INDEXED)
        return true;
    if (node->kind == NODE_LIST || !cJSON_IsObject(list->child))
        return false;
    return json_integer(list->child, "index", -1) >= 0 || (node->key && strcmp(node->key, "tool_calls") == 0);
}

static int merge_list(struct completion *completion, struct node *node, cJSON *list, enum place place,
                      struct err *e) {
    if (is_indexed(node, list)) {
        become(node, NODE_INDEXED);
        int rc = 0;
        cJSON *item;
        cJSON_ArrayForEach(item, list) {
            struct node *child;
            if (!cJSON_IsObject(item))
                return err_set(e, ERR_INVALID, "the stream has a list of objects with something else in it");
            rc = child_by_index(completion, node, json_integer(item, "index", -1), json_text(item, "id", ""),
                                &child, e);
            if (!rc)
                rc = merge_object(completion, child, item, place, e);
            if (rc)
                break;
        }
        return rc;
    }
    become(node, NODE_LIST);
    if (!node->value)
        node->value = cJSON_CreateArray();
    if (!list->child)
        return 0;
    int rc = keep(completion, completion->chunk_length, e);
    while (!rc && list->child) {
        if (place == PLACE_DELTA)
            completion->content_bytes++;
        cJSON_AddItemToArray(node->value, cJSON_DetachItemViaPointer(list, list->child));
    }
    return rc;
}

static int merge(struct completion *completion, struct node *node, cJSON *item, enum place place,
                 struct err *e) {
    if (cJSON_IsString(item))
        return merge_text(completion, node, item->valuestring, place, e);
    if (cJSON_IsObject(item))
        return merge_object(completion, node, item, place, e);
    if (cJSON_IsArray(item))
        return merge_list(completion, node, item, place, e);
    if (cJSON_IsNull(item))
        return 0;
    become(node, NODE_VALUE);
    cJSON_Delete(node->value);
    node->value = cJSON_Duplicate(item, 0);
    return 0;
}

// A choice: the members of its delta are added, its own are replaced. Some servers close with the whole
// message: it counts where no delta brought any.
static int merge_choice(struct completion *completion, struct node *node, cJSON *choice, struct err *e) {
    int rc = 0;
    cJSON *member;
    cJSON_ArrayForEach(member, choice) {
        bool is_message = strcmp(member->string, "message") == 0;
        bool is_delta = is_message || strcmp(member->string, "delta") == 0;
        struct node *child;
        if (is_delta && !cJSON_IsObject(member) && !cJSON_IsNull(member))
            return err_set(e, ERR_INVALID, "the stream has a choice whose delta is not an object");
        const struct node *delta = find_child(node, "delta");
        if (strcmp(member->string, "index") == 0 || (is_message && delta && delta->count))
            continue;
        rc = child_by_key(completion, node, is_message ? "delta" : member->string, &child, e);
        if (!rc)
            rc = merge(completion, child, member, is_delta ? PLACE_DELTA : PLACE_OUTSIDE, e);
        if (rc)
            break;
    }
    return rc;
}

static int merge_choices(struct completion *completion, struct node *node, cJSON *choices, struct err *e) {
    if (cJSON_IsNull(choices))
        return 0;
    if (!cJSON_IsArray(choices))
        return err_set(e, ERR_INVALID, "the stream has choices that are not a list");
    become(node, NODE_INDEXED);
    cJSON *choice;
    cJSON_ArrayForEach(choice, choices) {
        if (!cJSON_IsObject(choice))
            return err_set(e, ERR_INVALID, "the stream has a choice that is not an object");
        int64_t index = json_integer(choice, "index", 0);
        struct node *child;
        int rc = child_by_index(completion, node, index < 0 ? 0 : index, "", &child, e);
        if (!rc)
            rc = merge_choice(completion, child, choice, e);
        if (rc)
            return rc;
    }
    return 0;
}

// A member of the chunk itself: the last value wins, with the bytes it was written in.
static int replace_member(struct completion *completion, struct node *node, const char *text,
                          const cJSON *member, struct err *e) {
    if (cJSON_IsNull(member))
        return 0;
    if (cJSON_IsString(member))
        return merge_text(completion, node, member->valuestring, PLACE_OUTSIDE, e);
    const char *raw;
    size_t length;
    if (!json_raw_member(text, member->string, &raw, &length))
        return 0;
    become(node, NODE_RAW);
    completion->kept -= node->text.length;
    buf_clear(&node->text);
    int rc = keep(completion, length, e);
    if (!rc)
        buf_append(&node->text, raw, length);
    return rc;
}

int completion_add(struct completion *completion, const char *text, cJSON *chunk, size_t *content_bytes,
                   struct err *e) {
    completion->content_bytes = 0;
    completion->chunk_length = strlen(text);
    int rc = 0;
    cJSON *member;
    cJSON_ArrayForEach(member, chunk) {
        if (strcmp(member->string, "object") == 0)
            continue;
        struct node *child;
        rc = child_by_key(completion, &completion->top, member->string, &child, e);
        if (rc)
            break;
        rc = strcmp(member->string, "choices") == 0 ? merge_choices(completion, child, member, e)
                                                    : replace_member(completion, child, text, member, e);
        if (rc)
            break;
    }
    *content_bytes = completion->content_bytes;
    return rc;
}

// ---- what came of it ----

bool completion_is_empty(const struct completion *completion) {
    const struct node *choices = find_child(&completion->top, "choices");
    return !choices || !choices->count;
}

bool completion_is_finished(const struct completion *completion) {
    const struct node *choices = find_child(&completion->top, "choices");
    for (size_t i = 0; choices && i < choices->count; i++) {
        const struct node *reason = find_child(&choices->children[i], "finish_reason");
        if (!reason || reason->kind == NODE_NULL)
            return false;
    }
    return choices && choices->count;
}

static void write_node(const struct node *node, struct buf *out);

// The members of an object but for those named in `skip`.
static void write_members(const struct node *node, const char *const *skip, struct buf *out) {
    for (size_t i = 0; node && i < node->count; i++) {
        const struct node *child = &node->children[i];
        bool skipped = false;
        for (const char *const *name = skip; *name && !skipped; name++)
            skipped = strcmp(*name, child->key) == 0;
        if (skipped)
            continue;
        json_write_key(out, child->key);
        write_node(child, out);
    }
}

static void write_value(const cJSON *value, struct buf *out) {
    char *text = cJSON_PrintUnformatted(value);
    buf_text(out, text ? text : "null");
    cJSON_free(text);
}

static void write_node(const struct node *node, struct buf *out) {
    static const char *const index_of_call[] = {"index", NULL}; // an unstreamed tool call has none
    bool is_calls = node->key && strcmp(node->key, "tool_calls") == 0;
    switch (node->kind) {
    case NODE_NULL:
        buf_text(out, "null");
        break;
    case NODE_TEXT:
        json_write_bytes(out, buf_borrow(&node->text), node->text.length);
        break;
    case NODE_RAW:
        buf_append(out, node->text.data, node->text.length);
        break;
    case NODE_VALUE:
    case NODE_LIST:
        write_value(node->value, out);
        break;
    case NODE_OBJECT:
        buf_char(out, '{');
        write_members(node, index_of_call + 1, out);
        buf_char(out, '}');
        break;
    case NODE_INDEXED:
        buf_char(out, '[');
        for (size_t i = 0; i < node->count; i++) {
            buf_text(out, i ? ",{" : "{");
            write_members(&node->children[i], is_calls ? index_of_call : index_of_call + 1, out);
            buf_char(out, '}');
        }
        buf_char(out, ']');
        break;
    }
}

static void write_member(const struct node *object, const char *key, const char *otherwise, struct buf *out) {
    const struct node *member = object ? find_child(object, key) : NULL;
    if (!member && !otherwise)
        return;
    json_write_key(out, key);
    if (member && member->kind != NODE_NULL)
        write_node(member, out);
    else
        buf_text(out, otherwise ? otherwise : "null");
}

static void write_choice(const struct node *choice, struct buf *out) {
    static const char *const message_done[] = {"role", "content", NULL};
    static const char *const choice_done[] = {"delta", "logprobs", "finish_reason", NULL};
    const struct node *delta = find_child(choice, "delta");
    if (delta && delta->kind != NODE_OBJECT)
        delta = NULL;
    buf_char(out, '{');
    json_write_member_integer(out, "index", choice->index);
    json_write_key(out, "message");
    buf_char(out, '{');
    write_member(delta, "role", "\"assistant\"", out);
    write_member(delta, "content", "null", out);
    write_members(delta, message_done, out);
    buf_char(out, '}');
    write_member(choice, "logprobs", NULL, out);
    write_member(choice, "finish_reason", "null", out);
    write_members(choice, choice_done, out);
    buf_char(out, '}');
}

void completion_write(const struct completion *completion, struct buf *out) {
    static const char *const done[] = {"id", "object", "created", "model", "choices", "usage", NULL};
    const struct node *top = &completion->top;
    const struct node *choices = find_child(top, "choices");
    buf_char(out, '{');
    write_member(top, "id", NULL, out);
    json_write_member_text(out, "object", "chat.completion");
    write_member(top, "created", NULL, out);
    write_member(top, "model", NULL, out);
    json_write_key(out, "choices");
    buf_char(out, '[');
    for (size_t i = 0; choices && i < choices->count; i++) {
        if (i)
            buf_char(out, ',');
        write_choice(&choices->children[i], out);
    }
    buf_char(out, ']');
    write_member(top, "usage", NULL, out);
    write_members(top, done, out);
    buf_char(out, '}');
}
