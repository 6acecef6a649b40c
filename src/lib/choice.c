// SPDX-License-Identifier: MIT
// Which model a submission means: the one it names, else the default, else the
// only one that is configured.
#include "base/mem.h"
#include "base/text.h"
#include "lib/config.h"
#include <stdlib.h>
#include <string.h>

#define NAME_MAXIMUM 256

static bool is_name(const char *name) {
    size_t length = strlen(name);
    if (length == 0 || length > NAME_MAXIMUM || !text_is_utf8(name, length)) {
        return false;
    }
    for (const char *c = name; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7F) {
            return false;
        }
    }
    return strcmp(name, "*") != 0;
}

static int refuse_unknown(const struct config *config, const char *name, struct err *e) {
    const char **names = mem_alloc(config->model_count, sizeof *names);
    for (size_t i = 0; i < config->model_count; i++) {
        names[i] = config->models[i].name; // none is "*", which would have served
    }
    const char *near = text_nearest(name, names, config->model_count);
    free(names);
    if (near != NULL) {
        return err_in(e, ERR_INVALID, "modelId", "unknown model '%s': did you mean '%s'?", name, near);
    }
    return err_in(e, ERR_INVALID, "modelId",
                  "unknown model '%s': add a section [model %s] to genrun.ini, or [model *] for all names",
                  name, name);
}

// The model of a submission that names none; NULL when that is not decided.
static const char *unnamed_model(const struct config *config) {
    const char *only = NULL;
    if (config->default_model != NULL) {
        return config->default_model;
    }
    for (size_t i = 0; i < config->configured_count; i++) {
        const char *name = config->models[i].name;
        if (strcmp(name, "*") == 0) {
            continue;
        }
        if (only != NULL) {
            return NULL;
        }
        only = name;
    }
    return only;
}

static int refuse_unnamed(const struct config *config, struct err *e) {
    if (config->model_count == 1) { // echo alone
        return err_in(e, ERR_INVALID, "modelId",
                      "no model is configured: add a [model NAME] section to genrun.ini, set OPENAI_BASE_URL "
                      "or OPENAI_API_KEY and name a model, or try it with --model echo");
    }
    return err_in(e, ERR_INVALID, "modelId",
                  "no model is named: name one with --model, or set default_model in [genrun] of genrun.ini");
}

int config_model(const struct config *config, const char *name, const char **model_id,
                 const struct model **model, struct err *e) {
    if (name == NULL) {
        name = unnamed_model(config);
    }
    if (name == NULL) {
        return refuse_unnamed(config, e);
    }
    if (!is_name(name)) {
        return err_in(e, ERR_INVALID, "modelId",
                      "'%.60s' is not the name of a model: give 1 to %d bytes of plain text", name,
                      NAME_MAXIMUM);
    }
    const struct model *found = model_find(config->models, config->model_count, name);
    if (found == NULL) {
        return refuse_unknown(config, name, e);
    }
    *model = found;
    *model_id = strcmp(found->name, "*") == 0 ? name : found->name;
    return ERR_OK;
}
