/* SPDX-License-Identifier: MIT
 *
 * genrun.h: run AI generations from one SQLite file and never leave one stuck.
 *
 * Conventions
 *   - A function returns 0 or a code of enum genrun_code; the same numbers are the
 *     exit codes of the command line. genrun_message() has the reason in one line.
 *   - A handle belongs to one thread at a time. Use a handle a thread; any number
 *     of handles and processes may have the same file open, one of them runs it. Rows and
 *     batches belong to their handle's thread. Only genrun_stop() may come from elsewhere.
 *   - Callbacks are called in the thread of the call that takes them, before it returns.
 *   - After fork() only exec() is safe in the child: it must not use or close a handle.
 *   - Out-parameters come before options. Text handed in is copied. Text handed out
 *     is valid until the row it belongs to is freed, or until the callback returns.
 *   - A generation or batch job is named by its whole id or by its last 8 or more
 *     characters. One that fits several is GENRUN_INVALID and the message lists them.
 *   - Option structs are filled by their macro (GENRUN_SPEC_INIT, …) before use.
 *   - When memory is exhausted the process ends; what was accepted is in the file.
 */
#ifndef GENRUN_H
#define GENRUN_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GENRUN_VERSION "0.1.0"
#define GENRUN_ID_SIZE 37 /* a UUID and its NUL */

typedef struct genrun genrun;
typedef struct genrun_row genrun_row;
typedef struct genrun_batch genrun_batch;

enum genrun_code {
    GENRUN_OK = 0,
    GENRUN_WORK_FAILED = 1, /* a waited-for generation failed or was cancelled; items failed */
    GENRUN_INVALID = 2,     /* refused input */
    GENRUN_CONFIG = 3,      /* the configuration cannot be used */
    GENRUN_NOT_FOUND = 4,
    GENRUN_CONFLICT = 5, /* illegal transition, another runner is running */
    GENRUN_DATABASE = 6,
    GENRUN_REMOTE = 7 /* a model or other server cannot be reached */
};

/* ---- the handle ------------------------------------------------------- */

typedef struct genrun_options {
    const char *config;   /* genrun.ini; NULL: looked for in the usual places */
    const char *database; /* NULL: as the configuration says */
    int create;           /* make the database when it does not exist */
} genrun_options;
#define GENRUN_OPTIONS_INIT                                                                                  \
    { NULL, NULL, 0 }

/* Opens a handle. *out is set even on failure (unless memory is exhausted), so that
 * genrun_message() can tell why; it must be closed in any case. options may be NULL. */
int genrun_open(genrun **out, const genrun_options *options);
/* Stops what the handle runs (its generations go back to the queue) and frees it. NULL is fine. */
void genrun_close(genrun *g);
/* The reason of the last failure on this handle, in one line; "" when there was none. */
const char *genrun_message(const genrun *g);
/* What the last genrun_batch_submit() or genrun_batch_estimate() of this handle took for granted and a person
 * should know, each in a line of its own: a format guessed by content alone, numbers that are text because of
 * their quotes. "" when there is nothing. Valid until the next call. */
const char *genrun_notes(const genrun *g);
/* The library's version and those of the libraries and optional parts in use, one per line. */
const char *genrun_versions(void);

/* ---- rows: records with named columns ---------------------------------- */

/* The text of a column; NULL when it is NULL or there is no such column. */
const char *genrun_row_text(const genrun_row *row, const char *column);
/* The bytes of a column (an output's content) and their number; NULL when NULL. */
const void *genrun_row_bytes(const genrun_row *row, const char *column, size_t *length);
/* Numbers; the fallback when NULL or absent. Times are Unix milliseconds. */
int64_t genrun_row_integer(const genrun_row *row, const char *column, int64_t fallback);
double genrun_row_number(const genrun_row *row, const char *column, double fallback);
/* The row as one JSON object in one line: column names in camelCase, times RFC 3339 with
 * milliseconds, JSON columns as JSON. Valid until the row is freed. */
const char *genrun_row_json(genrun_row *row);
void genrun_row_free(genrun_row *row);

/* Called for each row of a list; the row is freed afterwards. Non-zero ends the list. It must not call a function
 * of the same handle: keep what is needed, and call after the list. */
typedef int (*genrun_each)(void *payload, genrun_row *row);

/* ---- single generations ------------------------------------------------ */

typedef struct genrun_spec {
    const char *prompt;     /* NULL: `parameters` is the whole request body */
    const char *model;      /* NULL: the default model */
    const char *parameters; /* a JSON object, passed on to the model; NULL: {} */
    const char *endpoint;   /* such as /v1/embeddings; NULL: the model's */
    const char *user;
    const char *session;
    const char *client_id; /* the same one of the same user creates nothing twice */
    const char *custom_id;
    const char *topic;
    const char *tier;
    const char *type;
    const char *template_id;
    int priority;     /* -1000 to 1000, higher first */
    int64_t delay_ms; /* not before now + this */
} genrun_spec;
#define GENRUN_SPEC_INIT                                                                                     \
    { NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0 }

/* Accepts one generation; when it returns 0 the id is on disk. With a client_id that is
 * known already the first one's id is returned, *created (may be NULL) is 0 and nothing is
 * stored; GENRUN_CONFLICT when that one has another prompt or model. */
int genrun_submit(genrun *g, char id[GENRUN_ID_SIZE], int *created, const genrun_spec *spec);
/* One generation as a row of the view `generations`, stuck (0 or 1), outputs (a JSON list of {index, mime, bytes,
 * partial}), and waits_for: why a queued one does not run now. The caller frees *out. */
int genrun_get(genrun *g, genrun_row **out, const char *id);

typedef struct genrun_filter {
    const char *status; /* a state, or "stuck" */
    const char *user;
    const char *session;
    const char *model;
    const char *batch;
    const char *error_type;
    int64_t since;     /* created at or after this Unix ms; 0: always */
    int64_t until;     /* created before this Unix ms; 0: always */
    int limit;         /* rows at most; 0: 20 for lists, no limit for changes, what is stuck and groups */
    const char *after; /* cursor from genrun_cursor() of the page before */
    int dismissed;     /* of failures: what is dismissed, too */
} genrun_filter;
#define GENRUN_FILTER_INIT                                                                                   \
    { NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, NULL, 0 }

/* Lists generations, newest first (items of a batch in their order when filter->batch is set). A page may be
 * short of filter->limit, even empty, and not the last: when the filter passes over very many rows. Only
 * genrun_cursor() tells the end; where `each` ended the list, it goes on behind the row that was given last. Rows of the
 * view `generations`, stuck (0 or 1), and outputs: a JSON list of {index, mime, bytes, partial}. */
int genrun_list(genrun *g, const genrun_filter *filter, genrun_each each, void *payload);
/* The cursor that continues the last list of this handle; NULL when that was the end. */
const char *genrun_cursor(const genrun *g);
/* The outputs of a generation in order: rows of the view `outputs`. */
int genrun_outputs(genrun *g, const char *id, genrun_each each, void *payload);
/* One of them, by its index from 0; GENRUN_NOT_FOUND when there is none. The caller frees *out. */
int genrun_output(genrun *g, genrun_row **out, const char *id, int index);
/* Writes what the model gave for the generation: the content of its outputs, as it is. */
int genrun_write_output(genrun *g, const char *id, FILE *out);

/* ---- changes of state ---------------------------------------------------- */

/* Each is harmless when repeated: cancelling a cancelled one, failing a failed one, retrying a queued one,
 * dismissing a dismissed one change nothing and return 0. GENRUN_CONFLICT, naming the state, when the change
 * is illegal. What runs ends at once, and what had come of it is kept, marked as partial. */
int genrun_cancel(genrun *g, const char *id, const char *reason);
/* Fails what waits or runs, as OperatorError; reason NULL: "failed by hand". */
int genrun_fail(genrun *g, const char *id, const char *reason);
/* Queues a failed or cancelled one again, with all its attempts. */
int genrun_retry(genrun *g, const char *id);
/* Queues a stuck one again (genrun_stuck() tells what that is), with the attempts it has left;
 * GENRUN_CONFLICT, telling why, when it is not stuck. What its former owner still sends is dropped. */
int genrun_recover(genrun *g, const char *id);
/* A mark that leaves a generation out of stuck, failures and alerts; undo != 0 takes it away. A queued one
 * has none (GENRUN_CONFLICT), and a retry takes it away. */
int genrun_dismiss(genrun *g, const char *id, int undo);
/* All that the filter selects of what the change can be made of, in short slices. *changed counts them; with
 * dry_run nothing changes and *changed counts those that would. filter->limit 0: no limit. Without a status
 * only failed and cancelled ones are dismissed. */
int genrun_cancel_all(genrun *g, int64_t *changed, const genrun_filter *filter, const char *reason,
                      int dry_run);
int genrun_fail_all(genrun *g, int64_t *changed, const genrun_filter *filter, const char *reason,
                    int dry_run);
int genrun_retry_all(genrun *g, int64_t *changed, const genrun_filter *filter, int dry_run);
int genrun_recover_all(genrun *g, int64_t *changed, const genrun_filter *filter, int dry_run);
int genrun_dismiss_all(genrun *g, int64_t *changed, const genrun_filter *filter, int undo, int dry_run);

/* ---- what went wrong ------------------------------------------------------- */

/* What is processing and hangs, the longest running first: rows of the view `stuck_generations`, of which `why`
 * tells the reason, and slow (0 or 1). With slow_after_ms >= 0 also, behind them and marked slow, what was
 * started longer ago and does not hang. Of the filter (may be NULL) user, session, model, batch and limit hold. */
int genrun_stuck(genrun *g, const genrun_filter *filter, int64_t slow_after_ms, genrun_each each,
                 void *payload);
/* What failed from filter->since to filter->until, the newest first, with the names of user, session and project
 * where they are known. Or, `by` "model", "user", "type" or "hour" (of UTC), counts of it: rows of failure_count,
 * latest_failure, affected_users or affected_models, and what they are of, the largest (of hours the newest)
 * first. Dismissed ones are left out unless filter->dismissed is set. filter->status does not hold. What failed comes in
 * pages as lists do (genrun_cursor()), whose cursors no other list takes; counts have none, and no filter->after. */
int genrun_failures(genrun *g, const genrun_filter *filter, const char *by, genrun_each each, void *payload);

/* ---- people and places -------------------------------------------------------- */

/* Names for reports. NULL keeps what there was; what was not known is made. *out (may be NULL), which the
 * caller frees, is the row as it is then: of `profiles`, `sessions`, `projects`. Refused: text that is empty, not
 * UTF-8 or has control characters. */
int genrun_user_set(genrun *g, genrun_row **out, const char *id, const char *name, const char *username,
                    const char *email);
/* The row of a user; GENRUN_NOT_FOUND when nothing is known. The caller frees *out. */
int genrun_user_get(genrun *g, genrun_row **out, const char *id);
int genrun_session_set(genrun *g, genrun_row **out, const char *id, const char *name, const char *project,
                       const char *user);
int genrun_project_set(genrun *g, genrun_row **out, const char *id, const char *name, const char *user);

/* ---- keys of the HTTP API ------------------------------------------------------ */

#define GENRUN_KEY_SIZE 47 /* a key and its NUL */

/* Makes a key and writes it to `key`: the only time that it is told, as only its hash is kept. `role` "admin" sees
 * and does all, "user" only what is `user`'s; NULL: user where there is a user, else admin. `name` (may be NULL) is for
 * people. *out (may be NULL), which the caller frees, is its row as genrun_keys() gives it. */
int genrun_key_add(genrun *g, char key[GENRUN_KEY_SIZE], genrun_row **out, const char *user, const char *role,
                   const char *name);
/* All keys, the oldest first: rows of id, name, role, user_id, created_at, last_used_at (to about a minute),
 * revoked_at (NULL: it is good). */
int genrun_keys(genrun *g, genrun_each each, void *payload);
/* From now on the key is refused, also by a server that runs. Harmless when repeated. */
int genrun_key_revoke(genrun *g, const char *id);

/* ---- batch jobs ------------------------------------------------------------ */

typedef struct genrun_batch_options {
    const char *name;
    const char *model; /* for items that name none */
    const char *user;
    const char *client_id;    /* the same one of the same user creates nothing twice */
    const char *parameters;   /* a JSON object: defaults for every item's parameters */
    const char *format;       /* openai, jsonl, csv, txt; NULL: guessed from name and content */
    int concurrency;          /* items in flight at most; 0: no limit of its own */
    int stop_on_error;        /* the first failed item stops the batch */
    const char *max_failures; /* "N" or "N%" of the items; NULL: any number */
    double max_cost;          /* USD; the batch pauses when it is reached; 0: no limit */
    int priority;
    int paused;              /* opened, but started by a person */
    const char *template_id; /* name or id of the template for items that name none */
} genrun_batch_options;
#define GENRUN_BATCH_OPTIONS_INIT                                                                            \
    { NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, NULL, 0.0, 0, 0, NULL }

/* Called now and then during long work with what is done and, where known (else 0), the total, in `unit`s
 * ("kB" of a file whose size is known, else "lines"). Non-zero interrupts, and nothing is stored. Also called
 * when the stream cannot be read: where a signal handler without SA_RESTART ended a read, that is the moment
 * to interrupt. */
typedef int (*genrun_progress)(void *payload, int64_t done, int64_t total, const char *unit);

/* Builds a batch from code: begin, add each item, then open it, or abandon it. Until
 * genrun_batch_open() nothing of it is seen or run. An item that genrun_batch_add() refuses is not in it, and the caller
 * decides whether to open the rest. *out is freed by either end. */
int genrun_batch_begin(genrun *g, genrun_batch **out, const genrun_batch_options *options);
int genrun_batch_add(genrun_batch *batch, const genrun_spec *spec);
int genrun_batch_open(genrun_batch *batch, char id[GENRUN_ID_SIZE]);
void genrun_batch_abandon(genrun_batch *batch);

/* Submits every line (csv: row) of a stream (`name` is for messages and for guessing the format) as
 * one batch. All lines or none: a line that is refused is named as "name:line: reason".
 * *created (may be NULL) is 0 when the client_id was known. */
int genrun_batch_submit(genrun *g, char id[GENRUN_ID_SIZE], int *created, FILE *stream, const char *name,
                        const genrun_batch_options *options, genrun_progress progress, void *payload);
/* Reads a stream as genrun_batch_submit() does, refuses what that refuses, and stores nothing. *out, which the
 * caller frees, has lines, format, models (JSON: a list of {name, items}), input_tokens (of about 4 bytes each),
 * output_tokens (at most; NULL unless every item limits them), estimated_cost (USD; NULL without prices). */
int genrun_batch_estimate(genrun *g, genrun_row **out, FILE *stream, const char *name,
                          const genrun_batch_options *options, genrun_progress progress, void *payload);
int genrun_batch_get(genrun *g, genrun_row **out, const char *id);
int genrun_batch_list(genrun *g, const genrun_filter *filter, genrun_each each, void *payload);
/* Rows of the view batch_items, in the order of the file; filter->status, limit, after hold. */
int genrun_batch_items(genrun *g, const char *id, const genrun_filter *filter, genrun_each each,
                       void *payload);
int genrun_batch_pause(genrun *g, const char *id, const char *reason);
int genrun_batch_resume(genrun *g, const char *id);
int genrun_batch_cancel(genrun *g, const char *id, const char *reason);
/* Queues the failed items again, in short slices; the batch job goes on with them. *changed counts them; with
 * dry_run nothing changes and *changed counts those that would. GENRUN_CONFLICT for a cancelled batch job. */
int genrun_batch_retry(genrun *g, int64_t *changed, const char *id, int dry_run);

/* Runs exactly one item, the next that waits, also of a paused batch job and beside every limit of concurrency: by
 * the runner that is up, or else here; returns when its attempt has ended. *out, which the caller frees, is its row
 * (completed, failed, cancelled, or queued when it will be tried again); NULL when no item waits. Callers that race
 * get an item each. GENRUN_CONFLICT when the batch job is cancelled or stopped or the model parked, and when a
 * signal (signals != 0) ended the wait: the item then waits as before. */
int genrun_batch_process_next(genrun *g, genrun_row **out, const char *id, int signals);

/* The same without the wait: asks that the next item that waits is run next, by the runner that is up or the next one.
 * `id` is that item's, "" when none waits. */
int genrun_batch_ask_next(genrun *g, char id[GENRUN_ID_SIZE], const char *batch);
/* Asks it of one generation. Harmless when repeated; *asked (may be NULL) is 0, and nothing is changed, when it is not
 * queued. *out (may be NULL), which the caller frees, is its row. */
int genrun_process(genrun *g, genrun_row **out, int *asked, const char *id);
/* What has come of it: *open is 1 as long as it waits to be started or its attempt runs. */
int genrun_asked(genrun *g, int *open, const char *id);

typedef struct genrun_results_options {
    const char *format; /* openai, jsonl or csv; NULL: as the batch came, jsonl for one that came as txt */
    int errors;         /* the failed and cancelled items instead of the completed ones */
    int by_end;         /* in the order they ended instead of the order of the file */
} genrun_results_options;
#define GENRUN_RESULTS_OPTIONS_INIT                                                                          \
    { NULL, 0, 0 }
/* Writes the results so far, one line each (csv: a header, and one row each; a row ends in LF, and text in it
 * may hold line ends); *written (may be NULL) counts them. */
int genrun_batch_results(genrun *g, int64_t *written, const char *id, FILE *out,
                         const genrun_results_options *options);

/* ---- files and batches of OpenAI's API ---------------------------------------- */

/* What POST /v1/files and /v1/batches are made of, for hosts that speak that protocol themselves: messages are that
 * API's. Files lie in the folder [genrun] data_dir. */
typedef struct genrun_file_options {
    const char *filename; /* for people; NULL: its id */
    const char *purpose;  /* batch; or assistants, fine-tune, vision, user_data, evals, which are only kept */
    const char *user;     /* whose it is; NULL: nobody's */
    int64_t expires_after_ms; /* gone from then on; 0: never */
} genrun_file_options;
#define GENRUN_FILE_OPTIONS_INIT                                                                             \
    { NULL, "batch", NULL, 0 }
typedef struct genrun_file_filter {
    const char *purpose; /* NULL: any; batch_output: result files */
    const char
        *after;    /* the id of the last one of the page before, which may be gone; NULL: from the start */
    int limit;     /* rows at most, up to 10000; 0: 10000 */
    int ascending; /* the oldest first, not the newest */
} genrun_file_filter;
#define GENRUN_FILE_FILTER_INIT                                                                              \
    { NULL, NULL, 0, 0 }

/* Keeps the content of a regular file, all of it wherever the descriptor stands, which stays the caller's: when it
 * returns 0 the file is on disk. One without a name (O_TMPFILE) in the data folder is not copied. *out, which the
 * caller frees: id, filename, purpose, bytes, created_at, expires_at. */
int genrun_file_add(genrun *g, genrun_row **out, int fd, const genrun_file_options *options);
/* Such a row. The result files of a batch have ids, too, from the first line on: file-…-output of its successes,
 * file-…-error of the others; lists have them when the batch has ended. */
int genrun_file_get(genrun *g, genrun_row **out, const char *id);
/* A page; *more tells whether there are further ones. */
int genrun_file_list(genrun *g, const genrun_file_filter *filter, int *more, genrun_each each, void *payload);
/* A descriptor of its content, at the start, for reading; the caller closes it. That of a result file is made at this
 * moment, with what has ended so far. */
int genrun_file_open(genrun *g, int *fd, const char *id);
/* GENRUN_CONFLICT while a batch has still to read it. Of a result file only the name goes: the items stay. */
int genrun_file_delete(genrun *g, const char *id);
/* Removes from the data folder what a crash left there: files that no row names. */
int genrun_file_sweep(genrun *g, int64_t *removed);

typedef struct genrun_openai_options {
    const char *input_file_id;
    const char *endpoint;          /* such as /v1/chat/completions: every line must name it */
    const char *completion_window; /* 24h, or any duration from 1h to 7d, or none */
    const char *metadata;          /* a JSON object of at most 16 strings; NULL: none */
    int64_t output_expires_after;  /* seconds, 3600 to 2592000, from the end on; 0: result files stay */
    const char *user;
    const char *asked_by;        /* name of the credential that asks */
    const char *idempotency_key; /* the same one of the same user makes nothing twice; NULL: none */
    int is_again; /* the client sends its request again: the same one of 2 minutes before is meant */
} genrun_openai_options;
#define GENRUN_OPENAI_OPTIONS_INIT                                                                           \
    { NULL, NULL, "24h", NULL, 0, NULL, NULL, NULL, 0 }
/* What a GENRUN_INVALID is about, in that API's words. */
typedef struct genrun_refusal {
    char param[128]; /* endpoint, metadata.tags, … */
    char code[48];   /* invalid_value, … */
} genrun_refusal;

/* Accepts a batch; when it returns 0 it is on disk, as a row of the view openai_batches in *out, which the caller frees:
 * `validating` until genrun_openai_prepare() has read its file, and `failed` where that file cannot be had. *created
 * (may be NULL) is 0 when it is an earlier one. GENRUN_INVALID fills *refusal (may be NULL); GENRUN_CONFLICT when the
 * idempotency key was used with other parameters. */
int genrun_openai_create(genrun *g, genrun_row **out, int *created, const genrun_openai_options *options,
                         genrun_refusal *refusal);
/* The file of every batch that is `validating` becomes a batch job, `in_progress`, or is refused: `failed`, with all
 * that is wrong in errors. Takes as long as reading them; killed at any point it begins anew and makes nothing twice.
 * Returns the first failure that was no file's fault; those batches wait for the next call. */
int genrun_openai_prepare(genrun *g);
int genrun_openai_get(genrun *g, genrun_row **out, const char *id);
/* A page of at most `limit` (0: 20, up to 100), the newest first; `after` is the id of the last one of the page before. */
int genrun_openai_list(genrun *g, const char *after, int limit, int *more, genrun_each each, void *payload);
/* What waits is not run any more and what runs is ended, by the runner. GENRUN_CONFLICT when it has ended otherwise. */
int genrun_openai_cancel(genrun *g, genrun_row **out, const char *id);

/* ---- templates --------------------------------------------------------------- */

/* Request texts with {{column}} in them: a prompt, or a JSON object that is the whole request body. They are filled
 * at submit from an item's columns (prompt, model, custom_id, topic, tier, type, session_id) and parameters. An item
 * names one by name or id in template_id; one without a request of its own, or with the nil UUID, gets that of
 * its type and tier. GENRUN_CONFLICT when one has that name, or that pair of type and tier (NULL: any). */
int genrun_template_add(genrun *g, char id[GENRUN_ID_SIZE], const char *name, const char *body, size_t length,
                        const char *type, const char *tier);
/* Rows of id, name, type, tier, bytes, created_at, by name. */
int genrun_templates(genrun *g, genrun_each each, void *payload);
/* By name or id; the row has the body, too. */
int genrun_template_get(genrun *g, genrun_row **out, const char *name);
/* What was submitted with it stays as it is. */
int genrun_template_remove(genrun *g, const char *name);

/* ---- looking ------------------------------------------------------------------ */

typedef struct genrun_event_filter {
    const char *id;         /* of a generation or batch job; NULL: all */
    const char *level;      /* at least this: debug, info, warn, error */
    const char *event;      /* a name, or a prefix that ends in '.', such as "batch." */
    int64_t since;          /* Unix ms; 0: always */
    int64_t after;          /* log rows with a greater id only */
    int limit;              /* the newest so many, oldest of them first; 0: all */
    const char *user;       /* of the generations and batch jobs of this user; NULL: all */
    const char *generation; /* id of a generation; NULL: all */
    const char *batch;      /* id of a batch job: its events and those of its items; NULL: all */
    int page;               /* a page for a reader that must not wait: see genrun_events() */
    int whole;              /* of a page: GENRUN_NOT_FOUND when rows it would have looked at were deleted */
    int64_t before;         /* of a page: log rows with a smaller id only, the newest first; 0: by `after` */
} genrun_event_filter;
#define GENRUN_EVENT_FILTER_INIT                                                                             \
    { NULL, NULL, NULL, 0, 0, 0, NULL, NULL, NULL, 0, 0, 0 }
/* Rows of the view `logs`, oldest first, and _user_id: whose it is. To follow, call again with `after` = the last id.
 * With filter->page: the oldest filter->limit (0: 100) after `after`, in a few milliseconds however long the log is. A
 * page may be short, even empty, and not the last: genrun_event_cursor() is the `after` of the next one, or
 * its `before`, which is 0 at the beginning of the log. */
int genrun_events(genrun *g, const genrun_event_filter *filter, genrun_each each, void *payload);
/* The id of the log up to which the last page of this handle has looked. Where its callback ended the page, that is
 * further than what was given: go on after the last row that was kept. */
int64_t genrun_event_cursor(const genrun *g);
/* The ids of the oldest row of the log that is still there, and of the newest; 0: there is none. Ids are in the order
 * of the commits. */
int genrun_event_range(genrun *g, int64_t *oldest, int64_t *newest);
/* Waits until another process may have changed the database, at most timeout_ms. */
int genrun_wait_change(genrun *g, int64_t timeout_ms);
/* One row: queued, processing, completed, failed, cancelled, stuck, violations (counts; the last: rows not at an end
 * that have neither a live owner, nor a time of their next start, nor a reason to wait; it must be 0), oldest_queued_at (NULL: none),
 * completed_last_minute, completed_last_hour, failed_last_hour, cost_today (USD, of the local day), runner_pid and
 * runner_started_at (NULL: no runner is up), parked_models (JSON: a list of {name, reason, until}). */
int genrun_stats(genrun *g, genrun_row **out);
/* The configured and used models with their state: rows of name, provider, state, reason,
 * since, until, running, queued. */
int genrun_models(genrun *g, genrun_each each, void *payload);
/* Asks the server of each configured model (name NULL), or of one, whether it could be called now, all at once and
 * at no cost; takes 10 s at most. Rows of name, provider, ok, reachable, key (accepted), model (known there; these
 * three yes, no or unknown), http_status, latency_ms, message, advice. Parked models stay parked. GENRUN_REMOTE when
 * any failed, GENRUN_CONFIG when only keys or addresses are missing here, GENRUN_NOT_FOUND when nothing serves `name`. */
int genrun_models_check(genrun *g, const char *name, genrun_each each, void *payload);
/* Looks at everything: the configuration, the database, its runner and its work, the system, the models (not with
 * offline). Rows of check, state (ok, note, wrong), message, advice (NULL: nothing to do). Needs no handle, since it
 * is for when none can be opened, too; changes and makes nothing. GENRUN_WORK_FAILED when anything is wrong. */
int genrun_doctor(const genrun_options *options, int offline, genrun_each each, void *payload);
/* Opens a parked or cooling model again; GENRUN_NOT_FOUND when nothing is known of it. */
int genrun_model_resume(genrun *g, const char *name);

/* ---- upkeep ------------------------------------------------------------------- */

/* The periodic jobs: rows of name, summary, every_ms (0: not by itself), and of the last run that is worth knowing
 * started_at, ended_at, outcome (done, failed), found, fixed, message, run_by; locked_by, locked_at while one works. */
int genrun_jobs(genrun *g, genrun_each each, void *payload);
/* Runs a job to its end, in short slices beside a runner. GENRUN_INVALID for an unknown name, GENRUN_CONFLICT when
 * another process is at it. `each` (may be NULL) gets what was found: rows of kind (generation, batch, totals, lane,
 * lock, event, file), id, user_id, what, count, since, before, after (JSON), fixed. *summary (may be NULL), which the caller
 * frees: job, dry_run, found, fixed, started_at, ended_at, note. With dry_run nothing is changed. */
int genrun_job(genrun *g, genrun_row **summary, const char *name, int dry_run, genrun_each each,
               void *payload);
/* Webhooks, the endpoints of [webhook NAME]: rows of name, format, state (ok, new, away, paused, disabled, unusable), reason,
 * pending, failed and dropped deliveries, behind (rows of the log that are not read yet), since_at (of the state), last_at
 * (it took one), not_before_at, oldest_at (of what is pending). */
int genrun_webhooks(genrun *g, genrun_each each, void *payload);
/* What is pending or failed for an endpoint, the newest first, at most `limit` (0: 20): rows of id, endpoint, event, status,
 * attempts, next_at, last_status, last_error, created_at, ended_at, message_id. */
int genrun_webhook_deliveries(genrun *g, const char *name, int limit, genrun_each each, void *payload);
/* All deliveries of an endpoint that are still kept, also those that were taken, the newest first, by pages (genrun_cursor());
 * of the filter count status (pending, delivered, failed, dropped), limit (0: 20) and after. The same rows, which also have
 * log_id, generation_id, batch_job_id and held (it waits for an earlier one of the same generation). */
int genrun_webhook_history(genrun *g, const char *name, const genrun_filter *filter, genrun_each each,
                           void *payload);
/* Sends a test event now and waits for the answer, for as long as the endpoint's timeout, 30 s at most. *answer (may be NULL; the caller
 * frees it): a row of name, message_id, took_ms, status (0: no answer), error. GENRUN_REMOTE when it was not taken,
 * GENRUN_CONFIG when its URL or secret is missing, GENRUN_NOT_FOUND when there is no such endpoint. */
int genrun_webhook_test(genrun *g, const char *name, genrun_row **answer);
/* Sends again: the delivery of that id (or message id), or, with `id` NULL, all that failed or was dropped; of the endpoint
 * `name` or (NULL) of any. The runner sends them; *count (may be NULL) is how many they are. */
int genrun_webhook_redeliver(genrun *g, const char *id, const char *name, int64_t *count);
/* An endpoint that answered 410 is sent to again, from what happens now on. */
int genrun_webhook_enable(genrun *g, const char *name);

/* The locks: rows of name, user_id, owner, acquired_at, expires_at, reason, live (its owner is at work). */
int genrun_locks(genrun *g, genrun_each each, void *payload);
/* Takes a lock from its owner, whose work goes on: *live (may be NULL) tells whether there is any. GENRUN_NOT_FOUND
 * names the nearest one. */
int genrun_lock_release(genrun *g, const char *name, int *live);

/* ---- running --------------------------------------------------------------------- */

typedef struct genrun_run_options {
    int drain;             /* end when nothing runs and nothing can start within drain_wait_ms */
    int64_t drain_wait_ms; /* for retries, cool-downs and delays */
    int signals;           /* handle SIGTERM and SIGINT: the first stops gracefully, the second at once */
    int watchdog;          /* end the process when the loop hangs for heartbeat_timeout */
    int notify; /* tell the service manager at $NOTIFY_SOCKET, and take it out of the environment */
} genrun_run_options;
#define GENRUN_RUN_OPTIONS_INIT                                                                              \
    { 0, 600000, 0, 0, 0 }

/* Runs the queue until stopped. GENRUN_CONFLICT when another runner is up. With drain:
 * 0 all completed, GENRUN_WORK_FAILED when any failed in this run, GENRUN_CONFLICT when work is
 * left; genrun_left() then tells what and why. */
int genrun_run(genrun *g, const genrun_run_options *options);
/* One turn for a host with a loop of its own: waits at most timeout_ms (0: not at all) for anything to happen and
 * does what is due. The first call takes the owner's lock (GENRUN_CONFLICT when another runner has it).
 *
 * Transfers, timers and other processes' commits are waited for on many descriptors that come and go, so there is
 * no single one to poll. A host has three ways:
 *   - let genrun_step() do the waiting, and give it the host's descriptors with genrun_watch(): nobody polls in vain;
 *   - keep its own wait, and call genrun_step(g, 0) from it every 20 to 50 ms, or at once after it has submitted;
 *   - run genrun_run() in a thread with a handle of its own; every other thread uses its own handle. */
int genrun_step(genrun *g, int64_t timeout_ms);
/* Called from genrun_step(), genrun_run(), genrun_wait() and genrun_wait_change() of this handle when a descriptor is
 * ready; events are poll(2) bits. It may call anything of the handle but these four and genrun_close(). */
typedef void (*genrun_ready)(void *payload, int fd, short events);
/* Watches a descriptor of the host's for `events` (POLLIN, POLLOUT); a second call for the same one changes what is
 * watched for, events 0 ends it (before the descriptor is closed). ready may be NULL then. */
int genrun_watch(genrun *g, int fd, short events, genrun_ready ready, void *payload);
/* Ends what the handle waits in: genrun_run() stops gracefully (a second time: at once), genrun_wait(),
 * genrun_batch_submit(), which then stores nothing, and genrun_batch_results() return GENRUN_CONFLICT, genrun_step() and genrun_wait_change() return 0. Asked for before such a call, it ends that one.
 * May be called from a signal handler or another thread, as the only one of all functions. */
void genrun_stop(genrun *g);
/* What a drain left: rows of reason, model_id, count. */
int genrun_left(genrun *g, genrun_each each, void *payload);

/* Waits for a generation or batch job to end. When no runner is up it takes the owner's lock and
 * runs that work itself, and nothing else. `each` (may be NULL) sees its row when it changed, at
 * most four times a second; non-zero from it ends the wait with GENRUN_CONFLICT. Returns 0 when all
 * completed, GENRUN_WORK_FAILED when it, or an item, failed or was cancelled. signals != 0: SIGINT and
 * SIGTERM end the wait and what this handle runs goes back to the queue. */
int genrun_wait(genrun *g, const char *id, int signals, genrun_each each, void *payload);

/* ---- the sync with Postgres ------------------------------------------------------------ */

/* These connect to the Postgres of [sync]: GENRUN_CONFIG when none is configured, or this library was built without
 * it, GENRUN_REMOTE when it cannot be reached. genrun_run() syncs by itself where it is configured. */

/* Makes the mirror's tables, or migrates them; harmless when repeated. adopt != 0: tables of these names that are there
 * already are taken over where their columns fit; else GENRUN_CONFLICT, as when others held the tables for [sync]
 * timeout. *out (may be NULL), which the caller frees: a row of place, schema, before and after (versions; 0: there was
 * none), adopted (tables), added (columns), mended (tables that had been dropped). */
int genrun_sync_init(genrun *g, genrun_row **out, int adopt);
/* Brings there all that is new, and carries out the orders typed there; beside a runner, too, which gives way:
 * GENRUN_CONFLICT when that takes more than [sync] timeout. *out (may be NULL), which the caller frees and which is there
 * also after a failure on the way: a row of place, node, rows (written), refused, orders_applied, orders_refused,
 * position and behind (rows of the log), seconds. */
int genrun_sync_push(genrun *g, genrun_row **out);
/* How it stands: a row of place, schema, node, position, behind, moved_at, refused, offline_since, failed_since (it can
 * be reached, and the sync fails), reachable (0 or 1), connection ("direct" or "pooler"; none when it is not), reason
 * (why this look failed), last_error and last_error_at (of the sync), mirror (its version), orders_open, synced_at (the
 * last contact). Postgres is asked; when it cannot be, *out
 * (which the caller frees) has what is known here, and the result tells why. `refused` (may be NULL) gets rows of
 * table_name, row_key, reason, since: what Postgres does not take. */
int genrun_sync_status(genrun *g, genrun_row **out, genrun_each refused, void *payload);

/* ---- care of the file ---------------------------------------------------------------- */

/* These open the database for themselves, and leave migrations that are pending alone unless they say so. */

/* Checks the file, the schema, and the rows against the counters and each other. Each problem is a row of check,
 * problem, advice. quick leaves out the comparison of the indexes with their tables. Nothing is written; works
 * beside a runner. GENRUN_DATABASE when there was any problem. */
int genrun_check(genrun *g, int quick, genrun_each each, void *payload);
/* Writes the database as it is at this moment to the new file `path`, mode 0600, checked and synced, or not at all;
 * works beside a runner. `progress` (may be NULL) counts "bytes". GENRUN_INVALID when the file exists. */
int genrun_backup(genrun *g, const char *path, genrun_progress progress, void *payload);
/* Gives the space of what was deleted back to the disk; needs the owner's lock (GENRUN_CONFLICT tells who has it)
 * and room for a copy. *before and *after (either may be NULL) are the bytes of the file and its log. */
int genrun_vacuum(genrun *g, int64_t *before, int64_t *after);
/* Brings the schema from version *from to *to, that of this library (either may be NULL), under the owner's lock;
 * equal: nothing was to do. dry_run: only tells. (Opening a database for anything else does the same by itself;
 * this is for whoever wants to choose the moment, and make a backup before.) */
int genrun_migrate(genrun *g, int *from, int *to, int dry_run);

#ifdef __cplusplus
}
#endif
#endif
