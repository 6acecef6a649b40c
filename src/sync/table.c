// SPDX-License-Identifier: MIT
#include "sync/table.h"

static const struct column generation_columns[] = {
    {"id", COLUMN_UUID, NULL},
    {"seq", COLUMN_INTEGER, NULL},
    {"status", COLUMN_TEXT, NULL},
    {"prompt", COLUMN_TEXT, NULL},
    {"model_id", COLUMN_TEXT, NULL},
    {"parameters", COLUMN_JSON, NULL},
    {"user_id", COLUMN_TEXT, NULL},
    {"session_id", COLUMN_TEXT, NULL},
    {"batch_job_id", COLUMN_UUID, NULL},
    {"item_index", COLUMN_INTEGER, NULL},
    {"custom_id", COLUMN_TEXT, NULL},
    {"topic", COLUMN_TEXT, NULL},
    {"tier", COLUMN_TEXT, NULL},
    {"type", COLUMN_TEXT, NULL},
    {"template_id", COLUMN_TEXT, NULL},
    {"endpoint", COLUMN_TEXT, NULL},
    {"client_id", COLUMN_TEXT, NULL},
    {"priority", COLUMN_INTEGER, NULL},
    {"attempts", COLUMN_INTEGER, NULL},
    {"starts", COLUMN_INTEGER, NULL},
    {"error_type", COLUMN_TEXT, NULL},
    {"error_message", COLUMN_TEXT, NULL},
    {"last_step", COLUMN_TEXT, NULL},
    {"last_heartbeat", COLUMN_TIME, NULL},
    {"last_progress", COLUMN_TIME, NULL},
    {"progress_limit_ms", COLUMN_INTEGER,
     "(SELECT l.progress_limit_ms FROM generation_live l WHERE l.seq = t.seq AND t.status='processing')"},
    {"runner_seq", COLUMN_INTEGER, NULL},
    {"run_after", COLUMN_TIME, NULL},
    {"created_at", COLUMN_TIME, NULL},
    {"started_at", COLUMN_TIME, NULL},
    {"completed_at", COLUMN_TIME, NULL},
    {"dismissed_at", COLUMN_TIME, NULL},
    {"input_tokens", COLUMN_INTEGER, NULL},
    {"output_tokens", COLUMN_INTEGER, NULL},
    {"cost", COLUMN_NUMBER, NULL},
    {NULL, COLUMN_TEXT, NULL},
};

// Postgres holds no NUL in text: such an output goes as bytes, like one that is no text at all.
#define IS_TEXT "typeof(t.content)='text' AND instr(t.content, char(0))=0"
static const struct column output_columns[] = {
    {"id", COLUMN_INTEGER, NULL},
    {"generation_id", COLUMN_UUID, NULL},
    {"idx", COLUMN_INTEGER, NULL},
    {"mime", COLUMN_TEXT, NULL},
    {"content", COLUMN_TEXT, "CASE WHEN " IS_TEXT " THEN t.content END"},
    {"content_bytes", COLUMN_BYTES, "CASE WHEN NOT (" IS_TEXT ") THEN CAST(t.content AS BLOB) END"},
    {"file", COLUMN_TEXT, NULL},
    {"bytes", COLUMN_INTEGER, NULL},
    {"sha256", COLUMN_TEXT, NULL},
    {"partial", COLUMN_FLAG, NULL},
    {"created_at", COLUMN_TIME, NULL},
    {NULL, COLUMN_TEXT, NULL},
};

static const struct column batch_columns[] = {
    {"id", COLUMN_UUID, NULL},
    {"name", COLUMN_TEXT, NULL},
    {"status", COLUMN_TEXT, NULL},
    {"user_id", COLUMN_TEXT, NULL},
    {"model_id", COLUMN_TEXT, NULL},
    {"total_items", COLUMN_INTEGER, NULL},
    {"completed_items", COLUMN_INTEGER, NULL},
    {"successful_items", COLUMN_INTEGER, NULL},
    {"failed_items", COLUMN_INTEGER, NULL},
    {"cancelled_items", COLUMN_INTEGER, NULL},
    {"queued_items", COLUMN_INTEGER, NULL},
    {"processing_items", COLUMN_INTEGER, NULL},
    {"input_tokens", COLUMN_INTEGER, NULL},
    {"output_tokens", COLUMN_INTEGER, NULL},
    {"concurrency", COLUMN_INTEGER, NULL},
    {"on_error", COLUMN_TEXT, NULL},
    {"max_failures", COLUMN_TEXT, NULL},
    {"estimated_cost", COLUMN_NUMBER, NULL},
    {"actual_cost", COLUMN_NUMBER, NULL},
    {"max_cost", COLUMN_NUMBER, NULL},
    {"paused_reason", COLUMN_TEXT, NULL},
    {"status_reason", COLUMN_TEXT, NULL},
    {"format", COLUMN_TEXT, NULL},
    {"client_id", COLUMN_TEXT, NULL},
    {"priority", COLUMN_INTEGER, NULL},
    {"created_at", COLUMN_TIME, NULL},
    {"started_at", COLUMN_TIME, NULL},
    {"completed_at", COLUMN_TIME, NULL},
    {"last_activity_at", COLUMN_TIME, NULL},
    {NULL, COLUMN_TEXT, NULL},
};

static const struct column log_columns[] = {
    {"id", COLUMN_INTEGER, NULL},         {"created_at", COLUMN_TIME, NULL},
    {"level", COLUMN_TEXT, NULL},         {"event", COLUMN_TEXT, NULL},
    {"generation_id", COLUMN_UUID, NULL}, {"batch_job_id", COLUMN_UUID, NULL},
    {"attempt", COLUMN_INTEGER, NULL},    {"message", COLUMN_TEXT, NULL},
    {"data", COLUMN_JSON, NULL},          {NULL, COLUMN_TEXT, NULL},
};

static const struct column lock_columns[] = {
    {"name", COLUMN_TEXT, NULL},        {"user_id", COLUMN_TEXT, NULL},    {"owner", COLUMN_TEXT, NULL},
    {"acquired_at", COLUMN_TIME, NULL}, {"expires_at", COLUMN_TIME, NULL}, {"reason", COLUMN_TEXT, NULL},
    {NULL, COLUMN_TEXT, NULL},
};

static const struct column profile_columns[] = {
    {"id", COLUMN_TEXT, NULL},    {"display_name", COLUMN_TEXT, NULL}, {"username", COLUMN_TEXT, NULL},
    {"email", COLUMN_TEXT, NULL}, {NULL, COLUMN_TEXT, NULL},
};

static const struct column session_columns[] = {
    {"id", COLUMN_TEXT, NULL},      {"name", COLUMN_TEXT, NULL}, {"project_id", COLUMN_TEXT, NULL},
    {"user_id", COLUMN_TEXT, NULL}, {NULL, COLUMN_TEXT, NULL},
};

static const struct column project_columns[] = {
    {"id", COLUMN_TEXT, NULL},
    {"name", COLUMN_TEXT, NULL},
    {"user_id", COLUMN_TEXT, NULL},
    {NULL, COLUMN_TEXT, NULL},
};

// clang-format off
const struct table table_list[TABLE_COUNT] = {
    [TABLE_GENERATIONS] = {.name = "generations", .columns = generation_columns, .key = "id", .versioned = true,
        .source = "FROM generations t WHERE t.seq = ?1"},
    [TABLE_OUTPUTS] = {.name = "outputs", .columns = output_columns, .key = "node, id", .versioned = true,
        .source = "FROM outputs t WHERE t.id = ?1"},
    [TABLE_BATCH_JOBS] = {.name = "batch_jobs", .columns = batch_columns, .key = "id", .versioned = true,
        .source = "FROM batch_jobs t WHERE t.seq = ?1"},
    [TABLE_LOGS] = {.name = "logs", .columns = log_columns, .key = "node, id",
        .source = "FROM logs t WHERE t.id = ?1"},
    [TABLE_LOCKS] = {.name = "locks", .columns = lock_columns, .key = "node, name", .text_key = true,
        .source = "FROM locks t WHERE t.name = ?1"},
    [TABLE_PROFILES] = {.name = "profiles", .columns = profile_columns, .key = "id", .text_key = true, .shared = true,
        .source = "FROM profiles t WHERE t.id = ?1"},
    [TABLE_SESSIONS] = {.name = "sessions", .columns = session_columns, .key = "id", .text_key = true, .shared = true,
        .source = "FROM sessions t WHERE t.id = ?1"},
    [TABLE_PROJECTS] = {.name = "projects", .columns = project_columns, .key = "id", .text_key = true, .shared = true,
        .source = "FROM projects t WHERE t.id = ?1"},
};
// clang-format on

size_t table_width(const struct table *t) {
    size_t n = 0;
    while (t->columns[n].name)
        n++;
    return n;
}

void table_select(const struct table *t, struct buf *out) {
    buf_text(out, "SELECT ");
    for (const struct column *c = t->columns; c->name; c++)
        buf_format(out, "%s%s%s", c == t->columns ? "" : ", ", c->from ? "" : "t.",
                   c->from ? c->from : c->name);
    buf_format(out, " %s", t->source);
}

static const char *array_type(enum column_kind kind) {
    static const char *const types[] = {
        [COLUMN_TEXT] = "text",     [COLUMN_UUID] = "uuid",        [COLUMN_INTEGER] = "bigint",
        [COLUMN_NUMBER] = "float8", [COLUMN_TIME] = "timestamptz", [COLUMN_JSON] = "jsonb",
        [COLUMN_FLAG] = "boolean",  [COLUMN_BYTES] = "bytea"};
    return types[kind];
}

static void list(const struct table *t, struct buf *out, const char *prefix) {
    for (const struct column *c = t->columns; c->name; c++)
        buf_format(out, "%s%s%s", c == t->columns ? "" : ", ", prefix, c->name);
}

// What stands after UPDATE SET, and where a row differs.
static void write_update(const struct table *t, struct buf *out) {
    const char *version = t->versioned ? "sync_version, " : "";
    buf_format(out, " ON CONFLICT (%s) DO UPDATE SET (node, %s", t->key, version);
    list(t, out, "");
    buf_format(out, ") = ROW(excluded.node, %s", t->versioned ? "excluded.sync_version, " : "");
    list(t, out, "excluded.");
    buf_text(out, ") WHERE (");
    list(t, out, "t.");
    buf_text(out, ") IS DISTINCT FROM (");
    list(t, out, "excluded.");
    buf_text(out, ")");
    if (!t->shared)
        buf_text(out, " AND t.node = excluded.node");
    if (t->versioned)
        buf_text(out, " AND t.sync_version <= excluded.sync_version");
}

void table_upsert(const struct table *t, struct buf *out) {
    int next = t->versioned ? 3 : 2;
    buf_text(out, "WITH u (");
    list(t, out, "");
    buf_text(out, ") AS (SELECT * FROM unnest(");
    for (const struct column *c = t->columns; c->name; c++)
        buf_format(out, "%s$%d::%s[]", c == t->columns ? "" : ", ", next++, array_type(c->kind));
    buf_text(out, "))");
    if (t->shared)
        buf_format(out,
                   ", told AS (INSERT INTO genrun_told AS t (node, kind, id, digest) "
                   "SELECT $1, '%s', u.id, md5(u::text) FROM u ON CONFLICT (node, kind, id) "
                   "DO UPDATE SET digest = excluded.digest WHERE t.digest <> excluded.digest RETURNING t.id)",
                   t->name);
    buf_format(out, " INSERT INTO %s AS t (node, %s", t->name, t->versioned ? "sync_version, " : "");
    list(t, out, "");
    buf_format(out, ") SELECT $1, %su.* FROM u", t->versioned ? "$2::bigint, " : "");
    if (t->shared)
        buf_format(
            out, " WHERE u.id IN (SELECT id FROM told) OR NOT EXISTS (SELECT 1 FROM %s x WHERE x.id = u.id)",
            t->name);
    write_update(t, out);
}
