// SPDX-License-Identifier: MIT
// The configuration as it holds, option by option: the way back from fields to
// text, and where each value comes from. Keys are never part of it: of a key only
// whether it is there.
#include "base/clock.h"
#include "base/mem.h"
#include "lib/config_http.h"
#include "lib/config_sync.h"
#include "lib/config_webhook.h"
#include "lib/options.h"
#include "provider/classify.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FRACTION_MAXIMUM 14 // digits behind the point that a price may have

// ---- from a field to the text that option_store() makes it of ----

// The fewest digits that give the same double; no exponent and no locale's point, as both would not be read.
static void write_price(struct buf *out, double price) {
    double scale = 1;
    for (int digits = 0; digits <= FRACTION_MAXIMUM; digits++, scale *= 10) {
        long long number = llround(price * scale);
        if ((double)number / scale != price && digits < FRACTION_MAXIMUM)
            continue;
        long long whole = (long long)scale;
        buf_format(out, "%lld", number / whole);
        if (digits > 0)
            buf_format(out, ".%0*lld", digits, number % whole);
        return;
    }
}

static bool write_text(struct buf *out, const char *text) {
    if (text == NULL)
        return false;
    buf_text(out, text);
    return true;
}

static bool write_header(struct buf *out, const char *name, const struct model *model) {
    for (size_t i = 0; i < model->header_count; i++)
        if (strcasecmp(model->headers[i].name, name) == 0)
            return write_text(out, model->headers[i].value);
    return false;
}

static bool write_rule(struct buf *out, const char *name, const struct model_status_rule *rules,
                       size_t count) {
    for (size_t i = 0; i < count; i++)
        if (rules[i].status == atoi(name))
            return write_text(out, verdict_action_name(rules[i].action));
    return false;
}

// As a shell would have to be given them.
static bool write_words(struct buf *out, char *const *words) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+=./:,@%^*";
    for (size_t i = 0; words != NULL && words[i] != NULL; i++) {
        buf_text(out, i > 0 ? " " : "");
        bool quoted = *words[i] == '\0' || strspn(words[i], plain) != strlen(words[i]);
        buf_text(out, quoted ? "'" : "");
        for (const char *c = words[i]; *c != '\0'; c++) {
            if (*c == '\'')
                buf_text(out, "'\\''");
            else
                buf_char(out, *c);
        }
        buf_text(out, quoted ? "'" : "");
    }
    return words != NULL;
}

static void write_duration(struct buf *out, int64_t ms) {
    char text[64];
    clock_format_duration(ms, text, sizeof text);
    buf_text(out, text);
}

bool option_format(const struct option *option, const char *name, const void *target, struct buf *out) {
    const struct model *model = target; // of rows for models
    const void *field = (const char *)target + option->offset;
    switch (option->type) {
    case OPTION_TEXT:
    case OPTION_PATH:
    case OPTION_URL:
    case OPTION_ENDPOINT:
    case OPTION_VARIABLE:
    case OPTION_PROVIDER:
    case OPTION_LISTEN:
    case OPTION_HOOK:
        return write_text(out, *(char *const *)field);
    case OPTION_NUMBER:
        buf_format(out, "%d", *(const int *)field);
        return true;
    case OPTION_BIG:
        buf_format(out, "%lld", (long long)*(const int64_t *)field);
        return true;
    case OPTION_DURATION:
        write_duration(out, *(const int64_t *)field);
        return true;
    case OPTION_SIZE:
        option_write_size(out, (int64_t) * (const size_t *)field);
        return true;
    case OPTION_PRICE:
        write_price(out, *(const double *)field);
        return true;
    case OPTION_FLAG:
        return write_text(out, option->choices[*(const bool *)field]);
    case OPTION_CHOICE:
        return write_text(out, option->choices[*(const int *)field]);
    case OPTION_HEADER:
        return write_header(out, strchr(name, '.') + 1, target);
    case OPTION_STATUS:
        return write_rule(out, strchr(name, '.') + 1, model->status_rules, model->status_rule_count);
    case OPTION_EXIT:
        return write_rule(out, strchr(name, '.') + 1, model->exit_rules, model->exit_rule_count);
    case OPTION_COMMAND:
        return write_words(out, model->command);
    case OPTION_NAMES:
    case OPTION_ORIGINS:
    case OPTION_WORDS:
    case OPTION_EVENTS:
        return write_words(out, *(char **const *)field);
    case OPTION_SECRET:
        break;
    }
    return false;
}

// ---- the walk ----

struct walk {
    const struct config *config;
    int (*each)(void *payload, const struct config_entry *entry);
    void *payload;
    char *section;
    const struct model *model; // of [model NAME]; else NULL
    const struct webhook_endpoint *webhook;
    bool implied;
    int ended;
};

static bool names_secret(const char *name) {
    static const char *const parts[] = {"key", "token", "secret", "auth", "pass", "cookie", "credential"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcasestr(name, parts[i]) != NULL)
            return true;
    return false;
}

// What is known of the key that the option names; NULL: it names none. The caller frees it.
static char *describe_key(const struct walk *w, const struct option *option, const char *value) {
    if (w->model == NULL && strcmp(option->info.section, "sync") == 0)
        return config_sync_describe_url(w->config, option->info.name);
    if (w->webhook != NULL)
        return config_webhook_describe(w->webhook, option->info.name);
    if (w->model == NULL)
        return config_http_describe_key(w->config, option->info.section, option->info.name);
    bool is_file = strcmp(option->info.name, "api_key_file") == 0;
    if (value == NULL || (option->type != OPTION_VARIABLE && !is_file))
        return NULL;
    if (!is_file) {
        const char *held = getenv(value);
        return held != NULL && *held != '\0' ? mem_format("set (from env %s)", value) : mem_copy("missing");
    }
    struct buf key;
    struct err e = {0};
    buf_init(&key, BUF_UNLIMITED);
    bool is_set = model_api_key(w->model, &key, &e) == 0;
    if (key.data != NULL)
        explicit_bzero(key.data, key.capacity);
    buf_free(&key);
    return is_set ? mem_format("set (from file %s)", value) : mem_copy("missing");
}

// A model's value that stands in [scheduler] comes from where that comes from.
static const char *find_origin(const struct walk *w, const struct option *option, const char *name) {
    const char *origin = config_origin(w->config, w->section, name);
    bool inherits = w->model != NULL && option->info.preset[0] == '\0' &&
                    option_find("scheduler", option->info.name) != NULL;
    return inherits && strcmp(origin, "default") == 0
               ? config_origin(w->config, "scheduler", option->info.name)
               : origin;
}

static void tell(struct walk *w, const struct option *option, const char *name) {
    struct buf value;
    buf_init(&value, BUF_UNLIMITED);
    const void *target = w->model != NULL     ? (const void *)w->model
                         : w->webhook != NULL ? (const void *)w->webhook
                                              : (const void *)w->config;
    bool is_set = option_format(option, name, target, &value);
    bool is_hidden = is_set && (option_looks_secret(buf_borrow(&value)) ||
                                (option->type == OPTION_HEADER && names_secret(strchr(name, '.') + 1)));
    struct config_entry entry = {.section = w->section,
                                 .name = name,
                                 .value = is_set && !is_hidden ? buf_borrow(&value) : NULL,
                                 .origin = find_origin(w, option, name),
                                 .info = &option->info,
                                 .implied = w->implied};
    char *key = describe_key(w, option, entry.value);
    if (option->type == OPTION_HOOK)
        entry.value = NULL;
    entry.note = is_hidden ? "not shown" : key;
    w->ended = w->each(w->payload, &entry);
    free(key);
    buf_free(&value);
}

// Rows that stand for many names are told once for each that is there.
static void tell_row(struct walk *w, const struct option *option) {
    char *name = NULL;
    if (option->type == OPTION_HEADER) {
        for (size_t i = 0; w->ended == 0 && i < w->model->header_count; i++) {
            name = mem_format("header.%s", w->model->headers[i].name);
            tell(w, option, name);
            free(name);
        }
    } else if (option->type == OPTION_STATUS || option->type == OPTION_EXIT) {
        bool is_exit = option->type == OPTION_EXIT;
        size_t count = is_exit ? w->model->exit_rule_count : w->model->status_rule_count;
        for (size_t i = 0; w->ended == 0 && i < count; i++) {
            name = is_exit ? mem_format("on_exit.%d", w->model->exit_rules[i].status)
                           : mem_format("on_status.%d", w->model->status_rules[i].status);
            tell(w, option, name);
            free(name);
        }
    } else if (option->type != OPTION_SECRET) {
        tell(w, option, option->info.name);
    }
}

static void tell_section(struct walk *w, const char *kind) {
    const struct option *option = NULL;
    for (size_t i = 0; w->ended == 0 && (option = option_row(i)) != NULL; i++)
        if (strcmp(option->info.section, kind) == 0)
            tell_row(w, option);
    free(w->section);
}

void config_each(const struct config *config, int (*each)(void *payload, const struct config_entry *entry),
                 void *payload) {
    struct walk w = {.config = config, .each = each, .payload = payload};
    for (size_t s = 0; w.ended == 0 && option_section(s) != NULL; s++) {
        bool is_model = strcmp(option_section(s), MODEL_SECTION) == 0;
        bool is_webhook = strcmp(option_section(s), WEBHOOK_SECTION) == 0;
        for (size_t i = 0; is_webhook && w.ended == 0 && i < config->webhook_count; i++) {
            w.webhook = &config->webhooks[i];
            w.section = mem_format("webhook %s", w.webhook->name);
            tell_section(&w, WEBHOOK_SECTION);
        }
        w.webhook = NULL;
        if (!is_model && !is_webhook) {
            w.section = mem_copy(option_section(s));
            tell_section(&w, option_section(s));
        }
        for (size_t i = 0; is_model && w.ended == 0 && i < config->model_count; i++) {
            w.model = &config->models[i];
            w.implied = i >= config->configured_count;
            w.section = mem_format("model %s", w.model->name);
            tell_section(&w, MODEL_SECTION);
        }
        w.model = NULL;
        w.implied = false;
    }
}
