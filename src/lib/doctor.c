// SPDX-License-Identifier: MIT
// The doctor's round, and the configuration, which comes first.
#include "lib/doctor.h"
#include "base/mem.h"
#include "base/text.h"
#include "lib/mistakes.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// ---- telling ----

void doctor_tell(struct doctor *d, const char *check, enum doctor_state state, const char *advice,
                 const char *format, ...) {
    static const char *const names[] = {[DOCTOR_OK] = "ok", [DOCTOR_NOTE] = "note", [DOCTOR_WRONG] = "wrong"};
    char message[sizeof((struct err *)0)->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    d->wrong += state == DOCTOR_WRONG;
    if (d->ended)
        return;
    struct row *row = row_new();
    row_add_text(row, "check", check);
    row_add_text(row, "state", names[state]);
    row_add_text(row, "message", message);
    row_add_text(row, "advice", advice);
    d->ended = handle_each_row(&d->each, row) != 0;
}

void doctor_tell_message(struct doctor *d, const char *check, enum doctor_state state, const char *message) {
    char *advice, *first = text_take_advice(message, &advice);
    doctor_tell(d, check, state, advice, "%s", first);
    free(first);
    free(advice);
}

// ---- the configuration ----

static void look_at_rights(struct doctor *d, const char *path) {
    struct stat st;
    // It holds no secrets, so others may read it; but it names programs that are run.
    if (stat(path, &st) == 0 && (st.st_mode & 022) != 0) {
        char *advice = mem_format("chmod go-w %s", path);
        doctor_tell(d, "configuration", DOCTOR_WRONG, advice, "%s can be changed by others (mode %04o)", path,
                    (unsigned)st.st_mode & 07777);
        free(advice);
    }
}

static void look_at_configuration(struct doctor *d, const genrun_options *options) {
    struct mistakes mistakes = {0};
    struct err e = {0};
    int result = config_load_all(&d->config, options->config, options->database, &mistakes, &e);
    for (size_t i = 0; i < mistakes.count && i < MISTAKES_KEPT; i++)
        doctor_tell_message(d, "configuration", DOCTOR_WRONG, mistakes.lines[i]);
    if (mistakes.count > MISTAKES_KEPT)
        doctor_tell(d, "configuration", DOCTOR_WRONG, "mend these first", "and %zu more mistakes",
                    mistakes.count - MISTAKES_KEPT);
    if (result && mistakes.count == 0) // the file cannot even be read
        doctor_tell_message(d, "configuration", DOCTOR_WRONG, e.message);
    mistakes_clear(&mistakes);
    if (result == 0 && d->config->path)
        doctor_tell(d, "configuration", DOCTOR_OK, NULL, "%s has no mistake", d->config->path);
    else if (result == 0)
        doctor_tell(d, "configuration", DOCTOR_OK, NULL, "there is none, the defaults hold");
    if (d->config && d->config->path)
        look_at_rights(d, d->config->path);
    const char *given = options->database ? options->database : getenv("GENRUN_DATABASE");
    d->database = mem_copy(d->config ? d->config->database : given);
}

// ---- the round ----

int genrun_doctor(const genrun_options *options, int offline, genrun_each each, void *payload) {
    const genrun_options none = GENRUN_OPTIONS_INIT;
    struct doctor d = {.each = {each, payload}};
    look_at_configuration(&d, options ? options : &none);
    doctor_look_at_database(&d);
    doctor_look_at_work(&d);
    doctor_look_at_http(&d);
    doctor_look_at_webhooks(&d);
    doctor_look_at_sync(&d, offline != 0);
    doctor_look_at_system(&d);
    doctor_look_at_models(&d, offline != 0);
    db_close(d.db);
    config_free(d.config);
    free(d.database);
    return d.wrong > 0 ? GENRUN_WORK_FAILED : GENRUN_OK;
}
