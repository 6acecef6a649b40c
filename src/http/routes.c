// SPDX-License-Identifier: MIT
// Every route, in the order of GET /api.
#include "http/handlers.h"
#include "http/route.h"

// clang-format off
// method, path, who may, how it runs, handler, query, body, upload, summary
const struct route route_list[] = {
    {"GET", "/api", ROLE_USER, ROUTE_READ, api_list, NULL, NULL, false, "what there is"},
    {"POST", "/api/generate", ROLE_USER, ROUTE_WRITE, api_generations_submit, NULL, api_generations_submit_body, false, "submit a generation"},
    {"POST", "/api/generate/process", ROLE_USER, ROUTE_WRITE, api_generations_process, NULL, api_generations_named_body, false, "run a generation next"},
    {"GET", "/api/generations", ROLE_USER, ROUTE_READ, api_generations_list, api_generations_list_query, NULL, false, "generations, newest first"},
    {"GET", "/api/generations/failed", ROLE_USER, ROUTE_SLOW, api_generations_failed, api_generations_failed_query, NULL, false, "what failed"},
    {"GET", "/api/generations/{id}", ROLE_USER, ROUTE_READ, api_generations_get, NULL, NULL, false, "one generation, with its outputs"},
    {"GET", "/api/generations/{id}/outputs/{index}", ROLE_USER, ROUTE_SLOW, api_generations_output, NULL, NULL, false, "the bytes of an output"},
    {"GET", "/api/generations/{id}/logs", ROLE_USER, ROUTE_READ, api_generations_logs, api_generations_logs_query, NULL, false, "what happened to a generation"},
    {"POST", "/api/generations/{id}/cancel", ROLE_USER, ROUTE_WRITE, api_generations_cancel, NULL, api_generations_reason_body, false, "cancel it"},
    {"POST", "/api/generations/{id}/fail", ROLE_USER, ROUTE_WRITE, api_generations_fail, NULL, api_generations_reason_body, false, "fail it by hand"},
    {"POST", "/api/generations/{id}/retry", ROLE_USER, ROUTE_WRITE, api_generations_retry, NULL, NULL, false, "queue a failed or cancelled one again"},
    {"POST", "/api/generations/{id}/dismiss", ROLE_USER, ROUTE_WRITE, api_generations_dismiss, NULL, api_generations_dismiss_body, false, "leave it out of failures and alerts"},
    {"POST", "/api/generations/{id}/recover", ROLE_USER, ROUTE_WRITE, api_generations_recover, NULL, NULL, false, "queue a stuck one again"},
    {"POST", "/api/batch-jobs", ROLE_USER, ROUTE_SLOW, api_batch_submit, api_batch_submit_query, api_batch_submit_body, true, "submit a batch job: items, or a file of lines"},
    {"GET", "/api/batch-jobs", ROLE_USER, ROUTE_READ, api_batches_list, api_batches_list_query, NULL, false, "batch jobs, newest first"},
    {"GET", "/api/batch-jobs/{id}", ROLE_USER, ROUTE_READ, api_batches_get, NULL, NULL, false, "one batch job, with its counters"},
    {"GET", "/api/batch-jobs/{id}/items", ROLE_USER, ROUTE_READ, api_batches_items, api_batches_items_query, NULL, false, "its items, in their order"},
    {"GET", "/api/batch-jobs/{id}/logs", ROLE_USER, ROUTE_READ, api_batches_logs, api_generations_logs_query, NULL, false, "what happened to it and its items"},
    {"GET", "/api/batch-jobs/{id}/results", ROLE_USER, ROUTE_SLOW, api_batches_results, api_batches_results_query, NULL, false, "the results so far, as a file"},
    {"POST", "/api/batch-jobs/{id}/cancel", ROLE_USER, ROUTE_WRITE, api_batches_cancel, NULL, api_batches_reason_body, false, "cancel it and what has not ended"},
    {"POST", "/api/batch-jobs/{id}/pause", ROLE_USER, ROUTE_WRITE, api_batches_pause, NULL, api_batches_reason_body, false, "start no more items"},
    {"POST", "/api/batch-jobs/{id}/resume", ROLE_USER, ROUTE_WRITE, api_batches_resume, NULL, NULL, false, "go on"},
    {"POST", "/api/batch-jobs/{id}/retry", ROLE_USER, ROUTE_SLOW, api_batches_retry, NULL, api_batches_retry_body, false, "queue its failed items again"},
    {"POST", "/api/batch-jobs/{id}/process-next", ROLE_USER, ROUTE_WRITE, api_batches_process_next, api_batches_next_query, NULL, false, "run one item, and wait for its end"},
    {"GET", "/api/failures", ROLE_USER, ROUTE_SLOW, api_admin_failures, api_admin_failures_query, NULL, false, "what failed, or counts of it"},
    {"GET", "/api/models", ROLE_USER, ROUTE_READ, api_admin_models, NULL, NULL, false, "the models and their state"},
    {"POST", "/api/models/{name}/resume", ROLE_ADMIN, ROUTE_WRITE, api_admin_model_resume, NULL, NULL, false, "end a parking"},
    {"GET", "/api/stats", ROLE_ADMIN, ROUTE_READ, api_admin_stats, NULL, NULL, false, "counts, throughput, cost"},
    {"GET", "/api/locks", ROLE_ADMIN, ROUTE_READ, api_admin_locks, NULL, NULL, false, "the locks"},
    {"POST", "/api/locks/{name}/release", ROLE_ADMIN, ROUTE_WRITE, api_admin_lock_release, NULL, NULL, false, "take a lock from its owner"},
    {"GET", "/api/jobs", ROLE_ADMIN, ROUTE_READ, api_admin_jobs, NULL, NULL, false, "the periodic jobs"},
    {"POST", "/api/admin/jobs/{name}", ROLE_ADMIN, ROUTE_SLOW, api_admin_job, NULL, api_admin_job_body, false, "run a periodic job now"},
    {"POST", "/api/admin/recover-generation", ROLE_ADMIN, ROUTE_WRITE, api_generations_recover_named, NULL, api_generations_named_body, false, "queue a stuck generation again"},
    {"GET", "/api/admin/failed-generations", ROLE_ADMIN, ROUTE_SLOW, api_report, api_report_query, NULL, false, "what failed and what is stuck, and whose it is"},
    {"POST", "/v1/files", ROLE_USER, ROUTE_SLOW, v1_files_create, NULL, NULL, true, "upload a file: multipart/form-data with file, purpose, expires_after[anchor], expires_after[seconds]"},
    {"GET", "/v1/files", ROLE_USER, ROUTE_SLOW, v1_files_list, v1_files_query, NULL, false, "files, uploaded and of results"},
    {"GET", "/v1/files/{id}", ROLE_USER, ROUTE_SLOW, v1_files_get, NULL, NULL, false, "one file's name, size, purpose"},
    {"GET", "/v1/files/{id}/content", ROLE_USER, ROUTE_SLOW, v1_files_content, NULL, NULL, false, "what is in it; results also while their batch runs"},
    {"DELETE", "/v1/files/{id}", ROLE_USER, ROUTE_SLOW, v1_files_delete, NULL, NULL, false, "delete a file"},
    {"POST", "/v1/batches", ROLE_USER, ROUTE_WRITE, v1_batches_create, NULL, v1_batches_body, false, "make a batch of an uploaded file"},
    {"GET", "/v1/batches", ROLE_USER, ROUTE_READ, v1_batches_list, v1_batches_query, NULL, false, "batches, the newest first"},
    {"GET", "/v1/batches/{id}", ROLE_USER, ROUTE_READ, v1_batches_get, NULL, NULL, false, "how far a batch is"},
    {"POST", "/v1/batches/{id}/cancel", ROLE_USER, ROUTE_WRITE, v1_batches_cancel, NULL, NULL, false, "cancel a batch"},
    {"GET", "/v1/models", ROLE_USER, ROUTE_READ, v1_models_list, NULL, NULL, false, "the configured models"},
    {"GET", "/v1/models/{id}", ROLE_USER, ROUTE_READ, v1_models_get, NULL, NULL, false, "one of them"},
    {"GET", "/healthz", ROLE_ANYONE, ROUTE_READ, metrics_health, NULL, NULL, false, "200 when genrun is well, else 503; an admin is told why"},
    {"GET", "/metrics", ROLE_ADMIN, ROUTE_READ, metrics_get, NULL, NULL, false, "counters and gauges for Prometheus"},
    {"GET", "/", ROLE_ANYONE, ROUTE_READ, dashboard_page, NULL, NULL, false, "the dashboard"},
    {"GET", "/assets/{name}", ROLE_ANYONE, ROUTE_READ, dashboard_asset, NULL, NULL, false, "its files"},
    {"GET", "/session", ROLE_ANYONE, ROUTE_READ, api_session_show, NULL, NULL, false, "who is logged in"},
    {"POST", "/session", ROLE_ANYONE, ROUTE_READ, api_session_log_in, NULL, api_session_log_in_body, false,
     "log a browser in with a key: sets a cookie"},
    {"DELETE", "/session", ROLE_ANYONE, ROUTE_READ, api_session_log_out, NULL, NULL, false, "log it out"},
    {"GET", "/session/{code}", ROLE_ANYONE, ROUTE_READ, api_session_link, NULL, NULL, false,
     "the link that a server without keys tells at its start"},
    {"GET", "/api/events", ROLE_USER, ROUTE_STREAM, api_events, api_events_query, NULL, false, "the log as server-sent events"},
};
// clang-format on
const size_t route_count = sizeof route_list / sizeof *route_list;

void (*const route_starters[])(genrun *g, const char *text) = {v1_files_start, v1_batches_prepare, NULL};
