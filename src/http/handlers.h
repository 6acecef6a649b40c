// SPDX-License-Identifier: MIT
// The handlers that routes.c names, by family.
#ifndef GENRUN_HTTP_HANDLERS_H
#define GENRUN_HTTP_HANDLERS_H

#include "http/exchange.h"
#include "http/field.h"

// api_events.c
extern const struct field api_events_query[];
void api_events(struct exchange *x, genrun *g);

// api.c
void api_list(struct exchange *x, genrun *g);

// metrics.c
void metrics_get(struct exchange *x, genrun *g);
void metrics_health(struct exchange *x, genrun *g);

// v1_files.c
extern const struct field v1_files_query[];
void v1_files_create(struct exchange *x, genrun *g);
void v1_files_list(struct exchange *x, genrun *g);
void v1_files_get(struct exchange *x, genrun *g);
void v1_files_delete(struct exchange *x, genrun *g);
void v1_files_content(struct exchange *x, genrun *g);
void v1_files_start(genrun *g, const char *text);

// v1_batches.c
extern const struct field v1_batches_query[], v1_batches_body[];
void v1_batches_create(struct exchange *x, genrun *g);
void v1_batches_list(struct exchange *x, genrun *g);
void v1_batches_get(struct exchange *x, genrun *g);
void v1_batches_cancel(struct exchange *x, genrun *g);
void v1_batches_prepare(genrun *g, const char *text);

// v1_models.c
void v1_models_list(struct exchange *x, genrun *g);
void v1_models_get(struct exchange *x, genrun *g);

// dashboard.c
void dashboard_page(struct exchange *x, genrun *g);
void dashboard_asset(struct exchange *x, genrun *g);

// api_session.c
extern const struct field api_session_log_in_body[];
void api_session_show(struct exchange *x, genrun *g);
void api_session_log_in(struct exchange *x, genrun *g);
void api_session_log_out(struct exchange *x, genrun *g);
void api_session_link(struct exchange *x, genrun *g);

// api_generations.c
extern const struct field api_generations_submit_body[], api_generations_list_query[],
    api_generations_failed_query[], api_generations_logs_query[], api_generations_reason_body[],
    api_generations_dismiss_body[], api_generations_named_body[];
void api_generations_submit(struct exchange *x, genrun *g);
void api_generations_list(struct exchange *x, genrun *g);
void api_generations_failed(struct exchange *x, genrun *g);
void api_generations_get(struct exchange *x, genrun *g);
void api_generations_output(struct exchange *x, genrun *g);
void api_generations_logs(struct exchange *x, genrun *g);
void api_generations_cancel(struct exchange *x, genrun *g);
void api_generations_fail(struct exchange *x, genrun *g);
void api_generations_retry(struct exchange *x, genrun *g);
void api_generations_dismiss(struct exchange *x, genrun *g);
void api_generations_recover(struct exchange *x, genrun *g);
void api_generations_recover_named(struct exchange *x, genrun *g);
void api_generations_process(struct exchange *x, genrun *g);

// api_batch_submit.c
extern const struct field api_batch_submit_body[], api_batch_submit_query[];
void api_batch_submit(struct exchange *x, genrun *g);

// api_batches.c
extern const struct field api_batches_list_query[], api_batches_items_query[], api_batches_results_query[],
    api_batches_reason_body[], api_batches_retry_body[], api_batches_next_query[];
void api_batches_list(struct exchange *x, genrun *g);
void api_batches_get(struct exchange *x, genrun *g);
void api_batches_items(struct exchange *x, genrun *g);
void api_batches_logs(struct exchange *x, genrun *g);
void api_batches_results(struct exchange *x, genrun *g);
void api_batches_cancel(struct exchange *x, genrun *g);
void api_batches_pause(struct exchange *x, genrun *g);
void api_batches_resume(struct exchange *x, genrun *g);
void api_batches_retry(struct exchange *x, genrun *g);
void api_batches_process_next(struct exchange *x, genrun *g);

// api_admin.c
extern const struct field api_admin_failures_query[], api_admin_job_body[];
void api_admin_stats(struct exchange *x, genrun *g);
void api_admin_failures(struct exchange *x, genrun *g);
void api_admin_models(struct exchange *x, genrun *g);
void api_admin_templates(struct exchange *x, genrun *g);
void api_admin_locks(struct exchange *x, genrun *g);
void api_admin_jobs(struct exchange *x, genrun *g);
void api_admin_model_resume(struct exchange *x, genrun *g);
void api_admin_lock_release(struct exchange *x, genrun *g);
void api_admin_job(struct exchange *x, genrun *g);

// api_webhooks.c
extern const struct field api_webhooks_deliveries_query[], api_webhooks_redeliver_body[];
void api_webhooks_list(struct exchange *x, genrun *g);
void api_webhooks_deliveries(struct exchange *x, genrun *g);
void api_webhooks_test(struct exchange *x, genrun *g);
void api_webhooks_redeliver(struct exchange *x, genrun *g);
void api_webhooks_enable(struct exchange *x, genrun *g);

// api_report.c
extern const struct field api_report_query[];
void api_report(struct exchange *x, genrun *g);

#endif
