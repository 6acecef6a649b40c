// SPDX-License-Identifier: MIT
// What can be said of a configuration without running anything: every mistake in
// it, and what it names that cannot be used.
#include "base/depot.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "lib/config.h"
#include "lib/config_http.h"
#include "lib/config_sync.h"
#include "lib/config_webhook.h"
#include "queue/key.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct look {
    const struct config *config;
    void (*tell)(void *payload, bool is_mistake, const char *line);
    void *payload;
    bool failed;
};

// Tells "origin of the option: message"; a default has no origin to tell.
__attribute__((format(printf, 5, 6))) static void tell(struct look *l, bool is_mistake, const char *section,
                                                       const char *name, const char *format, ...) {
    struct err e = {0};
    char message[sizeof e.message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    const char *origin = config_origin(l->config, section, name);
    bool is_default = strcmp(origin, "default") == 0;
    err_set(&e, ERR_CONFIG, "%s%s%s", is_default ? "" : origin, is_default ? "" : ": ", message);
    l->tell(l->payload, is_mistake, e.message);
    l->failed |= is_mistake;
}

static void look_at_key(struct look *l, const struct model *model) {
    struct stat st;
    struct err e = {0};
    char *section = mem_format("model %s", model->name);
    bool is_file = model->api_key_file != NULL;
    if (model_check_key(model, &e) != 0) {
        // A key in the environment may be there where the runner is started.
        bool is_missing = !is_file && getenv(model->api_key_env) == NULL;
        tell(l, !is_missing, section, is_file ? "api_key_file" : "api_key_env", "%s", e.message);
    } else if (is_file && stat(model->api_key_file, &st) == 0 && (st.st_mode & 077) != 0) {
        tell(l, false, section, "api_key_file", "api_key_file %s can be read by others: chmod 600 it",
             model->api_key_file);
    }
    free(section);
}

// The folder in which a missing file, or the first missing folder on its way, would be made. The caller frees it.
static char *nearest_folder(const char *path) {
    struct stat st;
    char *folder = mem_copy(path);
    do {
        char *slash = strrchr(folder, '/');
        if (slash == NULL || slash == folder) {
            free(folder);
            return mem_copy(slash == NULL ? "." : "/");
        }
        *slash = '\0';
    } while (stat(folder, &st) != 0 && errno == ENOENT);
    return folder;
}

static void look_at_missing_database(struct look *l, const char *path) {
    struct stat st;
    char *folder = nearest_folder(path);
    if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode))
        tell(l, true, "genrun", "database",
             "database %s cannot be made, %s is not a folder: name another place", path, folder);
    else if (access(folder, W_OK | X_OK) != 0)
        tell(l, true, "genrun", "database",
             "database %s cannot be made, this user may not write in %s: give the right, or name another "
             "place",
             path, folder);
    else
        tell(l, false, "genrun", "database", "database %s does not exist yet: the first submission makes it",
             path);
    free(folder);
}

static void look_at_database(struct look *l) {
    struct stat st;
    const char *path = l->config->database, *network = NULL;
    if (stat(path, &st) != 0)
        look_at_missing_database(l, path);
    else if (!S_ISREG(st.st_mode))
        tell(l, true, "genrun", "database", "database %s is not a regular file: name a file", path);
    else if (access(path, R_OK | W_OK) != 0)
        tell(l, true, "genrun", "database",
             "database %s cannot be read and written by this user: check the rights of the file", path);
    if (file_is_on_network(path, &network))
        tell(l, true, "genrun", "database",
             "database %s is on a network file system (%s), where locks cannot be trusted: name a local disk",
             path, network);
}

static void look_at_missing_files(struct look *l, const char *folder) {
    struct stat st;
    char *parent = mem_copy(folder), *slash = strrchr(parent, '/');
    // The one beside the database is where the database is.
    bool beside = text_starts_with(folder, l->config->database);
    if (slash != NULL && slash != parent)
        *slash = '\0';
    if (!beside && (stat(parent, &st) != 0 || !S_ISDIR(st.st_mode)))
        tell(l, true, "genrun", "data_dir",
             "folder %s for files cannot be made, %s is not a folder: make it, or set data_dir", folder,
             parent);
    else if (!beside && access(parent, W_OK | X_OK) != 0)
        tell(l, true, "genrun", "data_dir",
             "folder %s for files cannot be made, this user may not write in %s: give the right, or set "
             "data_dir",
             folder, parent);
    free(parent);
}

static void look_at_files(struct look *l) {
    struct stat st;
    struct err e;
    bool is_ours;
    const char *folder = l->config->data_dir;
    if (folder == NULL)
        return;
    if (stat(folder, &st) != 0)
        look_at_missing_files(l, folder);
    else if (!S_ISDIR(st.st_mode))
        tell(l, true, "genrun", "data_dir", "%s, for files, is not a folder: set data_dir", folder);
    else if (access(folder, R_OK | W_OK | X_OK) != 0)
        tell(l, true, "genrun", "data_dir",
             "folder %s for files cannot be read and written by this user: check its rights, or set data_dir",
             folder);
    else if (depot_own(folder, l->config->database, false, &is_ours, &e) != 0)
        tell(l, true, "genrun", "data_dir", "%s", e.message);
}

// How many keys of the HTTP API are good; 0 where there is no database to ask.
static int64_t count_keys(const char *database) {
    struct db *db = NULL;
    struct err e = {0};
    int64_t count = 0;
    if (db_open(&db, database, DB_LOOK, &e) == 0 && queue_key_count(db, &count, &e) != 0)
        count = 0;
    db_close(db);
    return count;
}

static void tell_http(void *payload, bool is_mistake, const char *option, const char *line) {
    tell(payload, is_mistake, "http", option, "%s", line);
}

static void look_at_http(struct look *l) {
    const struct config *config = l->config;
    bool beyond = config_listens_beyond(config->http.listen);
    if (config->http.listen != NULL || config->http.admin_key_file != NULL)
        config_http_judge(config, beyond ? count_keys(config->database) : 0, tell_http, l);
}

static void tell_sync(void *payload, bool is_mistake, const char *option, const char *line) {
    tell(payload, is_mistake, "sync", option, "%s", line);
}

struct judged_webhook {
    struct look *look;
    char *section;
};

static void tell_webhook(void *payload, bool is_mistake, const char *option, const char *line) {
    struct judged_webhook *j = payload;
    tell(j->look, is_mistake, j->section, option, "%s", line);
}

static void look_at_webhook(struct look *l, const struct webhook_endpoint *endpoint) {
    struct judged_webhook judged = {l, mem_format("webhook %s", endpoint->name)};
    config_webhook_judge(endpoint, tell_webhook, &judged);
    free(judged.section);
}

int config_check(const char *path, const char *database,
                 void (*each)(void *payload, bool is_mistake, const char *line), void *payload) {
    struct config *config = NULL;
    struct mistakes mistakes = {0};
    struct err e = {0};
    struct look look = {.tell = each, .payload = payload};
    int rc = config_load_all(&config, path, database, &mistakes, &e);
    for (size_t i = 0; i < mistakes.count && i < MISTAKES_KEPT; i++)
        each(payload, true, mistakes.lines[i]);
    if (rc != 0 && mistakes.count == 0) // the file cannot even be read
        each(payload, true, e.message);
    if (mistakes.count > MISTAKES_KEPT) {
        err_set(&e, ERR_CONFIG, "and %zu more mistakes: mend these first", mistakes.count - MISTAKES_KEPT);
        each(payload, true, e.message);
    }
    mistakes_clear(&mistakes);
    look.config = config;
    look.failed = rc != 0;
    if (rc == 0)
        look_at_database(&look);
    if (rc == 0)
        look_at_files(&look);
    if (rc == 0)
        look_at_http(&look);
    if (rc == 0)
        config_sync_judge(config, tell_sync, &look);
    for (size_t i = 0; rc == 0 && i < config->configured_count; i++)
        look_at_key(&look, &config->models[i]);
    for (size_t i = 0; rc == 0 && i < config->webhook_count; i++)
        look_at_webhook(&look, &config->webhooks[i]);
    config_free(config);
    return look.failed ? ERR_CONFIG : ERR_OK;
}
