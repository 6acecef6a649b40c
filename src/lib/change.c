// SPDX-License-Identifier: MIT
// Changes of state that people ask for: of one generation, or of all that a filter selects.
#include "lib/handle.h"

static int change_one(genrun *g, enum change change, const char *id, const char *reason) {
    int64_t seq = 0;
    int result = handle_text(g, "the reason", reason);
    if (!result)
        result = handle_generation(g, id, &seq);
    if (!result && change == CHANGE_RECOVER)
        (void)handle_runner_is_up(g);
    if (!result)
        result = queue_change(g->db, change, seq, reason, &g->err);
    return handle_result(g, result);
}

static int change_all(genrun *g, enum change change, int64_t *changed, const genrun_filter *filter,
                      const char *reason, int dry_run) {
    struct filter f;
    *changed = 0;
    int result = handle_filter(g, filter, &f);
    if (!result)
        result = handle_text(g, "the reason", reason);
    if (!result && change == CHANGE_RECOVER)
        (void)handle_runner_is_up(g);
    if (!result)
        result = queue_change_all(g->db, change, &f, reason, dry_run != 0, changed, &g->err);
    return handle_result(g, result);
}

int genrun_cancel(genrun *g, const char *id, const char *reason) {
    return change_one(g, CHANGE_CANCEL, id, reason);
}

int genrun_cancel_all(genrun *g, int64_t *changed, const genrun_filter *filter, const char *reason,
                      int dry_run) {
    return change_all(g, CHANGE_CANCEL, changed, filter, reason, dry_run);
}

int genrun_fail(genrun *g, const char *id, const char *reason) {
    return change_one(g, CHANGE_FAIL, id, reason);
}

int genrun_fail_all(genrun *g, int64_t *changed, const genrun_filter *filter, const char *reason,
                    int dry_run) {
    return change_all(g, CHANGE_FAIL, changed, filter, reason, dry_run);
}

int genrun_retry(genrun *g, const char *id) {
    return change_one(g, CHANGE_RETRY, id, NULL);
}

int genrun_retry_all(genrun *g, int64_t *changed, const genrun_filter *filter, int dry_run) {
    return change_all(g, CHANGE_RETRY, changed, filter, NULL, dry_run);
}

int genrun_recover(genrun *g, const char *id) {
    return change_one(g, CHANGE_RECOVER, id, NULL);
}

int genrun_recover_all(genrun *g, int64_t *changed, const genrun_filter *filter, int dry_run) {
    return change_all(g, CHANGE_RECOVER, changed, filter, NULL, dry_run);
}

int genrun_dismiss(genrun *g, const char *id, int undo) {
    return change_one(g, undo ? CHANGE_UNDISMISS : CHANGE_DISMISS, id, NULL);
}

int genrun_dismiss_all(genrun *g, int64_t *changed, const genrun_filter *filter, int undo, int dry_run) {
    return change_all(g, undo ? CHANGE_UNDISMISS : CHANGE_DISMISS, changed, filter, NULL, dry_run);
}
