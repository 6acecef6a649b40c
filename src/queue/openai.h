// SPDX-License-Identifier: MIT
// The door of the queue for OpenAI's Files and Batch API: uploaded files, result
// files and batches, as rows. (What is in a file is the caller's business.)
// `user` is whose own is looked at; NULL: everybody's.
#ifndef GENRUN_QUEUE_OPENAI_H
#define GENRUN_QUEUE_OPENAI_H

#include "queue/queue.h"

// "file-" or "batch_" and 32 hex digits, for results "-output" or "-error" behind them.
#define OPENAI_ID_SIZE 48
// A new id with that prefix; ids sort by age.
void openai_id_make(const char *prefix, char out[OPENAI_ID_SIZE]);
// The id that the batch job of a batch gets: the same digits, as a UUID.
void openai_job_id(const char *batch_id, char out[ID_SIZE]);

// ---- file.c ----
struct file_row {
    const char *id;
    const char *user_id;
    const char *filename;
    const char *purpose;
    int64_t bytes, created_at;
    int64_t expires_at; // 0: never
};
int queue_file_add(struct db *db, const struct file_row *row, struct err *e) must_check;
// A row of id, filename, purpose, bytes (NULL: not counted yet), created_at, expires_at (NULL: never) and, of a result
// file, _batch_id, _batch_job_id, _errors, _activity (the last of its batch job), _ended. ERR_NOT_FOUND, also for what
// has expired, was deleted, or has no line yet.
int queue_file_get(struct db *db, const char *user, const char *id, struct row **out,
                   struct err *e) must_check;
struct file_filter {
    const char *user_id; // NULL: everybody's
    const char *purpose; // NULL: any
    const char *after;   // beyond this id, of which no more than its form matters; NULL: from the start
    int64_t limit;
    bool ascending; // the oldest first
};
// Rows as queue_file_get gives them: uploaded files, and the result files of what has ended. *more: there are further ones.
int queue_file_list(struct db *db, const struct file_filter *filter, queue_each each, void *payload,
                    bool *more, struct err *e) must_check;
// Deletes the row (of a result file: its name), in a transaction of its own. ERR_CONFLICT: a batch has not read it yet.
int queue_file_delete(struct db *db, const char *user, const char *id, struct err *e) must_check;
// Is there a row of that id, of whatever age?
int queue_file_exists(struct db *db, const char *id, bool *exists, struct err *e) must_check;
// The next file beyond `after` whose time is over and that no batch must read; id "" when there is none.
int queue_file_expired(struct db *db, int64_t now_at, const char *after, char id[OPENAI_ID_SIZE],
                       struct err *e) must_check;
// Deletes the row of an expired one, inside the caller's transaction.
int queue_file_remove(struct db *db, const char *id, struct err *e) must_check;
// Keeps the size of a result file as counted while its batch job's last activity was `activity`.
int queue_file_size(struct db *db, const char *batch_id, bool errors, int64_t bytes, int64_t activity,
                    struct err *e) must_check;

// ---- openai.c ----
struct openai_spec {
    const char *user_id;
    const char *asked_by; // the credential's name
    const char *input_file_id;
    const char *endpoint;
    const char *completion_window;
    int64_t window_ms;            // 0: none
    const char *metadata;         // JSON object; NULL: none
    int64_t output_expires_after; // s; 0: never
    const char *idempotency_key;  // NULL: none
    int64_t again_within_ms;      // > 0: sent again by a client, so one made since then may be meant
};
// In a transaction of its own: the batch, in validating, or failed at once where the file cannot be had. *created false:
// `id` is that of the batch that was asked for before. ERR_CONFLICT: that key was used for something else.
int queue_openai_create(struct db *db, const struct openai_spec *spec, char id[OPENAI_ID_SIZE], bool *created,
                        struct err *e) must_check;
// Rows of the view openai_batches. Lists: the newest first.
int queue_openai_get(struct db *db, const char *user, const char *id, struct row **out,
                     struct err *e) must_check;
int queue_openai_list(struct db *db, const char *user, const char *after, int64_t limit, queue_each each,
                      void *payload, bool *more, struct err *e) must_check;
// In a transaction of its own; cancelled already: 0. What runs and waits of its batch job is ended by the runner.
int queue_openai_cancel(struct db *db, const char *user, const char *id, struct err *e) must_check;
// In a transaction of its own: its file is refused, for the problems in a JSON array, of which `message` is the first in
// words. Nothing when it is no longer validating.
int queue_openai_refuse(struct db *db, const char *id, const char *errors, const char *message,
                        struct err *e) must_check;
int queue_openai_is_validating(struct db *db, const char *id, bool *is, struct err *e) must_check;
// The oldest one beyond `after` that is validating; id "" when there is none.
int queue_openai_next(struct db *db, const char *after, char id[OPENAI_ID_SIZE], struct err *e) must_check;
// Has a window ended that nobody has seen to, or a file's time?
int queue_openai_is_due(struct db *db, int64_t now_at, bool *due, struct err *e) must_check;
// How many windows with work left have ended that nobody has seen to.
int queue_openai_due(struct db *db, int64_t now_at, int64_t *count, struct err *e) must_check;
// Inside the caller's transaction: sees to one window that is over, if any. id "" when there was none; *ended: there
// was work left, which ends now.
int queue_openai_expire(struct db *db, int64_t now_at, char id[OPENAI_ID_SIZE], bool *ended,
                        struct err *e) must_check;

#endif
