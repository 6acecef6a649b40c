// SPDX-License-Identifier: MIT
// The environment and the stdin of a command.
#include "provider/command_request.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "loop/leftover.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARAMETERS_MAXIMUM ((size_t)100 * 1024) // the kernel takes 128 KiB an entry

// What programs need to find themselves, their user's files and the language. Keys do not stand in these.
static const char *const usual[] = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR"};
#define USUAL_COUNT (sizeof usual / sizeof *usual)

struct list {
    char **entries;
    size_t count;
};

// Takes the entry.
static void add(struct list *list, char *entry) {
    list->entries = mem_resize(list->entries, list->count + 2, sizeof *list->entries);
    list->entries[list->count++] = entry;
    list->entries[list->count] = NULL;
}

static void pass(struct list *list, const char *name) {
    const char *value = getenv(name);
    size_t length = strlen(name);
    for (size_t i = 0; i < list->count; i++)
        if (strncmp(list->entries[i], name, length) == 0 && list->entries[i][length] == '=')
            return;
    if (value)
        add(list, mem_format("%s=%s", name, value));
}

static const char *parameters_of(const struct provider_request *request) {
    return request->parameters && *request->parameters ? request->parameters : "{}";
}

static const char *name_sent(const struct provider_request *request) {
    return request->model->remote_name ? request->model->remote_name : request->model_id;
}

int command_request_environment(const struct provider_request *request, char ***out, struct err *e) {
    const struct model *model = request->model;
    struct list list = {0};
    *out = NULL;
    int rc = model_check_key(model, e);
    if (rc)
        return rc;
    // Ours first: a name of pass_env cannot stand for them.
    add(&list, mem_format(LEFTOVER_RUNNER "=%s", request->runner_id));
    add(&list, mem_format(LEFTOVER_GENERATION "=%s", request->generation_id));
    add(&list, mem_format(LEFTOVER_ATTEMPT "=%d", request->start));
    add(&list, mem_format(COMMAND_MODEL "=%s", name_sent(request)));
    if (!model->input_json) {
        const char *parameters = parameters_of(request);
        if (strlen(parameters) > PARAMETERS_MAXIMUM) {
            command_request_free(list.entries);
            return err_set(e, ERR_INVALID,
                           "the parameters have %zu bytes, and " COMMAND_PARAMETERS " holds 100K: set "
                           "input = json for model %s, so that its command gets them on stdin",
                           strlen(parameters), model->name);
        }
        add(&list, mem_format(COMMAND_PARAMETERS "=%s", parameters));
    }
    for (size_t i = 0; i < USUAL_COUNT; i++)
        pass(&list, usual[i]);
    for (char **entry = environ; entry && *entry; entry++)
        if (text_starts_with(*entry, "LC_"))
            add(&list, mem_copy(*entry));
    if (model->api_key_env)
        pass(&list, model->api_key_env);
    for (char **name = model->pass_env; name && *name; name++)
        pass(&list, *name);
    *out = list.entries;
    return 0;
}

void command_request_free(char **environment) {
    for (char **entry = environment; entry && *entry; entry++) {
        explicit_bzero(*entry, strlen(*entry));
        free(*entry);
    }
    free(environment);
}

// ---- stdin ----

// Appends the text of a message's content or of an input: a string, or parts that are all text.
static bool append_text(struct buf *out, const cJSON *content) {
    if (cJSON_IsString(content))
        return buf_text(out, content->valuestring);
    const cJSON *part;
    bool all = cJSON_IsArray(content) && content->child;
    cJSON_ArrayForEach(part, content) {
        const cJSON *text = cJSON_IsString(part) ? part : json_get(part, "text");
        all = all && cJSON_IsString(text) && buf_text(out, text->valuestring);
    }
    return all;
}

// Of a request that is a whole body: its text, when there is just one.
static bool append_only_text(struct buf *out, const cJSON *body) {
    const cJSON *messages = json_get(body, "messages");
    if (cJSON_IsArray(messages))
        return messages->child && !messages->child->next &&
               append_text(out, json_get(messages->child, "content"));
    const cJSON *prompt = json_get(body, "prompt");
    return append_text(out, prompt ? prompt : json_get(body, "input"));
}

static int write_text(const struct provider_request *request, struct buf *out, struct err *e) {
    cJSON *body = NULL;
    int rc = json_parse_object(parameters_of(request), strlen(parameters_of(request)), &body, e);
    if (rc)
        err_prefix(e, "parameters");
    else if (!append_only_text(out, body))
        rc = err_set(
            e, ERR_INVALID,
            "the request is a whole body that is not just one text: set input = json for model %s, so "
            "that its command gets the body on stdin",
            request->model->name);
    cJSON_Delete(body);
    return rc;
}

int command_request_input(const struct provider_request *request, struct buf *out, struct err *e) {
    if (!request->model->input_json && !request->prompt)
        return write_text(request, out, e);
    if (!request->model->input_json) {
        buf_text(out, request->prompt);
        return 0;
    }
    buf_char(out, '{');
    json_write_member_text(out, "id", request->generation_id);
    json_write_member_text(out, "model", name_sent(request));
    json_write_member_text(out, "prompt", request->prompt);
    json_write_member_raw(out, "parameters", parameters_of(request));
    json_write_member_integer(out, "attempt", request->start);
    buf_text(out, "}\n");
    return 0;
}
