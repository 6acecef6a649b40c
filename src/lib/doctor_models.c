// SPDX-License-Identifier: MIT
// The models: are their keys here, and could they be called now.
#include "base/mem.h"
#include "lib/doctor.h"
#include "lib/models_check.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void look_at_key(struct doctor *d, const struct model *model) {
    struct err e = {0};
    struct stat st;
    char *check = mem_format("key of %s", model->name);
    bool in_file = model->api_key_file && *model->api_key_file;
    bool in_environment = !in_file && model->api_key_env && *model->api_key_env;
    if (!in_file && !in_environment)
        doctor_tell(d, check, DOCTOR_OK, NULL, "none is configured");
    else if (model_check_key(model, &e) != 0) // the runner that is up may have it in its environment
        doctor_tell_message(d, check, in_environment && d->served ? DOCTOR_NOTE : DOCTOR_WRONG, e.message);
    else if (in_environment)
        doctor_tell(d, check, DOCTOR_OK, NULL,
                    "set by the environment variable %s; a runner started elsewhere has its own",
                    model->api_key_env);
    else if (stat(model->api_key_file, &st) == 0 && (st.st_mode & 077) != 0) {
        char *advice = mem_format("chmod 600 %s", model->api_key_file);
        doctor_tell(d, check, DOCTOR_WRONG, advice, "%s is open to others (mode %04o)", model->api_key_file,
                    (unsigned)st.st_mode & 07777);
        free(advice);
    } else {
        doctor_tell(d, check, DOCTOR_OK, NULL, "in %s", model->api_key_file);
    }
    free(check);
}

static int tell_probe(void *payload, const struct models_check_target *target, const struct probe_result *r) {
    struct doctor *d = payload;
    if (r->unconfigured && r->key == PROBE_NO) // told with its key
        return 0;
    char *check = mem_format("model %s", target->model->name);
    doctor_tell(d, check, r->ok ? DOCTOR_OK : DOCTOR_WRONG, r->advice, "%s", r->message);
    free(check);
    return 0;
}

void doctor_look_at_models(struct doctor *d, bool offline) {
    struct loop *loop = NULL;
    struct err e = {0};
    if (!d->config)
        return;
    for (size_t i = 0; i < d->config->model_count; i++)
        if (strcmp(d->config->models[i].provider, "echo") != 0)
            look_at_key(d, &d->config->models[i]);
    if (offline)
        return;
    struct models_check_target *targets = models_check_targets(d->config);
    int result = loop_open(&loop, &e);
    if (!result)
        result = models_check_run(loop, targets, d->config->model_count, tell_probe, d, &e);
    if (result)
        doctor_tell_message(d, "models", DOCTOR_WRONG, e.message);
    loop_close(loop);
    free(targets);
}
