// SPDX-License-Identifier: MIT
// The configuration: genrun.ini, the environment and the defaults, put together
// by one option table (options.c) and checked as a whole: every mistake is
// reported at once, with file, line and the nearest known name.
#ifndef GENRUN_LIB_CONFIG_H
#define GENRUN_LIB_CONFIG_H

#include "base/err.h"
#include "base/log.h"
#include "provider/model.h"
#include "run/settings.h"
#include <stddef.h>

struct config {
    char *path;          // the file read, NULL when there is none
    char *database;      // absolute
    char *default_model; // NULL: not set
    enum log_level log_level;
    bool log_json;
    size_t max_output;   // bytes
    struct run_settings scheduler;
    struct model *models; // in the order of the file; the implied ones (echo, "*" of the environment) last
    size_t model_count;
    // origin of each value for `config show`: kept by options.c
    struct option_origin *origins;
    size_t origin_count;
};

// Reads the configuration. `path` NULL: looked for in $GENRUN_CONFIG, ./genrun.ini,
// $XDG_CONFIG_HOME/genrun/genrun.ini (~/.config), /etc/genrun.ini; none is fine. `database` (may be
// NULL) overrides. On ERR_CONFIG the message holds every mistake, one a line. Free with config_free.
int config_load(struct config **out, const char *path, const char *database, struct err *e) must_check;
void config_free(struct config *config);
// The model that a submission that names `name` (NULL: none) means: its model_id in *model_id (borrowed)
// and its entry. ERR_INVALID, with the nearest name, when no section serves it.
int config_model(const struct config *config, const char *name, const char **model_id,
                 const struct model **model, struct err *e) must_check;

// ---- the option table, for help, the sample file and the man page ----
struct option_info {
    const char *section; // "genrun", "scheduler", "model NAME"
    const char *name;    // "concurrency", "header.X"
    const char *type;    // "duration", "number", …
    const char *preset;  // the default as text; "" when unset
    const char *help;    // one sentence
};
const struct option_info *option_table(size_t *count);
// Writes the complete commented sample genrun.ini that the table makes.
#include "base/buf.h"
void option_write_sample(struct buf *out);

#endif
