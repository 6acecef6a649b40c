// SPDX-License-Identifier: MIT
// Puts the configuration together: defaults, then the file, then the
// environment, then the command line; then what follows from them (implied models,
// inherited timeouts, the database's place). All mistakes are collected and
// reported together. Finding the file is place.c's job, values are value.c's.
#include "lib/config.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "lib/config_http.h"
#include "lib/config_sync.h"
#include "lib/config_webhook.h"
#include "lib/ini.h"
#include "lib/kind.h"
#include "lib/mistakes.h"
#include "lib/options.h"
#include "lib/place.h"
#include "lib/section.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FILE_MAXIMUM ((size_t)1 << 20)
#define SHOWN_PATH 120 // bytes of a path in a message

struct option_origin {
    char *section; // as in the file: "model gpt-4o"
    char *name;
    char *source;
    int line; // 0: not from the file
};

struct section_seen {
    char *name;
    int line;
};

// What is known while a configuration is being read.
struct loader {
    struct config *config;
    struct mistakes *mistakes;
    const char *file;      // as shown in messages; NULL: there is none
    const char *base_file; // what relative paths are relative to; NULL: the current folder
    struct section_seen *seen;
    size_t seen_count;
    char *section;     // the present one as in the file; NULL: none yet
    const char *kind;  // its name in the table; NULL: unknown, its options are passed over
    size_t model;      // its index in config->models
    size_t webhook;    // or in config->webhooks
    bool lost_section; // a section was refused, so that models may be missing
};

// ---- origins ----

static bool is_same_option(const char *a, const char *b) {
    bool is_header = text_starts_with(a, "header.");
    return is_header ? strcasecmp(a, b) == 0 : strcmp(a, b) == 0;
}

// The newest origin of an option, NULL when it has the default.
static const struct option_origin *find_origin(const struct config *config, const char *section,
                                               const char *name) {
    for (size_t i = config->origin_count; i-- > 0;) {
        const struct option_origin *origin = &config->origins[i];
        if (strcmp(origin->section, section) == 0 && is_same_option(origin->name, name)) {
            return origin;
        }
    }
    return NULL;
}

const char *config_origin(const struct config *config, const char *section, const char *name) {
    const struct option_origin *origin = find_origin(config, section, name);
    return origin != NULL ? origin->source : "default";
}

// Takes `source`.
static void add_origin(struct config *config, const char *section, const char *name, char *source, int line) {
    size_t count = config->origin_count++;
    config->origins = mem_resize(config->origins, count + 1, sizeof *config->origins);
    config->origins[count] = (struct option_origin){mem_copy(section), mem_copy(name), source, line};
}

// ---- the file ----

static size_t add_model(struct config *config, const char *name) {
    size_t index = config->model_count++;
    config->models = mem_resize(config->models, config->model_count, sizeof *config->models);
    memset(&config->models[index], 0, sizeof *config->models);
    config->models[index].name = mem_copy(name);
    option_preset_model(&config->models[index]);
    return index;
}

static void tell_unknown_section(struct loader *loader, int line, const char *section) {
    struct buf shown, hint;
    buf_init(&shown, BUF_UNLIMITED);
    buf_init(&hint, BUF_UNLIMITED);
    text_escape(&shown, section, strlen(section), 60);
    section_write_hint(&hint, section);
    mistakes_add(loader->mistakes, "%s:%d: unknown section [%s]: %s", loader->file, line, buf_borrow(&shown),
                 buf_borrow(&hint));
    buf_free(&shown);
    buf_free(&hint);
}

// True when the section stood before; it is noted in any case.
static bool note_section(struct loader *loader, int line, const char *section) {
    for (size_t i = 0; i < loader->seen_count; i++) {
        if (strcmp(loader->seen[i].name, section) == 0) {
            mistakes_add(loader->mistakes,
                         "%s:%d: [%s] stands twice (first in line %d): put its options together",
                         loader->file, line, section, loader->seen[i].line);
            return true;
        }
    }
    loader->seen = mem_resize(loader->seen, loader->seen_count + 1, sizeof *loader->seen);
    loader->seen[loader->seen_count++] = (struct section_seen){mem_copy(section), line};
    return false;
}

static size_t model_index(const struct config *config, const char *name) {
    size_t i = 0;
    while (i < config->model_count && strcmp(config->models[i].name, name) != 0) {
        i++;
    }
    return i;
}

static void on_named_section(struct loader *loader, int line, const char *kind, const char *name) {
    const char *bad = section_find_bad_name(kind, name);
    if (bad != NULL) {
        mistakes_add(loader->mistakes, "%s:%d: [%s] %s", loader->file, line, loader->section, bad);
        loader->lost_section = true;
        return;
    }
    char *normal = mem_format("%.*s %s", (int)strcspn(kind, " "), kind, name); // one blank
    free(loader->section);
    loader->section = normal;
    loader->kind = kind;
    bool is_double = note_section(loader, line, normal);
    const char *kept = strchr(normal, ' ') + 1;
    if (strcmp(kind, WEBHOOK_SECTION) == 0) {
        loader->webhook = config_webhook_add(loader->config, kept);
        add_origin(loader->config, normal, "", mem_format("%s:%d", loader->file, line),
                   line); // of the section
    } else {
        loader->model = is_double ? model_index(loader->config, kept) : add_model(loader->config, kept);
    }
}

static void on_section(void *payload, int line, const char *section) {
    struct loader *loader = payload;
    free(loader->section);
    loader->section = mem_copy(section != NULL ? section : "");
    loader->kind = NULL;
    if (section == NULL) {
        loader->lost_section = true;
        return;
    }
    const char *name = NULL, *kind = section_named(section, &name);
    if (kind != NULL) {
        on_named_section(loader, line, kind, name);
        return;
    }
    loader->kind = section_plain(section);
    if (loader->kind == NULL) {
        tell_unknown_section(loader, line, section);
        loader->lost_section = true;
    } else {
        note_section(loader, line, section);
    }
}

static void tell_unknown_option(struct loader *loader, int line, const char *name) {
    struct buf hint, shown;
    buf_init(&hint, BUF_UNLIMITED);
    buf_init(&shown, BUF_UNLIMITED);
    option_quote(&shown, name);
    const char *near = option_nearest(loader->kind, name);
    if (option_home(name) != NULL) {
        buf_text(&hint, "it belongs to ");
        option_write_homes(name, &hint);
    } else if (near != NULL) {
        buf_format(&hint, "did you mean %s?", near);
    } else {
        buf_text(&hint, "remove it (the sample genrun.ini lists every option)");
    }
    mistakes_add(loader->mistakes, "%s:%d: unknown option %s in [%s]: %s", loader->file, line,
                 buf_borrow(&shown), loader->section, buf_borrow(&hint));
    buf_free(&hint);
    buf_free(&shown);
}

static void *option_target(const struct loader *loader) {
    bool is_model = strcmp(loader->kind, MODEL_SECTION) == 0;
    if (strcmp(loader->kind, WEBHOOK_SECTION) == 0) {
        return &loader->config->webhooks[loader->webhook];
    }
    return is_model ? (void *)&loader->config->models[loader->model] : (void *)loader->config;
}

static void on_option(void *payload, int line, const char *name, const char *value) {
    struct loader *loader = payload;
    if (loader->section == NULL) {
        struct buf shown;
        buf_init(&shown, BUF_UNLIMITED);
        option_quote(&shown, name);
        mistakes_add(loader->mistakes,
                     "%s:%d: %s stands before any section: put a line such as [%s] above it", loader->file,
                     line, buf_borrow(&shown), option_home(name) != NULL ? option_home(name) : "genrun");
        buf_free(&shown);
        return;
    }
    if (loader->kind == NULL) {
        return; // its section was refused
    }
    const struct option *option = option_find(loader->kind, name);
    if (option == NULL) {
        tell_unknown_option(loader, line, name);
        return;
    }
    const struct option_origin *first = find_origin(loader->config, loader->section, name);
    if (first != NULL) {
        mistakes_add(loader->mistakes, "%s:%d: %s stands twice in [%s] (first in line %d): keep one of them",
                     loader->file, line, name, loader->section, first->line);
        return;
    }
    struct buf why;
    buf_init(&why, BUF_UNLIMITED);
    if (!option_store(option, name, value, loader->base_file, option_target(loader), &why)) {
        mistakes_add(loader->mistakes, "%s:%d: %s", loader->file, line, buf_borrow(&why));
    }
    add_origin(loader->config, loader->section, name, mem_format("%s:%d", loader->file, line), line);
    buf_free(&why);
}

static void on_mistake(void *payload, int line, const char *what) {
    struct loader *loader = payload;
    mistakes_add(loader->mistakes, "%s:%d: %s", loader->file, line, what);
}

// ---- the environment ----

static void read_environment(struct loader *loader) {
    const struct option *option = NULL;
    char variable[128];
    struct buf why;
    buf_init(&why, BUF_UNLIMITED);
    for (size_t i = 0; (option = option_row(i)) != NULL; i++) {
        if (!option_variable(option, variable, sizeof variable)) {
            continue;
        }
        const char *value = getenv(variable);
        if (value == NULL || *value == '\0') {
            continue;
        }
        buf_clear(&why);
        const char *section = option->info.section;
        if (!text_is_utf8(value, strlen(value))) {
            mistakes_add(loader->mistakes, "environment %s: not valid UTF-8: give it as UTF-8 text",
                         variable);
        } else if (!option_store(option, option->info.name, value, NULL, loader->config, &why)) {
            mistakes_add(loader->mistakes, "environment %s: %s", variable, buf_borrow(&why));
        }
        add_origin(loader->config, section, option->info.name, mem_format("environment %s", variable), 0);
    }
    buf_free(&why);
}

// ---- what follows from what was read ----

// "genrun.ini:12: " or "environment X: ", for a mistake about an option that was read.
static const char *source_of(const struct loader *loader, const char *section, const char *name) {
    const struct option_origin *origin = find_origin(loader->config, section, name);
    return origin != NULL ? origin->source : "configuration";
}

static void fill_text(char **field, const char *text) {
    if (*field == NULL) {
        *field = mem_copy(text);
    }
}

static void fill_duration(int64_t *field, int64_t duration) {
    if (*field == 0) {
        *field = duration;
    }
}

// The defaults that depend on other options.
static void complete_model(const struct config *config, struct model *model) {
    fill_text(&model->provider, model->command != NULL             ? "command"
                                : strcmp(model->name, "echo") == 0 ? "echo"
                                                                   : "openai");
    if (strcmp(model->provider, "openai") == 0) {
        fill_text(&model->base_url, "https://api.openai.com/v1");
        fill_text(&model->endpoint, "/chat/completions");
    }
    fill_duration(&model->first_byte_timeout_ms, config->scheduler.first_byte_timeout_ms);
    fill_duration(&model->progress_timeout_ms, config->scheduler.progress_timeout_ms);
    fill_duration(&model->max_runtime_ms, config->scheduler.max_runtime_ms);
}

struct kind_mistakes {
    struct loader *loader;
    const char *section;
};

static void tell_kind(void *payload, const char *option, const char *what) {
    const struct kind_mistakes *k = payload;
    mistakes_add(k->loader->mistakes, "%s: [%s] has %s", source_of(k->loader, k->section, option), k->section,
                 what);
}

static void check_model(struct loader *loader, const struct model *model) {
    char *section = mem_format("model %s", model->name);
    if (model->api_key_env != NULL && model->api_key_file != NULL) {
        mistakes_add(loader->mistakes, "%s: [%s] has both api_key_env and api_key_file: keep one of them",
                     source_of(loader, section, "api_key_file"), section);
    }
    kind_check(model, tell_kind, &(struct kind_mistakes){loader, section});
    free(section);
}

// The [model *] made of the variables that OpenAI's own clients read.
static void add_environment_model(struct loader *loader) {
    const char *url = getenv("OPENAI_BASE_URL");
    const char *key = getenv("OPENAI_API_KEY");
    bool has_url = url != NULL && *url != '\0';
    bool has_key = key != NULL && *key != '\0';
    if (!has_url && !has_key) {
        return;
    }
    size_t index = add_model(loader->config, "*");
    struct model *model = &loader->config->models[index];
    if (has_key) {
        model->api_key_env = mem_copy("OPENAI_API_KEY");
        add_origin(loader->config, "model *", "api_key_env", mem_copy("environment OPENAI_API_KEY"), 0);
    }
    if (!has_url) {
        return;
    }
    struct buf why;
    buf_init(&why, BUF_UNLIMITED);
    const struct option *option = option_find(MODEL_SECTION, "base_url");
    if (!option_store(option, "base_url", url, NULL, model, &why)) {
        mistakes_add(loader->mistakes, "environment OPENAI_BASE_URL: %s", buf_borrow(&why));
    }
    add_origin(loader->config, "model *", "base_url", mem_copy("environment OPENAI_BASE_URL"), 0);
    buf_free(&why);
}

static void complete_models(struct loader *loader) {
    struct config *config = loader->config;
    config->configured_count = config->model_count;
    if (config->model_count == 0) {
        add_environment_model(loader);
    }
    if (model_index(config, "echo") == config->model_count) {
        add_model(config, "echo");
    }
    for (size_t i = 0; i < config->model_count; i++) {
        complete_model(config, &config->models[i]);
        check_model(loader, &config->models[i]);
    }
}

static void check_scheduler(struct loader *loader) {
    const struct run_settings *s = &loader->config->scheduler;
    const char *section = "scheduler";
    if (s->heartbeat_timeout_ms <= s->heartbeat_interval_ms) {
        const char *name = config_origin(loader->config, section, "heartbeat_timeout");
        bool is_set = strcmp(name, "default") != 0;
        mistakes_add(loader->mistakes,
                     "%s: heartbeat_timeout is not longer than heartbeat_interval: give it several intervals",
                     source_of(loader, section, is_set ? "heartbeat_timeout" : "heartbeat_interval"));
    }
    if (loader->config->jobs.lock_expiry_ms <= s->heartbeat_interval_ms) {
        const char *name = config_origin(loader->config, "cleanup", "lock_expiry");
        bool is_set = strcmp(name, "default") != 0;
        mistakes_add(
            loader->mistakes,
            "%s: lock_expiry of [cleanup] is not longer than heartbeat_interval, which renews locks: "
            "give it several intervals",
            is_set ? source_of(loader, "cleanup", "lock_expiry")
                   : source_of(loader, section, "heartbeat_interval"));
    }
    if (s->backoff_max_ms < s->backoff_min_ms) {
        const char *name = config_origin(loader->config, section, "backoff_max");
        bool is_set = strcmp(name, "default") != 0;
        mistakes_add(loader->mistakes,
                     "%s: backoff_max is shorter than backoff_min: raise one or lower the other",
                     source_of(loader, section, is_set ? "backoff_max" : "backoff_min"));
    }
}

static void complete_database(struct loader *loader, const char *given) {
    struct config *config = loader->config;
    if (given != NULL && *given == '\0') {
        mistakes_add(loader->mistakes, "the database given on the command line has no name: write -d FILE");
    } else if (given != NULL) {
        free(config->database);
        config->database = place_absolute(given, NULL);
        add_origin(config, "genrun", "database", mem_copy("command line"), 0);
    } else if (config->database == NULL && loader->base_file != NULL) {
        config->database = place_absolute("genrun.db", loader->base_file);
    } else if (config->database == NULL) {
        config->database = place_of_data("genrun.db");
    }
    if (config->database == NULL) {
        mistakes_add(loader->mistakes,
                     "there is no place for the database, as HOME is not set: name one with "
                     "-d FILE, GENRUN_DATABASE or database in genrun.ini");
    }
}

static void check_default_model(struct loader *loader) {
    const char *model_id = NULL;
    const struct model *model = NULL;
    struct err e = {0};
    const char *name = loader->config->default_model;
    if (name != NULL && !loader->lost_section &&
        config_model(loader->config, name, &model_id, &model, &e) != 0) {
        mistakes_add(loader->mistakes, "%s: default_model: %s", source_of(loader, "genrun", "default_model"),
                     e.message);
    }
}

// ---- the door ----

static int read_file(struct loader *loader, const char *path, struct err *e) {
    struct buf text;
    buf_init(&text, FILE_MAXIMUM);
    int rc = place_read(path, FILE_MAXIMUM, &text, e);
    if (rc == 0) {
        const struct ini_listener listener = {on_section, on_option, on_mistake, loader};
        ini_read(buf_borrow(&text), text.length, &listener);
    }
    buf_free(&text);
    return rc;
}

// The end of a long path, for messages.
static char *shorten_path(const char *path) {
    size_t length = strlen(path);
    if (length <= SHOWN_PATH) {
        return mem_copy(path);
    }
    const char *tail = path + length - SHOWN_PATH;
    while (((unsigned char)*tail & 0xC0) == 0x80) {
        tail++;
    }
    return mem_format("…%s", tail);
}

static int load(struct loader *loader, const char *path, const char *database, struct err *e) {
    struct config *config = loader->config;
    char *found = NULL;
    char *shown = NULL;
    int rc = place_of_config(path, &found, e);
    if (rc != 0) {
        return rc;
    }
    option_preset_config(config);
    if (found != NULL) {
        config->path = place_absolute(found, NULL);
        shown = shorten_path(found);
        loader->file = shown;
        loader->base_file = place_is_file(found) ? config->path : NULL;
        rc = read_file(loader, found, e);
    }
    if (rc == 0) {
        read_environment(loader);
        check_scheduler(loader);
        complete_models(loader);
        complete_database(loader, database);
        check_default_model(loader);
        config_http_complete(config, loader->mistakes);
        config_webhooks_complete(config, loader->mistakes);
        config_sync_complete(config);
        rc = mistakes_report(loader->mistakes, e);
    }
    free(found);
    free(shown);
    return rc;
}

int config_load_all(struct config **out, const char *path, const char *database, struct mistakes *mistakes,
                    struct err *e) {
    struct loader loader = {.mistakes = mistakes};
    loader.config = mem_alloc(1, sizeof *loader.config);
    *out = NULL;
    int rc = load(&loader, path, database, e);
    if (rc != 0 && mistakes->count == 0) { // it cannot even be read
        config_free(loader.config);
    } else {
        *out = loader.config;
    }
    for (size_t i = 0; i < loader.seen_count; i++) {
        free(loader.seen[i].name);
    }
    free(loader.seen);
    free(loader.section);
    return rc;
}

int config_load(struct config **out, const char *path, const char *database, struct err *e) {
    struct mistakes mistakes = {0};
    int rc = config_load_all(out, path, database, &mistakes, e);
    mistakes_clear(&mistakes);
    if (rc != 0) {
        config_free(*out);
        *out = NULL;
    }
    return rc;
}

void config_free(struct config *config) {
    if (config == NULL) {
        return;
    }
    free(config->path);
    free(config->database);
    free(config->data_dir);
    free(config->default_model);
    free(config->http.listen);
    free(config->http.admin_key_env);
    free(config->http.admin_key_file);
    free(config->http.base_url);
    text_words_free(config->http.cors_origins);
    config_sync_clear(&config->sync);
    for (size_t i = 0; i < config->model_count; i++) {
        model_clear(&config->models[i]);
    }
    free(config->models);
    config_webhooks_free(config);
    for (size_t i = 0; i < config->origin_count; i++) {
        free(config->origins[i].section);
        free(config->origins[i].name);
        free(config->origins[i].source);
    }
    free(config->origins);
    free(config);
}
