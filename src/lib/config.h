// SPDX-License-Identifier: MIT
// The configuration: genrun.ini, the environment and the defaults, put together
// by one option table (options.c) and checked as a whole: every mistake is
// reported at once, with file, line and the nearest known name.
#ifndef GENRUN_LIB_CONFIG_H
#define GENRUN_LIB_CONFIG_H

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "provider/model.h"
#include "run/settings.h"
#include <stdbool.h>
#include <stddef.h>

struct http_settings {    // [http]
    char *listen;         // ADDR:PORT as address_parse() takes it; NULL: no HTTP
    char *admin_key_env;  // variable of the admin secret
    char *admin_key_file; // file of it; then the variable does not count. NULL: none
    char *base_url;       // public address, without a slash at the end; NULL: the one listened on
    char **cors_origins;  // scheme://host[:port] of pages that may call, ends in NULL; NULL: none
    size_t max_body;      // bytes
    int64_t idle_timeout_ms;
    int max_connections;
    int max_failures; // wrong credentials of an address in a minute; 0: any number
    int max_streams;  // of these, at most so many with live events; less than max_connections
};

struct sync_settings { // [sync]
    char *url_env;     // variable of the connection string
    char *url_file;    // file of it; then the variable does not count. NULL: none
    char *schema;
    int64_t every_ms;
    int batch;          // log rows in a page
    char *node;         // NULL: the host's name
    bool deletes;       // what is removed here is removed there
    int64_t timeout_ms; // of a statement there
};

struct config {
    char *path;          // the file read, NULL when there is none
    char *database;      // absolute
    char *data_dir;      // absolute: uploaded files; made with the first one
    char *default_model; // NULL: not set
    enum log_level log_level;
    bool log_json;
    size_t max_output; // bytes
    struct run_settings scheduler;
    struct job_settings jobs; // [cleanup], [retention], [alerts]
    struct http_settings http;
    struct sync_settings sync;
    struct model *models; // in the order of the file; the implied ones (echo, "*" of the environment) last
    size_t model_count;
    size_t configured_count;           // of them, those with a section of their own; they stand first
    struct webhook_endpoint *webhooks; // in the order of the file; lent to jobs
    size_t webhook_count;
    // where each value that is not the default comes from, for config_origin()
    struct option_origin *origins;
    size_t origin_count;
};

// Reads the configuration. `path` NULL: looked for in $GENRUN_CONFIG, ./genrun.ini,
// $XDG_CONFIG_HOME/genrun/genrun.ini (~/.config), /etc/genrun.ini; none is fine. `database` (may be
// NULL) overrides. Nothing is created. On ERR_CONFIG the message holds every mistake, one a line, each
// "file:line: what was wrong: what to do", and as the last line "… and N more mistakes" when they do not
// all fit. Free *out (NULL on failure) with config_free.
int config_load(struct config **out, const char *path, const char *database, struct err *e) must_check;
void config_free(struct config *config);
struct mistakes;
// The same with every mistake in `mistakes` (lib/mistakes.h), which the caller clears, also after success. With
// mistakes *out is what could be understood all the same.
int config_load_all(struct config **out, const char *path, const char *database, struct mistakes *mistakes,
                    struct err *e) must_check;
// Tells every mistake of the configuration and, when there is none, what cannot be used though it can be read
// (a key file, the database's place); each line is "file:line: what was wrong: what to do". What only may be
// missing (a key in the environment) is told as a note. ERR_CONFIG when there was more than notes.
int config_check(const char *path, const char *database,
                 void (*tell)(void *payload, bool is_mistake, const char *line), void *payload) must_check;
// The model that a submission that names `name` (NULL: none) means: its model_id in *model_id (borrowed
// from `name` or the configuration) and its entry. ERR_INVALID, with the nearest name, when no section
// serves it.
int config_model(const struct config *config, const char *name, const char **model_id,
                 const struct model **model, struct err *e) must_check;
// The admin secret of the HTTP API in *secret (an initialized buffer; wipe it), without blanks at its ends; empty when
// there is none: an empty one counts as none. ERR_CONFIG when it cannot be used: its file cannot be read, or it holds
// control characters.
int config_admin_key(const struct config *config, struct buf *secret, struct err *e) must_check;
// "admin_key_env INTERNAL_API_SECRET" or "admin_key_file /x": where it is taken from, for messages.
void config_write_admin_key_source(const struct config *config, struct buf *out);
// Has it fewer than 16 characters, so that it might be guessed?
bool config_admin_key_is_short(const struct buf *secret);
// Would ADDR:PORT (NULL: no) be reached from other machines?
bool config_listens_beyond(const char *listen);
// ERR_CONFIG with the words for: `listen` reaches beyond this machine and nobody needs a key.
int config_say_unguarded(const struct config *config, const char *listen, struct err *e);
// Frees what a secret stood in, after wiping it.
void config_wipe(struct buf *secret);
// Where the value of an option comes from: "default", "genrun.ini:12", "environment GENRUN_DATABASE",
// "command line". `section` as in the file ("model gpt-4o").
const char *config_origin(const struct config *config, const char *section, const char *name);

// ---- the option table, for help, the sample file and the man page ----
struct option_info {
    const char *section; // "genrun", "scheduler", "model NAME"
    const char *name;    // "concurrency", "header.X"
    const char *preset;  // the default as text; "" when there is none
    const char *unset;   // what holds without a value and without a default: "that of [scheduler]"
    const char *example; // a line for the sample; NULL: the preset under the option's own name
    const char *help;    // one sentence or two
};
// The row at `index`; NULL past the end.
const struct option_info *option_at(size_t index);
// An option as it holds, for `config show`.
struct config_entry {
    const char *section; // "model gpt-4o"
    const char *name;    // "header.X-Title"
    const char *value;   // as it could stand in the file; NULL: none, or not to be shown
    const char
        *origin; // as config_origin() tells it; of a value taken over from [scheduler]: where that is from
    const char *note; // of a key "set (from env X)" or "missing"; "not shown"; NULL: nothing to say
    const struct option_info *info;
    bool implied; // of a model without a section of its own
};
// Calls back for every option of every section and model, in the table's order; non-zero ends.
void config_each(const struct config *config, int (*each)(void *payload, const struct config_entry *entry),
                 void *payload);
// Appends what a row's option accepts, its default and its environment variable, in one line.
void option_write_facts(struct buf *out, const struct option_info *info);
// What holds for the whole file, a sentence or two each: the places where it is looked for, in this order; the
// rules of its lines; what [model NAME] sections are. The lists end in NULL.
extern const char *const option_places[];
extern const char *const option_rules[];
extern const char option_models[];
extern const char option_webhooks[]; // the same of [webhook NAME]
// Writes the complete commented sample genrun.ini that the table makes.
void option_write_sample(struct buf *out);

#endif
