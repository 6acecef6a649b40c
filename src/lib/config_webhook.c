// SPDX-License-Identifier: MIT
#include "lib/config_webhook.h"
#include "base/mem.h"
#include "base/text.h"
#include "lib/options.h"
#include "run/webhook.h"
#include <stdlib.h>
#include <string.h>

size_t config_webhook_add(struct config *config, const char *name) {
    for (size_t i = 0; i < config->webhook_count; i++)
        if (strcmp(config->webhooks[i].name, name) == 0)
            return i;
    size_t index = config->webhook_count++;
    config->webhooks = mem_resize(config->webhooks, config->webhook_count, sizeof *config->webhooks);
    struct webhook_endpoint *endpoint = &config->webhooks[index];
    memset(endpoint, 0, sizeof *endpoint);
    endpoint->name = mem_copy(name);
    option_preset_webhook(endpoint);
    return index;
}

static bool stands(const struct config *config, const char *section, const char *option) {
    return strcmp(config_origin(config, section, option), "default") != 0;
}

// Format openai has four events only.
static bool sends_something(const struct webhook_endpoint *w) {
    static const char *const ends[] = {"batch.completed", "batch.failed", "batch.expired", "batch.cancelled"};
    bool sends = w->format != WEBHOOK_OPENAI;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        sends = sends || webhook_wants(w, ends[i]);
    return sends;
}

static void check(const struct config *config, const struct webhook_endpoint *w, struct mistakes *mistakes) {
    char *section = mem_format("webhook %s", w->name);
    // One that stands there and was refused has been told.
    if (!stands(config, section, "url") && !stands(config, section, "url_env"))
        mistakes_add(mistakes,
                     "%s: [%s] has no address: set url, or url_env to the name of the variable that holds it",
                     config_origin(config, section, ""), section);
    if (w->url != NULL && w->url_env != NULL)
        mistakes_add(mistakes, "%s: [%s] has both url and url_env: keep one of them",
                     config_origin(config, section, "url_env"), section);
    if (!sends_something(w))
        mistakes_add(mistakes,
                     "%s: [%s] would send nothing: format openai has batch.completed, batch.failed, "
                     "batch.expired and batch.cancelled",
                     config_origin(config, section, "events"), section);
    if (w->secret_env != NULL && w->secret_file != NULL)
        mistakes_add(mistakes, "%s: [%s] has both secret_env and secret_file: keep one of them",
                     config_origin(config, section, "secret_file"), section);
    free(section);
}

void config_webhooks_complete(struct config *config, struct mistakes *mistakes) {
    for (size_t i = 0; i < config->webhook_count; i++)
        check(config, &config->webhooks[i], mistakes);
    config->jobs.webhooks = config->webhooks;
    config->jobs.webhook_count = config->webhook_count;
}

void config_webhooks_free(struct config *config) {
    for (size_t i = 0; i < config->webhook_count; i++) {
        struct webhook_endpoint *w = &config->webhooks[i];
        free(w->name);
        free(w->url);
        free(w->url_env);
        free(w->secret_env);
        free(w->secret_file);
        text_words_free(w->events);
        text_words_free(w->models);
        text_words_free(w->users);
    }
    free(config->webhooks);
}

static bool has_secret(const struct webhook_endpoint *w) {
    struct buf secret;
    struct err e = {0};
    buf_init(&secret, WEBHOOK_SECRET_MAXIMUM);
    bool is_set = webhook_secret(w, &secret, &e) == 0 && secret.length > 0;
    webhook_wipe(&secret);
    return is_set;
}

char *config_webhook_describe(const struct webhook_endpoint *w, const char *name) {
    const char *variable = strcmp(name, "url_env") == 0      ? w->url_env
                           : strcmp(name, "secret_env") == 0 ? w->secret_env
                                                             : NULL;
    if (strcmp(name, "url") == 0 && w->url != NULL)
        return mem_copy("set");
    if (variable != NULL) {
        const char *held = getenv(variable);
        return held != NULL && *held != '\0' ? mem_format("set (from env %s)", variable)
                                             : mem_copy("missing");
    }
    if (strcmp(name, "secret_file") != 0 || w->secret_file == NULL)
        return NULL;
    return has_secret(w) ? mem_format("set (from file %s)", w->secret_file) : mem_copy("missing");
}

void config_webhook_judge(const struct webhook_endpoint *w,
                          void (*tell)(void *payload, bool is_mistake, const char *option, const char *line),
                          void *payload) {
    struct buf held;
    struct err e = {0};
    buf_init(&held, WEBHOOK_SECRET_MAXIMUM);
    // What stands in the environment may be there where the runner is started.
    bool url_missing = w->url_env != NULL && getenv(w->url_env) == NULL;
    bool secret_missing = w->secret_env != NULL && getenv(w->secret_env) == NULL;
    if (webhook_url(w, &held, &e) != 0)
        tell(payload, !url_missing, w->url_env != NULL ? "url_env" : "url", e.message);
    if (webhook_secret(w, &held, &e) != 0)
        tell(payload, !secret_missing, w->secret_env != NULL ? "secret_env" : "secret_file", e.message);
    if (w->secret_env == NULL && w->secret_file == NULL && w->format != WEBHOOK_SLACK) {
        err_set(&e, ERR_CONFIG,
                "webhook %s is not signed: set secret_env, so that the receiver knows who sends", w->name);
        tell(payload, false, "format", e.message);
    }
    webhook_wipe(&held);
}
