// SPDX-License-Identifier: MIT
// The people and places that reports name.
#include "base/text.h"
#include "lib/handle.h"
#include <string.h>

static bool has_control(const char *text) {
    for (size_t left = strlen(text), size; left > 0; text += size, left -= size) {
        uint32_t c = 0;
        size = text_utf8_decode(text, left, &c);
        if (c < 0x20 || (c >= 0x7f && c < 0xa0))
            return true;
    }
    return false;
}

int handle_name(genrun *g, const char *what, const char *text) {
    int result = handle_text(g, what, text);
    if (result || !text)
        return result;
    if (!*text)
        return err_set(&g->err, ERR_INVALID, "%s is empty: give one, or leave it out", what);
    if (has_control(text))
        return err_set(&g->err, ERR_INVALID, "%s has a control character: leave it out", what);
    return 0;
}

// `names` are the words for the values, of which the first is the id.
static int set(genrun *g, genrun_row **out, enum people which, const char *const names[4],
               const char *const values[4]) {
    struct row *row = NULL;
    g->create = true;
    int result = values[0] ? 0 : err_set(&g->err, ERR_INVALID, "%s is missing: give one", names[0]);
    for (size_t i = 0; !result && i < 4; i++)
        result = handle_name(g, names[i], values[i]);
    if (!result)
        result = handle_database(g);
    if (!result)
        result = queue_people_set(g->db, which, values, &row, &g->err);
    if (out)
        *out = (genrun_row *)row;
    else
        row_free(row);
    return handle_result(g, result);
}

int genrun_user_set(genrun *g, genrun_row **out, const char *id, const char *name, const char *username,
                    const char *email) {
    static const char *const names[] = {"the user's id", "the name", "the username", "the email"};
    return set(g, out, PEOPLE_USER, names, (const char *const[]){id, name, username, email});
}

int genrun_session_set(genrun *g, genrun_row **out, const char *id, const char *name, const char *project,
                       const char *user) {
    static const char *const names[] = {"the session's id", "the name", "the project", "the user"};
    return set(g, out, PEOPLE_SESSION, names, (const char *const[]){id, name, project, user});
}

int genrun_project_set(genrun *g, genrun_row **out, const char *id, const char *name, const char *user) {
    static const char *const names[] = {"the project's id", "the name", "the user", ""};
    return set(g, out, PEOPLE_PROJECT, names, (const char *const[]){id, name, user, NULL});
}

int genrun_user_get(genrun *g, genrun_row **out, const char *id) {
    *out = NULL;
    int result = handle_database(g);
    if (!result)
        result = queue_user_get(g->db, id, (struct row **)out, &g->err);
    return handle_result(g, result);
}
