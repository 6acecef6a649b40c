// SPDX-License-Identifier: MIT
// The option table: one row an option. It drives reading genrun.ini, the
// environment, the defaults, the sample file and help; adding an option is adding
// a row (and the field that the row fills).
#include "lib/options.h"
#include "base/mem.h"
#include "base/text.h"
#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS(n) ((int64_t)(n)*1000)
#define MINUTES(n) SECONDS((n)*60)
#define HOURS(n) MINUTES((n)*60)
#define DAYS(n) HOURS((int64_t)(n)*24)
#define KIB(n) ((int64_t)(n)*1024)
#define MIB(n) KIB((n)*1024)

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL}; // enum log_level
static const char *const log_formats[] = {"text", "json", NULL};
static const char *const no_yes[] = {"no", "yes", NULL};
static const char *const inputs[] = {"prompt", "json", NULL};
static const char *const outputs[] = {"text", "json", NULL};
static const char *const formats[] = {"standard", "openai", "slack", NULL}; // enum webhook_format

// clang-format off
// {section, name, default, without one, example, help}, type, field, minimum, maximum, choices
#define IN_GENRUN(field)    offsetof(struct config, field)
#define IN_SCHEDULER(field) offsetof(struct config, scheduler.field)
#define IN_JOBS(field)      offsetof(struct config, jobs.field)
#define IN_HTTP(field)      offsetof(struct config, http.field)
#define IN_SYNC(field)    offsetof(struct config, sync.field)
#define IN_MODEL(field)     offsetof(struct model, field)
#define IN_WEBHOOK(field)   offsetof(struct webhook_endpoint, field)
static const struct option rows[] = {
    {{"genrun", "database", "", "genrun.db beside this file (without a file, in $XDG_DATA_HOME/genrun)",
      "database = genrun.db", "The database file. It must stand on a local disk."},
     OPTION_PATH, IN_GENRUN(database), 0, 0, NULL},
    {{"genrun", "data_dir", "", "beside the database, named as it is with .files behind",
      "data_dir = /var/lib/genrun/files", "The folder of uploaded files, of this database alone."},
     OPTION_PATH, IN_GENRUN(data_dir), 0, 0, NULL},
    {{"genrun", "default_model", "", "the only configured model, if there is just one",
      "default_model = gpt-4o-mini", "The model of a submission that names none."},
     OPTION_TEXT, IN_GENRUN(default_model), 0, 0, NULL},
    {{"genrun", "log_level", "info", "", NULL, "How much the program tells on stderr."},
     OPTION_CHOICE, IN_GENRUN(log_level), 0, 0, log_levels},
    {{"genrun", "log_format", "text", "", NULL, "The form of the lines on stderr."},
     OPTION_FLAG, IN_GENRUN(log_json), 0, 0, log_formats},
    {{"genrun", "max_output", "16M", "", NULL, "A generation whose output is larger fails."},
     OPTION_SIZE, IN_GENRUN(max_output), KIB(1), MIB(900), NULL}, // SQLite's largest value is 10^9 bytes

    {{"scheduler", "concurrency", "1", "", NULL, "Generations that run at the same time, of all models."},
     OPTION_NUMBER, IN_SCHEDULER(concurrency), 1, 10000, NULL},
    {{"scheduler", "poll_interval", "1s", "", NULL,
      "How often the queue is looked at when nothing announces a change."},
     OPTION_DURATION, IN_SCHEDULER(poll_interval_ms), 10, HOURS(1), NULL},
    {{"scheduler", "heartbeat_interval", "5s", "", NULL,
      "How often running generations are marked as alive."},
     OPTION_DURATION, IN_SCHEDULER(heartbeat_interval_ms), 100, MINUTES(10), NULL},
    {{"scheduler", "heartbeat_timeout", "60s", "", NULL,
      "Without a heartbeat for this long a generation is stuck, and a runner that hangs ends itself."},
     OPTION_DURATION, IN_SCHEDULER(heartbeat_timeout_ms), 200, DAYS(1), NULL},
    {{"scheduler", "progress_timeout", "2m", "", NULL,
      "An attempt that has begun to answer ends when no content arrives for this long."},
     OPTION_DURATION, IN_SCHEDULER(progress_timeout_ms), 10, DAYS(7), NULL},
    {{"scheduler", "first_byte_timeout", "10m", "", NULL,
      "An attempt ends when its answer has not begun after this time."},
     OPTION_DURATION, IN_SCHEDULER(first_byte_timeout_ms), 10, DAYS(7), NULL},
    {{"scheduler", "max_runtime", "3h", "", NULL, "No attempt runs longer than this."},
     OPTION_DURATION, IN_SCHEDULER(max_runtime_ms), 10, DAYS(30), NULL},
    {{"scheduler", "max_attempts", "3", "", NULL,
      "Attempts of a generation that may fail, the first one counted. Waiting for a rate limit spends none."},
     OPTION_NUMBER, IN_SCHEDULER(max_attempts), 1, 1000, NULL},
    {{"scheduler", "max_wait", "7d", "", NULL,
      "A generation that waits this long for a rate limit or a parked model fails. 0: never."},
     OPTION_DURATION, IN_SCHEDULER(max_wait_ms), 0, DAYS(3650), NULL},
    {{"scheduler", "backoff_min", "2s", "", NULL, "The pause before the second attempt; it doubles each time."},
     OPTION_DURATION, IN_SCHEDULER(backoff_min_ms), 1, DAYS(1), NULL},
    {{"scheduler", "backoff_max", "5m", "", NULL, "The longest pause between two attempts."},
     OPTION_DURATION, IN_SCHEDULER(backoff_max_ms), 1, DAYS(7), NULL},
    {{"scheduler", "max_crashes", "3", "", NULL,
      "A generation during which the runner crashed this often, while it ran alone, fails."},
     OPTION_NUMBER, IN_SCHEDULER(max_crashes), 1, 1000000, NULL},
    {{"scheduler", "shutdown_grace", "15s", "", NULL,
      "What runs when the runner is asked to stop may go on for this long; the rest goes back to the queue."},
     OPTION_DURATION, IN_SCHEDULER(shutdown_grace_ms), 0, HOURS(24), NULL},
    {{"scheduler", "account_concurrency", "0", "", NULL,
      "Generations of one user that run at the same time, held by a lock per account. 0: no such limit."},
     OPTION_NUMBER, IN_SCHEDULER(account_concurrency), 0, 10000, NULL},

    {{"cleanup", "every", "30m", "", NULL,
      "How often the runner looks for what is stuck, counters that do not add up and locks that nobody renews. "
      "0: only 'genrun job cleanup_stuck_generation' does."},
     OPTION_DURATION, IN_JOBS(cleanup_every_ms), 0, DAYS(365), NULL},
    {{"cleanup", "stuck_after", "3h", "", NULL,
      "What has been stuck for longer than this is queued again, or failed."},
     OPTION_DURATION, IN_JOBS(stuck_after_ms), 0, DAYS(365), NULL},
    {{"cleanup", "lock_expiry", "3h", "", NULL,
      "A lock that nobody renews ends after this time. What lives renews its own with each heartbeat."},
     OPTION_DURATION, IN_JOBS(lock_expiry_ms), SECONDS(1), DAYS(365), NULL},
    {{"cleanup", "requeue", "yes", "", NULL,
      "What has been stuck too long goes back to the queue. no: it fails with the reason."},
     OPTION_FLAG, IN_JOBS(requeue), 0, 0, no_yes},

    {{"retention", "every", "1h", "", NULL,
      "How often the runner removes what has had its time by the options below. 0: only 'genrun job retention' does."},
     OPTION_DURATION, IN_JOBS(retention_every_ms), 0, DAYS(365), NULL},
    {{"retention", "completed_after", "0", "", "completed_after = 90d",
      "Completed generations are removed this long after their end, items only with their whole batch job. 0: never."},
     OPTION_DURATION, IN_JOBS(completed_after_ms), 0, DAYS(36500), NULL},
    {{"retention", "failed_after", "0", "", "failed_after = 180d",
      "The same for failed and cancelled generations. 0: never."},
     OPTION_DURATION, IN_JOBS(failed_after_ms), 0, DAYS(36500), NULL},
    {{"retention", "logs_after", "0", "", "logs_after = 30d",
      "Log rows of what is not waiting or running are removed at this age. 0: never."},
     OPTION_DURATION, IN_JOBS(logs_after_ms), 0, DAYS(36500), NULL},

    {{"alerts", "stuck_after", "10m", "", NULL,
      "A generation that is stuck for longer than this raises the event alert.stuck. 0: none does."},
     OPTION_DURATION, IN_JOBS(alert_stuck_after_ms), 0, DAYS(365), NULL},
    {{"alerts", "failure_rate", "0", "", "failure_rate = 0.5",
      "A larger share of failures among what ended in the last hour, if that was ten or more, raises the event "
      "alert.failure_rate. 0: none does."},
     OPTION_PRICE, IN_JOBS(alert_failure_rate), 0, 1, NULL},

    {{"http", "listen", "", "no HTTP", "listen = 127.0.0.1:8787",
      "Where 'genrun run' serves the HTTP API and the dashboard: ADDR:PORT or [ADDR]:PORT, port 0: any free one. It "
      "speaks no TLS: for other machines put a proxy before it. Beyond this machine it only listens when there is an "
      "admin secret or a key ('genrun key add')."},
     OPTION_LISTEN, IN_HTTP(listen), 0, 0, NULL},
    {{"http", "admin_key_env", "INTERNAL_API_SECRET", "", NULL,
      "The environment variable that holds the admin secret: who sends it as Authorization: Bearer or "
      "X-Internal-Secret may do everything."},
     OPTION_VARIABLE, IN_HTTP(admin_key_env), 0, 0, NULL},
    {{"http", "admin_key_file", "", "none", "admin_key_file = /etc/genrun/admin.key",
      "The file that holds the admin secret; then admin_key_env does not count. $CREDENTIALS_DIRECTORY/NAME is a "
      "credential of a systemd service."},
     OPTION_PATH, IN_HTTP(admin_key_file), 0, 0, NULL},
    {{"http", "base_url", "", "the address listened on", "base_url = https://genrun.example.org",
      "The public address of a proxy before genrun: for links, and its host is one that requests may name."},
     OPTION_URL, IN_HTTP(base_url), 0, 0, NULL},
    {{"http", "cors_origin", "", "none", "cors_origin = https://app.example.org http://localhost:3000",
      "Origins of other web pages whose scripts may call the API, with a key. Its own pages need none."},
     OPTION_ORIGINS, IN_HTTP(cors_origins), 0, 0, NULL},
    {{"http", "max_body", "200M", "", NULL,
      "A request with a larger body, such as an upload, is refused."},
     OPTION_SIZE, IN_HTTP(max_body), KIB(1), MIB(102400), NULL},
    {{"http", "idle_timeout", "60s", "", NULL,
      "A connection that sends nothing, or takes nothing, for this long is closed."},
     OPTION_DURATION, IN_HTTP(idle_timeout_ms), SECONDS(1), HOURS(1), NULL},
    {{"http", "max_connections", "512", "", NULL, "Connections at the same time."},
     OPTION_NUMBER, IN_HTTP(max_connections), 2, 100000, NULL},
    {{"http", "max_failures", "10", "", NULL,
      "After so many wrong credentials from one address in a minute it gets 429 until the minute is over, but for "
      "right ones. 0: never. Behind a proxy all have its address."},
     OPTION_NUMBER, IN_HTTP(max_failures), 0, 1000000, NULL},
    {{"http", "max_streams", "", "half of max_connections", "max_streams = 256",
      "Of these, those that may follow live events."},
     OPTION_NUMBER, IN_HTTP(max_streams), 1, 100000, NULL},

    {{"sync", "url_env", "GENRUN_SYNC_URL", "", NULL,
      "The environment variable that holds where the Postgres mirror is: postgresql://user:password@host/database. Where "
      "it is set, 'genrun run' syncs. Without an sslmode in it the server's certificate is verified, unless it is on this "
      "machine."},
     OPTION_VARIABLE, IN_SYNC(url_env), 0, 0, NULL},
    {{"sync", "url_file", "", "none", "url_file = /etc/genrun/postgres.url",
      "The file that holds it; then url_env does not count. $CREDENTIALS_DIRECTORY/NAME is a credential of a systemd "
      "service."},
     OPTION_PATH, IN_SYNC(url_file), 0, 0, NULL},
    {{"sync", "schema", "public", "", NULL, "The schema there that the tables stand in."},
     OPTION_TEXT, IN_SYNC(schema), 0, 0, NULL},
    {{"sync", "every", "10s", "", NULL,
      "How often orders typed there are asked for, and what has no event of its own is brought up to date. What the log "
      "tells goes at once."},
     OPTION_DURATION, IN_SYNC(every_ms), 100, DAYS(1), NULL},
    {{"sync", "batch", "1000", "", NULL, "Log rows, or items of a batch job, that go in one transaction."},
     OPTION_NUMBER, IN_SYNC(batch), 1, 10000, NULL},
    {{"sync", "node", "", "the name of this host", "node = edge-1",
      "What this box is called there: rows carry it. It is settled with the first sync."},
     OPTION_TEXT, IN_SYNC(node), 0, 0, NULL},
    {{"sync", "deletes", "no", "", NULL,
      "Whether what retention or a person removes here is removed there, too."},
     OPTION_FLAG, IN_SYNC(deletes), 0, 0, no_yes},
    {{"sync", "timeout", "60s", "", NULL,
      "A statement there may take so long; when a quarter more has passed without an answer, the connection is given up. "
      "'genrun sync push' and 'genrun sync init' wait so long for another sync, or for who else holds the tables."},
     OPTION_DURATION, IN_SYNC(timeout_ms), SECONDS(1), HOURS(1), NULL},

    {{WEBHOOK_SECTION, "url", "", "none", "url = https://app.example.org/hooks/genrun",
      "Where events are sent: POST, http or https. It may be a secret, and is never shown."},
     OPTION_HOOK, IN_WEBHOOK(url), 0, 0, NULL},
    {{WEBHOOK_SECTION, "url_env", "", "none", "url_env = SLACK_WEBHOOK_URL",
      "The environment variable that holds the URL; instead of url."},
     OPTION_VARIABLE, IN_WEBHOOK(url_env), 0, 0, NULL},
    {{WEBHOOK_SECTION, "format", "standard", "", NULL,
      "What is sent. standard: {type, timestamp, data} by Standard Webhooks; openai: the ends of /v1/batches as OpenAI sends "
      "them; slack: a message of text, what comes in a burst in one."},
     OPTION_CHOICE, IN_WEBHOOK(format), 0, 0, formats},
    {{WEBHOOK_SECTION, "events", "", "generation.failed batch.completed alert.* (format openai: batch.*)",
      "events = generation.failed batch.* alert.*",
      "Names of events as 'genrun logs' shows them, or what they begin with. * is all but webhook.*, which is "
      "never sent."},
     OPTION_EVENTS, IN_WEBHOOK(events), 0, 0, NULL},
    {{WEBHOOK_SECTION, "models", "", "all", "models = gpt-4o-mini llama",
      "Only events of generations of these models, of batch jobs with such, and of neither, as alerts."},
     OPTION_WORDS, IN_WEBHOOK(models), 0, 0, NULL},
    {{WEBHOOK_SECTION, "users", "", "all", "users = ann bob",
      "Only events of generations and batch jobs of these users, and those of none of either, such as alerts."},
     OPTION_WORDS, IN_WEBHOOK(users), 0, 0, NULL},
    {{WEBHOOK_SECTION, "secret_env", "", "nothing is signed", "secret_env = GENRUN_WEBHOOK_SECRET",
      "The environment variable that holds the signing secret: whsec_ and base64, or any text."},
     OPTION_VARIABLE, IN_WEBHOOK(secret_env), 0, 0, NULL},
    {{WEBHOOK_SECTION, "secret_file", "", "nothing is signed", "secret_file = /etc/genrun/webhook.secret",
      "The file that holds the signing secret; instead of secret_env."},
     OPTION_PATH, IN_WEBHOOK(secret_file), 0, 0, NULL},
    {{WEBHOOK_SECTION, "private", "no", "", NULL,
      "The host's name may resolve to a private or loopback address. (An address in the url itself, or localhost, "
      "may be private.)"},
     OPTION_FLAG, IN_WEBHOOK(is_private), 0, 0, no_yes},
    {{WEBHOOK_SECTION, "timeout", "15s", "", NULL, "The time for an answer, the connection included."},
     OPTION_DURATION, IN_WEBHOOK(timeout_ms), 100, MINUTES(5), NULL},

    {{MODEL_SECTION, "provider", "", "openai (with a command: command; of [model echo]: echo)",
      "provider = openai",
      "The kind of server: openai is any server that speaks the OpenAI API, command is a local program, "
      "echo answers by itself."},
     OPTION_PROVIDER, IN_MODEL(provider), 0, 0, NULL},
    {{MODEL_SECTION, "base_url", "", "https://api.openai.com/v1", "base_url = https://api.openai.com/v1",
      "The address of the server, without the endpoint."},
     OPTION_URL, IN_MODEL(base_url), 0, 0, NULL},
    {{MODEL_SECTION, "endpoint", "", "/chat/completions", "endpoint = /chat/completions",
      "The path after base_url that requests go to."},
     OPTION_ENDPOINT, IN_MODEL(endpoint), 0, 0, NULL},
    {{MODEL_SECTION, "model", "", "NAME", "model = gpt-4o-mini", "The name that is sent to the server."},
     OPTION_TEXT, IN_MODEL(remote_name), 0, 0, NULL},
    {{MODEL_SECTION, "api_key_env", "", "no key is sent", "api_key_env = OPENAI_API_KEY",
      "The environment variable that holds the API key. Keys never stand in this file."},
     OPTION_VARIABLE, IN_MODEL(api_key_env), 0, 0, NULL},
    {{MODEL_SECTION, "api_key_file", "", "no key is sent", "api_key_file = /etc/genrun/openai.key",
      "The file that holds the API key; instead of api_key_env. $CREDENTIALS_DIRECTORY/NAME is a credential of a "
      "systemd service."},
     OPTION_PATH, IN_MODEL(api_key_file), 0, 0, NULL},
    {{MODEL_SECTION, "concurrency", "0", "", NULL,
      "Generations of this model that run at the same time. 0: only the scheduler's limit holds."},
     OPTION_NUMBER, IN_MODEL(concurrency), 0, 10000, NULL},
    {{MODEL_SECTION, "requests_per_minute", "0", "", NULL, "Requests begun in a minute. 0: no limit."},
     OPTION_NUMBER, IN_MODEL(requests_per_minute), 0, 1000000, NULL},
    {{MODEL_SECTION, "tokens_per_minute", "0", "", NULL, "Tokens used in a minute. 0: no limit."},
     OPTION_BIG, IN_MODEL(tokens_per_minute), 0, 1000000000000, NULL},
    {{MODEL_SECTION, "connect_timeout", "10s", "", NULL, "The time for the connection, TLS included."},
     OPTION_DURATION, IN_MODEL(connect_timeout_ms), 10, MINUTES(10), NULL},
    {{MODEL_SECTION, "first_byte_timeout", "", "that of [scheduler]", "first_byte_timeout = 10m",
      "As in [scheduler], for this model."},
     OPTION_DURATION, IN_MODEL(first_byte_timeout_ms), 10, DAYS(7), NULL},
    {{MODEL_SECTION, "progress_timeout", "", "that of [scheduler]", "progress_timeout = 2m",
      "As in [scheduler], for this model."},
     OPTION_DURATION, IN_MODEL(progress_timeout_ms), 10, DAYS(7), NULL},
    {{MODEL_SECTION, "max_runtime", "", "that of [scheduler]", "max_runtime = 3h",
      "As in [scheduler], for this model."},
     OPTION_DURATION, IN_MODEL(max_runtime_ms), 10, DAYS(30), NULL},
    {{MODEL_SECTION, "stream", "yes", "", NULL,
      "Ask the server to stream its answer, so that progress is seen and a partial text survives."},
     OPTION_FLAG, IN_MODEL(stream), 0, 0, no_yes},
    {{MODEL_SECTION, "price_input", "0", "", NULL, "USD per million tokens of the request."},
     OPTION_PRICE, IN_MODEL(price_input), 0, 1000000, NULL},
    {{MODEL_SECTION, "price_output", "0", "", NULL, "USD per million tokens of the answer."},
     OPTION_PRICE, IN_MODEL(price_output), 0, 1000000, NULL},
    {{MODEL_SECTION, "price_request", "0", "", NULL, "USD per request."},
     OPTION_PRICE, IN_MODEL(price_request), 0, 1000000, NULL},
    {{MODEL_SECTION, "header.X", "", "none", "header.X-Title = genrun",
      "Sends the header X with every request. Any number of them; keys do not belong here."},
     OPTION_HEADER, 0, 0, 0, NULL},
    {{MODEL_SECTION, "on_status.NNN", "", "decided by genrun", "on_status.404 = retry",
      "What an answer with HTTP status NNN means: wait (a limit, try later), retry (spends an attempt), "
      "park (stop sending to this model), fail."},
     OPTION_STATUS, 0, 300, 599, NULL},
    {{MODEL_SECTION, "command", "", "none", "command = python3 model.py --device cuda",
      "A local program that is the model: the prompt is its stdin, its stdout the answer, exit status 0 "
      "success. Split into words as a shell does, but no shell runs; what does not fit into a line belongs "
      "into a script. It runs in this file's folder; a program named with a slash is relative to it, any "
      "other is looked for in PATH. Any byte on stdout or stderr is progress: first_byte_timeout counts "
      "until the first one (all the time, when it is silent to its end), then progress_timeout. When it is "
      "stopped it gets SIGTERM and, with all that it started, SIGKILL 2s later."},
     OPTION_COMMAND, 0, 0, 0, NULL},
    {{MODEL_SECTION, "input", "prompt", "", NULL,
      "What the command reads on stdin: the prompt's text, or one JSON object with id, model, prompt, "
      "parameters and attempt."},
     OPTION_FLAG, IN_MODEL(input_json), 0, 0, inputs},
    {{MODEL_SECTION, "output", "text", "", NULL,
      "What the command writes to stdout: the answer, or one JSON value: an object with output (text or "
      "JSON) or outputs (a list of {mime, text or base64}), and if known usage {input_tokens, "
      "output_tokens}, finish_reason, or error {message, type, retry_after}; any other value is the answer."},
     OPTION_FLAG, IN_MODEL(output_json), 0, 0, outputs},
    {{MODEL_SECTION, "pass_env", "", "none", "pass_env = CUDA_VISIBLE_DEVICES HF_HOME",
      "Environment variables that the command gets besides PATH, HOME, USER, LOGNAME, SHELL, LANG, LC_*, TZ, "
      "TMPDIR, the one of api_key_env, and genrun's own: GENRUN_GENERATION_ID, GENRUN_ATTEMPT, "
      "GENRUN_MODEL, GENRUN_RUNNER and, without input = json, GENRUN_PARAMETERS (JSON)."},
     OPTION_NAMES, IN_MODEL(pass_env), 0, 0, NULL},
    {{MODEL_SECTION, "on_exit.N", "",
      "0 success; 64, 65 and 66 fail; 69 the service is down; 75 retry; 77 and 78 park; others retry",
      "on_exit.3 = fail",
      "What it means that the command exits with N: wait (a limit, try later), retry (spends an attempt), "
      "park (stop starting it), fail."},
     OPTION_EXIT, 0, 1, 255, NULL},
    // The last row: only there to be refused with a better word than "unknown".
    {{MODEL_SECTION, "api_key", "", "", NULL, ""}, OPTION_SECRET, 0, 0, 0, NULL},
};
// clang-format on

#define ROW_COUNT (sizeof rows / sizeof *rows)

const struct option *option_row(size_t index) {
    return index < ROW_COUNT ? &rows[index] : NULL;
}

const struct option_info *option_at(size_t index) {
    return index < ROW_COUNT && rows[index].type != OPTION_SECRET ? &rows[index].info : NULL;
}

// "header.X", "on_status.NNN" and "on_exit.N" stand for every name that begins up to their dot.
static bool is_named_by(const struct option *row, const char *name) {
    if (row->type == OPTION_HEADER || row->type == OPTION_STATUS || row->type == OPTION_EXIT) {
        size_t stem = (size_t)(strchr(row->info.name, '.') - row->info.name) + 1;
        return strncmp(row->info.name, name, stem) == 0;
    }
    return strcmp(row->info.name, name) == 0;
}

const struct option *option_find(const char *section, const char *name) {
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strcmp(rows[i].info.section, section) == 0 && is_named_by(&rows[i], name)) {
            return &rows[i];
        }
    }
    return NULL;
}

const char *option_home(const char *name) {
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].type != OPTION_SECRET && is_named_by(&rows[i], name)) {
            return rows[i].info.section;
        }
    }
    return NULL;
}

void option_write_homes(const char *name, struct buf *out) {
    const char *known[ROW_COUNT];
    char *shown[ROW_COUNT];
    size_t count = 0;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].type != OPTION_SECRET && is_named_by(&rows[i], name)) {
            known[count] = shown[count] = mem_format("[%s]", rows[i].info.section);
            count++;
        }
    }
    option_write_list(out, known, count);
    while (count > 0) {
        free(shown[--count]);
    }
}

const char *option_nearest(const char *section, const char *name) {
    const char *known[ROW_COUNT];
    size_t count = 0;
    size_t stem = strcspn(name, "."); // of "headers.X-Title" only "headers" can be a typing error
    char *wanted = name[stem] == '.' && name[stem + 1] != '\0' ? mem_copy_bytes(name, stem) : mem_copy(name);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].type != OPTION_SECRET && strcmp(rows[i].info.section, section) == 0) {
            known[count++] = rows[i].info.name;
        }
    }
    const char *nearest = text_nearest(wanted, known, count);
    free(wanted);
    return nearest;
}

bool option_variable(const struct option *option, char *out, size_t size) {
    const char *section = option->info.section;
    if (strchr(section, ' ') != NULL) {
        return false;
    }
    bool is_main = strcmp(section, "genrun") == 0;
    snprintf(out, size, "GENRUN_%s%s%s", is_main ? "" : section, is_main ? "" : "_", option->info.name);
    for (char *c = out; *c != '\0'; c++) {
        *c = (char)toupper((unsigned char)*c);
    }
    return true;
}

const char *option_section(size_t index) {
    const char *section = "";
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strcmp(section, rows[i].info.section) != 0) {
            section = rows[i].info.section;
            if (index-- == 0) {
                return section;
            }
        }
    }
    return NULL;
}

// Of one kind of section with a name; NULL: of all without.
static void store_presets(const char *kind, void *target) {
    struct buf why;
    buf_init(&why, BUF_UNLIMITED);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct option_info *info = &rows[i].info;
        bool is_meant = kind != NULL ? strcmp(info->section, kind) == 0 : strchr(info->section, ' ') == NULL;
        if (is_meant && info->preset[0] != '\0') {
            option_store(&rows[i], info->name, info->preset, NULL, target, &why); // a test proves each preset
        }
    }
    buf_free(&why);
}

void option_preset_config(struct config *target) {
    store_presets(NULL, target);
}

void option_preset_model(struct model *target) {
    store_presets(MODEL_SECTION, target);
}

void option_preset_webhook(struct webhook_endpoint *target) {
    store_presets(WEBHOOK_SECTION, target);
}

// ---- the sample file ----

// Appends text as comment lines of at most 100 columns.
static void write_comment(struct buf *out, const char *text) {
    size_t column = 0;
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column > 0 && column + 1 + word > 100) {
            buf_char(out, '\n');
            column = 0;
        }
        buf_text(out, column == 0 ? "# " : " ");
        buf_append(out, text, word);
        column += word + (column == 0 ? 2 : 1);
        text += word;
        text += strspn(text, " ");
    }
    buf_char(out, '\n');
}

void option_write_facts(struct buf *out, const struct option_info *info) {
    const struct option *row = option_find(info->section, info->name);
    char variable[128];
    option_describe(row, out);
    buf_format(out, "; default%s %s", info->preset[0] != '\0' ? "" : ":",
               info->preset[0] != '\0' ? info->preset : info->unset);
    if (option_variable(row, variable, sizeof variable)) {
        buf_format(out, "; environment %s", variable);
    }
}

static void write_option(struct buf *out, const struct option *row) {
    const struct option_info *info = &row->info;
    struct buf facts;
    buf_init(&facts, BUF_UNLIMITED);
    option_write_facts(&facts, info);
    buf_char(out, '\n');
    write_comment(out, info->help);
    write_comment(out, buf_borrow(&facts));
    if (info->example != NULL) {
        buf_format(out, "#%s\n", info->example);
    } else {
        buf_format(out, "#%s = %s\n", info->name, info->preset);
    }
    buf_free(&facts);
}

const char *const option_places[] = {"the one given by -c FILE",
                                     "$GENRUN_CONFIG",
                                     "./genrun.ini",
                                     "$XDG_CONFIG_HOME/genrun/genrun.ini (~/.config/genrun/genrun.ini)",
                                     "/etc/genrun.ini",
                                     NULL};

const char *const option_rules[] = {
    "Each option stands on one line of at most 195 bytes, each comment on a line of its own.",
    "Durations: 500ms, 90s, 5m, 3h, 7d. Sizes: 200K, 16M. Relative paths are relative to the file.",
    "The environment variables named below count more than the file. Keys never stand in it.", NULL};

const char option_models[] =
    "One section for each model; NAME is what submissions name. Without any, `echo` is there, and where "
    "OPENAI_BASE_URL or OPENAI_API_KEY is set a [model *] made of them. [model *] serves every name that "
    "has no section of its own, and passes it on.";

const char option_webhooks[] =
    "One section for each receiver of events; NAME is what 'genrun webhook' calls it. A new one begins with "
    "what "
    "happens from then on. An event is sent until it was taken, for up to three days.";

static const char sample_examples[] =
    "\n"
    "# Further examples. All models of an Ollama on this machine:\n"
    "#[model *]\n"
    "#base_url = http://127.0.0.1:11434/v1\n"
    "\n"
    "# A vLLM or llama.cpp server that computes sixteen requests at once:\n"
    "#[model llama]\n"
    "#base_url = http://127.0.0.1:8000/v1\n"
    "#model = meta-llama/Llama-3.1-8B-Instruct\n"
    "#concurrency = 16\n"
    "\n"
    "# A script of yours beside this file, four at a time:\n"
    "#[model summarize]\n"
    "#command = ./summarize.sh --short\n"
    "#concurrency = 4\n"
    "\n"
    "# The built-in model that answers with its prompt; it is there without a section too:\n"
    "#[model echo]\n"
    "#concurrency = 64\n";

static void write_head(struct buf *out) {
    write_comment(out, "genrun.ini: every option of genrun, commented out, with its default or an example.");
    buf_text(out, "#\n# The first of these files that is found is read; none is fine:\n");
    for (const char *const *place = option_places; *place != NULL; place++) {
        buf_format(out, "#   %s\n", *place);
    }
    buf_text(out, "#\n");
    for (const char *const *rule = option_rules; *rule != NULL; rule++) {
        write_comment(out, *rule);
    }
    write_comment(out, "Remove the # before an option (not one with a blank after it) to set the option.");
}

void option_write_sample(struct buf *out) {
    const char *section = "";
    write_head(out);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].type == OPTION_SECRET) {
            continue;
        }
        if (strcmp(section, rows[i].info.section) != 0) {
            section = rows[i].info.section;
            buf_char(out, '\n');
            if (strcmp(section, WEBHOOK_SECTION) == 0) {
                write_comment(out, option_webhooks);
                buf_text(out, "#[webhook app]\n");
            } else if (strcmp(section, MODEL_SECTION) == 0) {
                write_comment(out, option_models);
                buf_text(out, "#[model gpt-4o-mini]\n");
            } else {
                buf_format(out, "[%s]\n", section);
            }
        }
        write_option(out, &rows[i]);
    }
    buf_text(out, sample_examples);
}
