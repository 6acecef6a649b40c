// SPDX-License-Identifier: MIT
// Inside of src/queue/: rows copied out before they are handed on.
#ifndef GENRUN_QUEUE_ROWS_H
#define GENRUN_QUEUE_ROWS_H

#include "queue/queue.h"

// What an API object of a generation holds: the view's columns without the inner ones.
#define ROWS_GENERATION                                                                                      \
    "id, status, prompt, model_id, parameters, user_id, session_id, batch_job_id, custom_id, topic, tier, "  \
    "type,"                                                                                                  \
    " template_id, endpoint, client_id, priority, attempts, starts, error_type, error_message, last_step,"   \
    " last_heartbeat, last_progress, run_after, created_at, started_at, completed_at, dismissed_at, "        \
    "input_tokens,"                                                                                          \
    " output_tokens, cost"

// What a look at one, or a list, adds: is it stuck, and its outputs without their content. ?1 is its number.
#define ROWS_STATE                                                                                           \
    "CASE WHEN status='processing' THEN EXISTS"                                                              \
    " (SELECT 1 FROM stuck_generations k WHERE k.id=generations.id) ELSE 0 END AS \"stuck?\","               \
    " (SELECT json_group_array(json_object('index', o.key-?1*1024, 'mime', o.mime, 'bytes', o.bytes,"        \
    " 'partial', json(CASE WHEN o.partial THEN 'true' ELSE 'false' END))) FROM output o"                     \
    " WHERE o.key BETWEEN ?1*1024 AND ?1*1024+1023) AS outputs"

// The same of a batch job.
#define ROWS_BATCH                                                                                           \
    "id, name, status, status_reason, user_id AS created_by, user_id, model_id, total_items,"                \
    " completed_items, successful_items, failed_items, cancelled_items, queued_items, processing_items,"     \
    " input_tokens, output_tokens, concurrency, on_error, max_failures, estimated_cost, actual_cost,"        \
    " max_cost, paused_reason, format, client_id, priority, created_at, started_at, completed_at,"           \
    " last_activity_at"

struct rows {
    struct row **list;
    size_t count;
};
// Copies all rows of a statement (NULL: it failed already); does not end it.
int rows_take(struct db *db, sqlite3_stmt *s, struct rows *out, struct err *e) must_check;
// Gives each row away; false when the receiver ended it.
bool rows_give(struct rows *rows, queue_each each, void *payload);
void rows_free(struct rows *rows);
// Gives all rows of a statement (NULL: it failed already) away once it has ended.
int rows_give_all(struct db *db, sqlite3_stmt *s, queue_each each, void *payload, struct err *e) must_check;

#endif
