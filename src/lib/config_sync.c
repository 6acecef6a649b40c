// SPDX-License-Identifier: MIT
#include "lib/config_sync.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define URL_MAXIMUM 4096 // bytes
#define HOST_MAXIMUM 256

void config_sync_clear(struct sync_settings *sync) {
    free(sync->url_env);
    free(sync->url_file);
    free(sync->schema);
    free(sync->node);
}

bool config_sync_is_set(const struct config *config) {
    const char *value = getenv(config->sync.url_env);
    return config->sync.url_file != NULL || (value != NULL && *value != '\0');
}

void config_sync_complete(struct config *config) {
    config->jobs.sync_every_ms = config_sync_is_set(config) ? config->sync.every_ms : 0;
}

// Blanks at the ends are dropped; what is empty or has control characters is none.
static int take(const char *what, const char *text, size_t length, struct buf *url, struct err *e) {
    char *copy = mem_copy_bytes(text, length);
    const char *value = text_trim(copy);
    bool fine = *value != '\0' && strlen(value) <= URL_MAXIMUM && memchr(text, '\0', length) == NULL;
    for (const char *c = value; *c != '\0'; c++)
        fine = fine && (unsigned char)*c >= 0x20 && *c != 0x7f;
    if (fine)
        buf_text(url, value);
    explicit_bzero(copy, length);
    free(copy);
    return fine ? 0
                : err_set(e, ERR_CONFIG,
                          "%s holds no connection string: write there postgresql://user@host/database", what);
}

static int read_url_file(const char *path, struct buf *url, struct err *e) {
    struct buf raw;
    struct err reason = {0};
    buf_init(&raw, URL_MAXIMUM);
    char *what = mem_format("url_file %s", path);
    int rc = file_read(path, URL_MAXIMUM, &raw, &reason);
    if (rc != 0)
        rc = err_set(e, ERR_CONFIG,
                     "%s cannot be read: write the connection string there, readable by this user", what);
    else
        rc = take(what, buf_borrow(&raw), raw.length, url, e);
    config_wipe(&raw);
    free(what);
    return rc;
}

int config_sync_url(const struct config *config, struct buf *url, struct err *e) {
    const struct sync_settings *sync = &config->sync;
    buf_clear(url);
    if (sync->url_file != NULL)
        return read_url_file(sync->url_file, url, e);
    const char *value = getenv(sync->url_env);
    if (value == NULL || *value == '\0')
        return err_set(
            e, ERR_CONFIG,
            "the sync is not configured: set the environment variable %s to the connection string of "
            "Postgres, such as postgresql://user@host/database",
            sync->url_env);
    char *what = mem_format("environment variable %s", sync->url_env);
    int rc = take(what, value, strlen(value), url, e);
    free(what);
    return rc;
}

char *config_sync_describe_url(const struct config *config, const char *name) {
    const struct sync_settings *sync = &config->sync;
    bool is_file = strcmp(name, "url_file") == 0, is_env = strcmp(name, "url_env") == 0;
    if (!is_env && !(is_file && sync->url_file != NULL))
        return NULL;
    if (is_env && sync->url_file != NULL)
        return mem_copy("not used, as url_file is set");
    struct buf url;
    struct err e = {0};
    buf_init(&url, BUF_UNLIMITED);
    bool is_set = config_sync_url(config, &url, &e) == 0;
    config_wipe(&url);
    return !is_set   ? mem_copy("missing")
           : is_file ? mem_format("set (from file %s)", sync->url_file)
                     : mem_format("set (from env %s)", sync->url_env);
}

char *config_sync_node(const struct config *config) {
    char host[HOST_MAXIMUM] = "";
    if (config->sync.node != NULL)
        return mem_copy(config->sync.node);
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        return mem_copy("genrun");
    return mem_copy(host);
}

void config_sync_judge(const struct config *config,
                       void (*tell)(void *payload, bool is_mistake, const char *option, const char *line),
                       void *payload) {
    struct buf url;
    struct err e = {0};
    const struct sync_settings *sync = &config->sync;
    bool is_file = sync->url_file != NULL;
    // That a section stands there, and the variable is not set here, may be as it should.
    bool is_meant = is_file || strcmp(config_origin(config, "sync", "url_env"), "default") != 0 ||
                    strcmp(config_origin(config, "sync", "node"), "default") != 0;
    buf_init(&url, BUF_UNLIMITED);
    if (config_sync_url(config, &url, &e) != 0 && (is_meant || config_sync_is_set(config)))
        tell(payload, is_file || config_sync_is_set(config), is_file ? "url_file" : "url_env", e.message);
    config_wipe(&url);
}
