// SPDX-License-Identifier: MIT
// Files and batches of OpenAI's API without HTTP: what is refused and in which words, the way from a file to a batch
// job and its result files, paging, ends, and what a crash leaves.
#include "base/depot.h"
#include "base/mem.h"
#include "batch/validate.h"
#include "handle_ground.h"
#include "lib/handle.h"
#include "lib/host.h"
#include "queue/openai.h"
#include <fcntl.h>
#include <sys/stat.h>

#define CHAT "/v1/chat/completions"
#define LINE(id, text)                                                                                       \
    "{\"custom_id\":\"" id "\",\"method\":\"POST\",\"url\":\"" CHAT                                          \
    "\",\"body\":{\"model\":\"echo\",\"messages\":[{"                                                        \
    "\"role\":\"user\",\"content\":\"" text "\"}]}}\n"

static int count_files(void) {
    int count = 0;
    DIR *d = opendir(files);
    for (struct dirent *entry; d && (entry = readdir(d));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
                 strcmp(entry->d_name, ".database") != 0;
    if (d)
        closedir(d);
    return count;
}

static int64_t sql(genrun *g, const char *text) {
    sqlite3_stmt *s = NULL;
    int64_t value = 0;
    if (sqlite3_prepare_v2(db_handle(g->db), text, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(db_handle(g->db)));
    while (sqlite3_step(s) == SQLITE_ROW)
        value = sqlite3_column_int64(s, 0);
    assert_int_equal(sqlite3_finalize(s), SQLITE_OK);
    return value;
}

// A nameless file with this content.
static int spool(const char *content) {
    char path[] = "/tmp/genrun-spool-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && unlink(path) == 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    return fd;
}

static const char *add_as(genrun *g, const char *content, const genrun_file_options *options) {
    static char id[OPENAI_ID_SIZE];
    genrun_row *row = NULL;
    int fd = spool(content);
    ok(g, genrun_file_add(g, &row, fd, options));
    close(fd);
    snprintf(id, sizeof id, "%s", genrun_row_text(row, "id"));
    genrun_row_free(row);
    return id;
}

static const char *add(genrun *g, const char *content) {
    genrun_file_options options = GENRUN_FILE_OPTIONS_INIT;
    options.filename = "in.jsonl";
    return add_as(g, content, &options);
}

static const char *create_as(genrun *g, const genrun_openai_options *options) {
    static char id[OPENAI_ID_SIZE];
    genrun_row *row = NULL;
    ok(g, genrun_openai_create(g, &row, NULL, options, NULL));
    snprintf(id, sizeof id, "%s", genrun_row_text(row, "id"));
    genrun_row_free(row);
    return id;
}

static const char *create(genrun *g, const char *file) {
    genrun_openai_options options = GENRUN_OPENAI_OPTIONS_INIT;
    options.input_file_id = file;
    options.endpoint = CHAT;
    return create_as(g, &options);
}

// A column of the batch as text; valid until the next call.
static const char *of(genrun *g, const char *id, const char *column) {
    static char text[4096];
    genrun_row *row = NULL;
    ok(g, genrun_openai_get(g, &row, id));
    const char *value = genrun_row_text(row, column);
    snprintf(text, sizeof text, "%s", value ? value : "NULL");
    genrun_row_free(row);
    return text;
}

static void run_all(genrun *g) {
    genrun_run_options options = GENRUN_RUN_OPTIONS_INIT;
    options.drain = 1;
    int result = genrun_run(g, &options);
    assert_true(result == 0 || result == GENRUN_WORK_FAILED);
}

static const char *content_of(genrun *g, const char *id) {
    static char text[65536];
    int fd = -1;
    ok(g, genrun_file_open(g, &fd, id));
    ssize_t got = read(fd, text, sizeof text - 1);
    assert_true(got >= 0);
    text[got] = 0;
    close(fd);
    return text;
}

static const char *result_id(const char *batch, const char *kind) {
    static char id[2][80];
    static int turn;
    turn = !turn;
    snprintf(id[turn], sizeof id[turn], "file-%.40s-%.8s", batch + strlen("batch_"), kind);
    return id[turn];
}

// ---- the check of lines ----

static bool knows_model(void *payload, const char *name) {
    (void)payload;
    return strcmp(name, "m") == 0;
}

#define BODY "{\"model\":\"m\",\"messages\":[]}"
#define GOOD(id) "{\"custom_id\":\"" id "\",\"method\":\"POST\",\"url\":\"" CHAT "\",\"body\":" BODY "}\n"
#define WITH(members) "{\"custom_id\":\"1\",\"method\":\"POST\"," members "}\n"
#define WITH_BODY(body) WITH("\"url\":\"" CHAT "\",\"body\":" body)

static const struct {
    const char *lines, *found; // "code line param message", one a line
} cases[] = {
    {GOOD("1") GOOD("2"), ""},
    {"\xef\xbb\xbf" GOOD("1") "\r\n  \n" GOOD("2"), ""},
    {GOOD("1") "{\"custom_id\":\n", "invalid_json_line 2 - This line is not parseable as valid JSON."},
    {"[1]\n", "invalid_json_line 1 - This line is not parseable as valid JSON."},
    {"{\"custom_id\":\"a\\u0000b\"}\n", "invalid_json_line 1 - This line is not parseable as valid JSON."},
    {"{\"method\":\"POST\",\"url\":\"" CHAT "\",\"body\":" BODY "}\n",
     "missing_required_parameter 1 custom_id Missing required parameter: 'custom_id'."},
    {"{\"custom_id\":\"1\",\"url\":\"" CHAT "\",\"body\":" BODY "}\n",
     "missing_required_parameter 1 method Missing required parameter: 'method'."},
    {WITH("\"body\":" BODY), "missing_required_parameter 1 url Missing required parameter: 'url'."},
    {WITH("\"url\":\"" CHAT "\""), "missing_required_parameter 1 body Missing required parameter: 'body'."},
    {GOOD("1") "{}\n", "missing_required_parameter 2 custom_id Missing required parameter: 'custom_id'.\n"
                       "missing_required_parameter 2 method Missing required parameter: 'method'.\n"
                       "missing_required_parameter 2 url Missing required parameter: 'url'.\n"
                       "missing_required_parameter 2 body Missing required parameter: 'body'."},
    {"{\"custom_id\":7,\"method\":\"POST\",\"url\":\"" CHAT "\",\"body\":" BODY "}\n",
     "invalid_type 1 custom_id Invalid type for 'custom_id': expected a string, but got an integer instead."},
    {"{\"custom_id\":\"1\",\"method\":\"GET\",\"url\":\"" CHAT "\",\"body\":" BODY "}\n",
     "invalid_value 1 method Invalid value: 'GET'. Supported values are: 'POST'."},
    {WITH("\"url\":\"/v1/embeddings\",\"body\":" BODY),
     "invalid_url 1 url The URL provided for this request does not match the batch endpoint."},
    {WITH_BODY("\"x\""),
     "invalid_type 1 body Invalid type for 'body': expected an object, but got a string instead."},
    {WITH_BODY("{\"model\":\"m\",\"messages\":[],\"stream\":true}"),
     "streaming_unsupported 1 body.stream Chat Completions: Streaming is not supported in the Batch API."},
    {WITH_BODY("{\"model\":\"x\",\"messages\":[]}"),
     "model_not_found 1 body.model The provided model 'x' is not supported by the Batch API."},
    {WITH_BODY("{\"messages\":[]}"), "invalid_request 1 body.model Model parameter is required."},
    {WITH_BODY("{\"model\":\"m\"}"), "invalid_request 1 body.messages Messages parameter is required."},
    {WITH_BODY("{\"model\":\"m\",\"messages\":{}}"),
     "invalid_type 1 body.messages Invalid type for 'body.messages': expected an array, but got an object "
     "instead."},
    {GOOD("1") GOOD("2") GOOD("1") "x\n", "duplicate_custom_id 3 custom_id The custom_id for this request is "
                                          "a duplicate of that on line 1. The custom_id "
                                          "parameter must be unique for each request in a batch.\n"
                                          "invalid_json_line 4 - This line is not parseable as valid JSON."},
    {"\n",
     "empty_file 0 - The input file is empty. Please ensure that the batch contains at least one request."},
};

static void test_lines(void **state) {
    (void)state;
    const struct validate_options options = {.endpoint = CHAT, .knows_model = knows_model};
    struct validate_result *found = mem_alloc(1, sizeof *found);
    struct err e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        FILE *in = fmemopen((void *)(size_t)cases[i].lines, strlen(cases[i].lines), "r");
        struct buf text;
        buf_init(&text, BUF_UNLIMITED);
        assert_int_equal(validate_lines(in, &options, found, &e), 0);
        fclose(in);
        for (size_t k = 0; k < found->count; k++)
            buf_format(&text, "%s%s %lld %s %s", k ? "\n" : "", found->problems[k].code,
                       (long long)found->problems[k].line,
                       found->problems[k].param ? found->problems[k].param : "-", found->problems[k].message);
        assert_string_equal(buf_borrow(&text), cases[i].found);
        buf_free(&text);
        validate_free(found);
    }
    free(found);
}

static bool at_once(void *payload) {
    ++*(int *)payload;
    return true;
}

static void test_many_problems(void **state) {
    (void)state;
    struct validate_options options = {.endpoint = "/v1/embeddings", .knows_model = knows_model};
    struct validate_result *found = mem_alloc(1, sizeof *found);
    struct err e;
    struct buf text, written;
    int asked = 0;
    buf_init(&text, BUF_UNLIMITED);
    buf_init(&written, BUF_UNLIMITED);
    for (int i = 0; i < 150; i++)
        buf_text(&text, "x\n");
    FILE *in = fmemopen(text.data, text.length, "r");
    assert_int_equal(validate_lines(in, &options, found, &e), 0);
    assert_int_equal(found->count, VALIDATE_PROBLEMS);
    assert_false(validate_add(found, 1, "x", NULL, "one too many"));
    validate_write(&written, found);
    assert_non_null(strstr(
        written.data, "{\"code\":\"invalid_json_line\",\"message\":\"This line is not parseable as valid "
                      "JSON.\",\"param\":null,\"line\":1,\"detail\":\""));
    validate_free(found);
    rewind(in);
    options.is_over = at_once;
    options.payload = &asked;
    assert_int_equal(validate_lines(in, &options, found, &e), 0);
    assert_true(found->over && asked == 1);
    validate_free(found);
    fclose(in);
    buf_free(&text);
    buf_free(&written);
    free(found);
}

// ---- files ----

struct ids {
    char id[16][64];
    int count;
};

static int note_id(void *payload, genrun_row *row) {
    struct ids *ids = payload;
    if (ids->count < 16)
        snprintf(ids->id[ids->count], 64, "%s", genrun_row_text(row, "id"));
    ids->count++;
    return 0;
}

static void test_files(void **state) {
    genrun *g = *state;
    genrun_file_options options = GENRUN_FILE_OPTIONS_INIT;
    genrun_row *row = NULL;
    struct stat st;
    char id[64];
    int fd = -1;
    snprintf(id, sizeof id, "%s", add(g, "hello\n"));
    ok(g, genrun_file_get(g, &row, id));
    assert_string_equal(genrun_row_text(row, "filename"), "in.jsonl");
    assert_string_equal(genrun_row_text(row, "purpose"), "batch");
    assert_int_equal(genrun_row_integer(row, "bytes", -1), 6);
    assert_true(genrun_row_integer(row, "created_at", 0) > 0);
    assert_null(genrun_row_text(row, "expires_at"));
    genrun_row_free(row);
    assert_string_equal(content_of(g, id), "hello\n");
    assert_true(stat(files, &st) == 0 && (st.st_mode & 0777) == 0700);
    assert_int_equal(count_files(), 1);
    // One that stands in the folder without a name needs no copy.
    struct err e;
    assert_int_equal(depot_temporary(files, &fd, &e), 0);
    assert_int_equal(write(fd, "two", 3), 3);
    ok(g, genrun_file_add(g, &row, fd, &options));
    close(fd);
    assert_string_equal(genrun_row_text(row, "filename"), genrun_row_text(row, "id"));
    genrun_row_free(row);
    options.purpose = "nope";
    refused(g, genrun_file_add(g, &row, 0, &options), GENRUN_INVALID, "nope is not a purpose of a file");
    options.purpose = "batch";
    options.filename = "\xff";
    refused(g, genrun_file_add(g, &row, 0, &options), GENRUN_INVALID, "the file name is not valid UTF-8");
    options.filename = NULL;
    refused(g, genrun_file_add(g, &row, -1, &options), GENRUN_INVALID, "cannot be used");
    refused(g, genrun_file_get(g, &row, "file-nope"), GENRUN_NOT_FOUND, "No such File object: file-nope");
    refused(g, genrun_file_open(g, &fd, "../test.db"), GENRUN_NOT_FOUND, "No such File object: ../test.db");
    ok(g, genrun_file_delete(g, id));
    refused(g, genrun_file_delete(g, id), GENRUN_NOT_FOUND, "No such File object");
    assert_int_equal(count_files(), 1);
}

static void test_file_lists(void **state) {
    genrun *g = *state;
    genrun_file_options options = GENRUN_FILE_OPTIONS_INIT;
    genrun_file_filter filter = GENRUN_FILE_FILTER_INIT;
    struct ids all = {.count = 0}, page = {.count = 0};
    int more = 1;
    for (int i = 0; i < 5; i++) {
        options.purpose = i == 3 ? "vision" : "batch";
        options.user = i % 2 ? "bob" : "ann";
        add_as(g, "x", &options);
    }
    ok(g, genrun_file_list(g, NULL, &more, note_id, &all));
    assert_true(all.count == 5 && !more);
    // Each page is followed by the next, also when the last one of it is gone by then.
    filter.limit = 1;
    for (int i = 0; i < 5; i++) {
        page.count = 0;
        ok(g, genrun_file_list(g, &filter, &more, note_id, &page));
        assert_true(page.count == 1 && more == (i < 4));
        assert_string_equal(page.id[0], all.id[i]);
        filter.after = all.id[i];
        if (i == 2)
            ok(g, genrun_file_delete(g, all.id[i]));
    }
    filter = (genrun_file_filter){.ascending = 1, .limit = 10, .after = all.id[4]};
    page.count = 0;
    ok(g, genrun_file_list(g, &filter, &more, note_id, &page));
    assert_int_equal(page.count, 3);
    assert_string_equal(page.id[0], all.id[3]);
    filter = (genrun_file_filter){.purpose = "vision"};
    page.count = 0;
    ok(g, genrun_file_list(g, &filter, &more, note_id, &page));
    assert_int_equal(page.count, 1);
    filter = (genrun_file_filter){.limit = 10001};
    refused(g, genrun_file_list(g, &filter, &more, note_id, &page), GENRUN_INVALID, "use 1 to 10000");
    filter = (genrun_file_filter){.after = "x"};
    refused(g, genrun_file_list(g, &filter, &more, note_id, &page), GENRUN_INVALID,
            "x is not the id of a file");
    // Another's is not there.
    host_scope(g, "bob");
    page.count = 0;
    ok(g, genrun_file_list(g, NULL, &more, note_id, &page));
    assert_int_equal(page.count, 2);
    genrun_row *row = NULL;
    refused(g, genrun_file_get(g, &row, all.id[4]), GENRUN_NOT_FOUND, "No such File object");
    refused(g, genrun_file_delete(g, all.id[4]), GENRUN_NOT_FOUND, "No such File object");
    options.user = "ann";
    refused(g, genrun_file_add(g, &row, 0, &options), GENRUN_INVALID, "not yours");
    host_scope(g, NULL);
}

static void test_strays(void **state) {
    genrun *g = *state;
    char path[200];
    int64_t removed = 0;
    char id[64];
    ok(g, genrun_file_sweep(g, &removed));
    assert_int_equal(removed, 0);
    snprintf(id, sizeof id, "%s", add(g, "x"));
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", files,
                 i == 0   ? "file-0123"
                 : i == 1 ? ".part-file-7"
                          : "mine.txt");
        close(open(path, O_CREAT | O_WRONLY, 0600));
    }
    // One that is just being added is left alone.
    struct err e;
    int64_t bytes;
    int fd = spool("new");
    assert_int_equal(depot_keep(files, "file-new", &fd, &bytes, &e), 0);
    assert_int_equal(bytes, 3);
    ok(g, genrun_file_sweep(g, &removed));
    assert_int_equal(removed, 2);
    assert_int_equal(count_files(), 3);
    close(fd);
    ok(g, genrun_file_sweep(g, &removed));
    assert_int_equal(removed, 1);
    assert_string_equal(content_of(g, id), "x");
}

// Two databases that are given one folder do not sweep each other's files away.
static void test_folder_of_another(void **state) {
    genrun *g = *state, *other = NULL;
    genrun_options options = GENRUN_OPTIONS_INIT;
    genrun_file_options file = GENRUN_FILE_OPTIONS_INIT;
    genrun_row *row = NULL;
    char id[64], path[112];
    int64_t removed = 0;
    snprintf(id, sizeof id, "%s", add(g, "x"));
    snprintf(path, sizeof path, "%s/c.db", folder);
    options.database = path;
    options.create = 1;
    setenv("GENRUN_DATA_DIR", files, 1);
    ok(g, genrun_open(&other, &options));
    unsetenv("GENRUN_DATA_DIR");
    refused(other, genrun_file_sweep(other, &removed), GENRUN_CONFIG, "holds the files of database");
    int fd = spool("y");
    refused(other, genrun_file_add(other, &row, fd, &file), GENRUN_CONFIG, "set a data_dir of its own");
    assert_int_equal(removed, 0);
    assert_string_equal(content_of(g, id), "x");
    // The folder of one that was removed goes to the next.
    char mark[200];
    snprintf(mark, sizeof mark, "%s/.database", files);
    assert_int_equal(unlink(mark), 0);
    assert_int_equal(symlink("/nowhere/genrun.db", mark), 0);
    ok(other, genrun_file_add(other, &row, fd, &file));
    genrun_row_free(row);
    close(fd);
    refused(g, genrun_file_sweep(g, &removed), GENRUN_CONFIG, "c.db: set a data_dir");
    genrun_close(other);
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(mark, sizeof mark, "%s%s", path, ends[i]);
        unlink(mark);
    }
}

static void test_file_expiry(void **state) {
    genrun *g = *state;
    genrun_file_options options = GENRUN_FILE_OPTIONS_INIT;
    genrun_row *row = NULL;
    char old[64], needed[64];
    options.expires_after_ms = 3600000;
    snprintf(old, sizeof old, "%s", add_as(g, "x", &options));
    snprintf(needed, sizeof needed, "%s", add_as(g, LINE("1", "hi"), &options));
    create(g, needed);
    ok(g, genrun_file_get(g, &row, old));
    assert_int_equal(genrun_row_integer(row, "expires_at", 0) - genrun_row_integer(row, "created_at", 0),
                     3600000);
    genrun_row_free(row);
    sql(g, "UPDATE file SET expires_at=1");
    refused(g, genrun_file_get(g, &row, old), GENRUN_NOT_FOUND, "No such File object");
    ok(g, genrun_job(g, &row, "expire", 1, NULL, NULL));
    assert_int_equal(genrun_row_integer(row, "found", -1), 1);
    genrun_row_free(row);
    assert_int_equal(count_files(), 2);
    ok(g, genrun_job(g, NULL, "expire", 0, NULL, NULL));
    assert_int_equal(count_files(), 1);
    refused(g, genrun_file_delete(g, needed), GENRUN_NOT_FOUND, "No such File object");
    ok(g, genrun_openai_prepare(g));
    ok(g, genrun_job(g, NULL, "expire", 0, NULL, NULL));
    assert_int_equal(count_files(), 0);
    assert_int_equal(sql(g, "SELECT count(*) FROM openai_batches WHERE status='in_progress'"), 1);
}

// ---- making a batch ----

static void test_requests(void **state) {
    genrun *g = *state;
    char long_text[600], many[600] = "{", pair[32], tall[700];
    memset(long_text, 'x', sizeof long_text);
    long_text[sizeof long_text - 1] = 0;
    snprintf(tall, sizeof tall, "{\"k\":\"%s\"}", long_text);
    for (int i = 0; i < 17; i++) {
        snprintf(pair, sizeof pair, "%s\"k%d\":\"v\"", i ? "," : "", i);
        strcat(many, pair);
    }
    strcat(many, "}");
    const struct {
        genrun_openai_options options;
        const char *param, *code, *part;
    } bad[] = {
        {{.input_file_id = "f", .endpoint = "/v1/bad", .completion_window = "24h"},
         "endpoint",
         "invalid_value",
         "Invalid value: '/v1/bad'. Supported values are: '/v1/chat/completions', "},
        {{.endpoint = CHAT, .completion_window = "24h"},
         "input_file_id",
         "missing_required_parameter",
         "Missing required"},
        {{.input_file_id = "f", .completion_window = "24h"},
         "endpoint",
         "missing_required_parameter",
         "Missing required"},
        {{.input_file_id = "f", .endpoint = CHAT, .completion_window = "5m"},
         "completion_window",
         "invalid_value",
         "'5m'"},
        {{.input_file_id = "f", .endpoint = CHAT, .completion_window = "8d"},
         "completion_window",
         "invalid_value",
         "'8d'"},
        {{.input_file_id = "f", .endpoint = CHAT, .completion_window = "x"},
         "completion_window",
         "invalid_value",
         "'none'"},
        {{.input_file_id = "f", .endpoint = CHAT, .completion_window = "24h", .metadata = "{\"tags\":[1]}"},
         "metadata.tags",
         "invalid_type",
         "Invalid type for 'metadata.tags': expected a string, but got an array instead."},
        {{.input_file_id = "f", .endpoint = CHAT, .completion_window = "24h", .metadata = "[]"},
         "metadata",
         "invalid_type",
         "expected an object"},
        {{.input_file_id = "f", .endpoint = CHAT, .completion_window = "24h", .metadata = many},
         "metadata",
         "object_above_max_properties",
         "at most 16 properties, but got an object with 17"},
        {{.input_file_id = "f", .endpoint = CHAT, .completion_window = "24h", .metadata = tall},
         "metadata.k",
         "string_above_max_length",
         "maximum length 512, but got a string with length 599"},
        {{.input_file_id = "f", .endpoint = CHAT, .completion_window = "24h", .output_expires_after = 5},
         "output_expires_after.seconds",
         "integer_below_min_value",
         ">= 3600, but got 5"},
        {{.input_file_id = "f",
          .endpoint = CHAT,
          .completion_window = "24h",
          .output_expires_after = 2592001},
         "output_expires_after.seconds",
         "integer_above_max_value",
         "<= 2592000"},
        {{.input_file_id = long_text, .endpoint = CHAT, .completion_window = "24h"},
         "input_file_id",
         "string_above_max_length",
         "too long"},
        {{.input_file_id = "\xff", .endpoint = CHAT, .completion_window = "24h"},
         "input_file_id",
         "invalid_value",
         "UTF-8"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        genrun_row *row = NULL;
        genrun_refusal refusal;
        refused(g, genrun_openai_create(g, &row, NULL, &bad[i].options, &refusal), GENRUN_INVALID,
                bad[i].part);
        assert_string_equal(refusal.param, bad[i].param);
        assert_string_equal(refusal.code, bad[i].code);
        assert_null(row);
    }
}

static void test_missing_file(void **state) {
    genrun *g = *state;
    genrun_file_options options = GENRUN_FILE_OPTIONS_INIT;
    char id[64];
    snprintf(id, sizeof id, "%s", create(g, "file-nope"));
    assert_string_equal(of(g, id, "status"), "failed");
    assert_string_equal(
        of(g, id, "errors"),
        "[{\"code\":\"invalid_request\",\"message\":\"Cannot find file file-nope, or organization genrun "
        "does not have access to it.\",\"param\":\"file_id\",\"line\":null}]");
    options.purpose = "vision";
    snprintf(id, sizeof id, "%s", create(g, add_as(g, "x", &options)));
    assert_non_null(strstr(of(g, id, "errors"), "invalid_file_purpose"));
    // Another's file is none.
    options = (genrun_file_options){.purpose = "batch", .user = "ann"};
    add_as(g, LINE("1", "x"), &options);
    host_scope(g, "bob");
    genrun_openai_options batch = GENRUN_OPENAI_OPTIONS_INIT;
    batch.endpoint = CHAT;
    batch.input_file_id = add_as(g, "", &(genrun_file_options){.purpose = "batch"});
    host_scope(g, "eve");
    snprintf(id, sizeof id, "%s", create_as(g, &batch));
    assert_string_equal(of(g, id, "status"), "failed");
    host_scope(g, "bob");
    genrun_row *row = NULL;
    refused(g, genrun_openai_get(g, &row, id), GENRUN_NOT_FOUND, "No batch found with id 'batch_");
    refused(g, genrun_openai_cancel(g, &row, id), GENRUN_NOT_FOUND, "No batch found");
    host_scope(g, NULL);
    // Its content can be lost, too.
    snprintf(id, sizeof id, "%s", create(g, add(g, "x")));
    char path[200];
    snprintf(path, sizeof path, "%s/%s", files, of(g, id, "input_file_id"));
    assert_int_equal(unlink(path), 0);
    ok(g, genrun_openai_prepare(g));
    assert_non_null(strstr(of(g, id, "errors"), "Cannot find file file-"));
}

static void test_sent_again(void **state) {
    genrun *g = *state;
    genrun_openai_options options = GENRUN_OPENAI_OPTIONS_INIT;
    genrun_row *row = NULL;
    char file[64], first[64];
    int created = 1;
    snprintf(file, sizeof file, "%s", add(g, LINE("1", "x")));
    options.input_file_id = file;
    options.endpoint = CHAT;
    options.asked_by = "key:1";
    options.metadata = "{\"a\":\"b\"}";
    snprintf(first, sizeof first, "%s", create_as(g, &options));
    options.is_again = 1;
    ok(g, genrun_openai_create(g, &row, &created, &options, NULL));
    assert_int_equal(created, 0);
    assert_string_equal(genrun_row_text(row, "id"), first);
    genrun_row_free(row);
    // Anything else in it, another key, or long ago: another batch.
    options.metadata = NULL;
    assert_string_not_equal(create_as(g, &options), first);
    options.metadata = "{\"a\":\"b\"}";
    options.asked_by = "key:2";
    assert_string_not_equal(create_as(g, &options), first);
    options.asked_by = "key:1";
    sql(g, "UPDATE openai_batch SET created_at=created_at-120001");
    assert_string_not_equal(create_as(g, &options), first);
    // A key says it for good.
    options.is_again = 0;
    options.idempotency_key = "once";
    snprintf(first, sizeof first, "%s", create_as(g, &options));
    sql(g, "UPDATE openai_batch SET created_at=1");
    assert_string_equal(create_as(g, &options), first);
    options.completion_window = "none";
    refused(g, genrun_openai_create(g, &row, NULL, &options, NULL), GENRUN_CONFLICT,
            "The idempotency key was used for batch");
    host_scope(g, "bob");
    assert_string_not_equal(create_as(g, &options), first);
    host_scope(g, NULL);
}

// ---- from file to results ----

static void test_whole_way(void **state) {
    genrun *g = *state;
    genrun_row *row = NULL;
    char id[64], file[64];
    snprintf(file, sizeof file, "%s", add(g, LINE("a", "one") LINE("b", "two") LINE("c", "three")));
    snprintf(id, sizeof id, "%s", create(g, file));
    assert_string_equal(of(g, id, "status"), "validating");
    assert_string_equal(of(g, id, "total"), "0");
    refused(g, genrun_file_delete(g, file), GENRUN_CONFLICT, "a batch has not read this file yet");
    ok(g, genrun_openai_prepare(g));
    ok(g, genrun_openai_prepare(g));
    assert_string_equal(of(g, id, "status"), "in_progress");
    assert_string_equal(of(g, id, "total"), "3");
    assert_string_equal(of(g, id, "model"), "echo");
    ok(g, genrun_file_delete(g, file));
    // It is a batch job like any other, found by the same digits.
    ok(g, genrun_batch_get(g, &row, id));
    assert_string_equal(genrun_row_text(row, "client_id"), id);
    assert_string_equal(genrun_row_text(row, "name"), "in.jsonl");
    assert_int_equal(genrun_row_integer(row, "total_items", 0), 3);
    assert_string_equal(genrun_row_text(row, "id") + 28, id + strlen(id) - 8);
    genrun_row_free(row);
    ok(g, genrun_batch_pause(g, id, "why not"));
    assert_string_equal(of(g, id, "status"), "in_progress");
    assert_string_equal(of(g, id, "paused_reason"), "why not");
    refused(g, genrun_file_get(g, &row, result_id(id, "output")), GENRUN_NOT_FOUND, "No such File object");
    ok(g, genrun_batch_process_next(g, &row, id, 0));
    genrun_row_free(row);
    // Results while it goes on; lists have them at the end.
    ok(g, genrun_file_get(g, &row, result_id(id, "output")));
    assert_string_equal(genrun_row_text(row, "purpose"), "batch_output");
    assert_int_equal(genrun_row_integer(row, "bytes", 0), strlen(content_of(g, result_id(id, "output"))));
    genrun_row_free(row);
    assert_non_null(strstr(content_of(g, result_id(id, "output")), "\"custom_id\":\"a\""));
    genrun_file_filter filter = {.purpose = "batch_output"};
    struct ids ids = {.count = 0};
    int more = 1;
    ok(g, genrun_file_list(g, &filter, &more, note_id, &ids));
    assert_int_equal(ids.count, 0);
    ok(g, genrun_batch_resume(g, id));
    sql(g, "UPDATE generations SET status='failed', error_message='bad luck' WHERE custom_id='c'");
    run_all(g);
    assert_string_equal(of(g, id, "status"), "completed");
    assert_string_equal(of(g, id, "completed"), "2");
    assert_string_equal(of(g, id, "failed"), "1");
    assert_string_not_equal(of(g, id, "ended_at"), "NULL");
    assert_non_null(strstr(content_of(g, result_id(id, "error")),
                           "\"custom_id\":\"c\",\"response\":null,\"error\":{\"code\":\"failed_by_operator\","
                           "\"message\":\"bad luck\"}"));
    ok(g, genrun_file_list(g, NULL, &more, note_id, &ids));
    assert_int_equal(ids.count, 2);
    assert_string_equal(ids.id[0], result_id(id, "output"));
    filter = (genrun_file_filter){.after = ids.id[0], .limit = 1};
    ids.count = 0;
    ok(g, genrun_file_list(g, &filter, &more, note_id, &ids));
    assert_true(ids.count == 1 && !more);
    assert_string_equal(ids.id[0], result_id(id, "error"));
    // The size was counted once; a retried item makes it count again.
    assert_int_equal(sql(g, "SELECT output_bytes FROM openai_batches"),
                     strlen(content_of(g, result_id(id, "output"))));
    int64_t changed = 0;
    ok(g, genrun_batch_retry(g, &changed, id, 0));
    assert_string_equal(of(g, id, "status"), "in_progress");
    run_all(g);
    assert_string_equal(of(g, id, "completed"), "3");
    ok(g, genrun_file_get(g, &row, result_id(id, "output")));
    assert_int_equal(genrun_row_integer(row, "bytes", 0), strlen(content_of(g, result_id(id, "output"))));
    genrun_row_free(row);
    refused(g, genrun_openai_cancel(g, &row, id), GENRUN_CONFLICT,
            "Cannot cancel a batch with status 'completed'.");
    ok(g, genrun_file_delete(g, result_id(id, "output")));
    refused(g, genrun_file_get(g, &row, result_id(id, "output")), GENRUN_NOT_FOUND, "No such File object");
    // With the batch job it goes.
    sql(g, "DELETE FROM batch_jobs");
    refused(g, genrun_openai_get(g, &row, id), GENRUN_NOT_FOUND, "No batch found");
}

static void test_refused_file(void **state) {
    genrun *g = *state;
    char id[64], other[64];
    snprintf(id, sizeof id, "%s", create(g, add(g, LINE("a", "x") "{\"custom_id\"\n")));
    // The check lets pass what only the import knows: the priority is genrun's own.
    snprintf(other, sizeof other, "%s",
             create(g, add(g, LINE("a", "x") "{\"priority\":5000,\"custom_id\":\"b\",\"method\":\"POST\","
                                             "\"url\":\"" CHAT
                                             "\",\"body\":{\"model\":\"echo\",\"messages\":[]}}\n")));
    ok(g, genrun_openai_prepare(g));
    assert_string_equal(of(g, id, "status"), "failed");
    assert_non_null(strstr(of(g, id, "errors"), "\"code\":\"invalid_json_line\""));
    assert_non_null(strstr(of(g, id, "errors"), "\"line\":2"));
    assert_string_equal(of(g, other, "status"), "failed");
    assert_non_null(
        strstr(of(g, other, "errors"), "{\"code\":\"invalid_request\",\"message\":\"priority is 5000: "));
    assert_non_null(strstr(of(g, other, "errors"), "\"line\":2"));
    assert_int_equal(sql(g, "SELECT count(*) FROM batch_job"), 0);
    assert_int_equal(sql(g, "SELECT count(*) FROM event WHERE event='batch.refused'"), 2);
    genrun_row *row = NULL;
    refused(g, genrun_openai_cancel(g, &row, id), GENRUN_CONFLICT,
            "Cannot cancel a batch with status 'failed'.");
}

static int stop_at_once(void *payload, int64_t done, int64_t total, const char *unit) {
    (void)payload, (void)done, (void)total, (void)unit;
    return 1;
}

static void test_retention(void **state) {
    genrun *g = *state, *other = NULL;
    genrun_row *row = NULL;
    genrun_options options = {.config = "keep.ini", .database = database, .create = 0};
    FILE *out = fopen("keep.ini", "w");
    assert_non_null(out);
    fputs("[retention]\nfailed_after = 1h\n", out);
    fclose(out);
    create(g, "file-none");
    create(g, "file-none");
    sql(g, "UPDATE openai_batch SET failed_at=1 WHERE id=(SELECT min(id) FROM openai_batch)");
    ok(other, genrun_open(&other, &options));
    for (int dry_run = 1; dry_run >= 0; dry_run--) {
        ok(other, genrun_job(other, &row, "retention", dry_run, NULL, NULL));
        assert_int_equal(genrun_row_integer(row, "found", -1), 1);
        genrun_row_free(row);
        assert_int_equal(sql(g, "SELECT count(*) FROM openai_batch"), 1 + dry_run);
    }
    genrun_close(other);
    unlink("keep.ini");
}

static void test_folder(void **state) {
    genrun *g = *state;
    genrun_file_options options = GENRUN_FILE_OPTIONS_INIT;
    genrun_row *row = NULL;
    int fd = open(files, O_CREAT | O_WRONLY, 0600), content = spool("x");
    close(fd);
    refused(g, genrun_file_add(g, &row, content, &options), GENRUN_CONFIG,
            "cannot be made (Not a directory): make it, or set data_dir");
    assert_null(row);
    int64_t removed;
    refused(g, genrun_file_sweep(g, &removed), GENRUN_DATABASE, "cannot be read");
    unlink(files);
    ok(g, genrun_file_add(g, &row, content, &options));
    genrun_row_free(row);
    close(content);
}

// What a crash in the middle leaves: an unopened batch job of a process that is gone.
static void test_begun_anew(void **state) {
    genrun *g = *state;
    char id[64], job[GENRUN_ID_SIZE];
    genrun_batch *batch = NULL;
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    snprintf(id, sizeof id, "%s", create(g, add(g, LINE("a", "x") LINE("b", "y"))));
    options.client_id = id;
    ok(g, genrun_batch_begin(g, &batch, &options));
    // While another is at it (a process that lives) it is left to that one.
    refused(g, genrun_openai_prepare(g), GENRUN_CONFLICT, "is being submitted just now");
    sql(g, "UPDATE batch_job SET writer='gone:0:1:1'");
    ok(g, genrun_openai_prepare(g));
    assert_string_equal(of(g, id, "status"), "in_progress");
    assert_int_equal(sql(g, "SELECT count(*) FROM generation"), 2);
    assert_int_equal(sql(g, "SELECT count(*) FROM batch_job"), 1);
    openai_job_id(id, job);
    assert_string_equal(of(g, id, "batch_job_id"), job);
    genrun_batch_abandon(batch);
    assert_int_equal(sql(g, "SELECT count(*) FROM batch_job"), 1);
    FILE *in = fmemopen((void *)(size_t)LINE("a", "x"), strlen(LINE("a", "x")), "r");
    options.client_id = NULL;
    assert_int_equal(handle_submit(g, NULL, job, NULL, in, "x", &options, stop_at_once, NULL),
                     GENRUN_CONFLICT);
    fclose(in);
}

static void test_cancel(void **state) {
    genrun *g = *state;
    genrun_row *row = NULL;
    char before[64], running[64], file[64];
    snprintf(file, sizeof file, "%s", add(g, LINE("a", "x") LINE("b", "y")));
    snprintf(before, sizeof before, "%s", create(g, file));
    ok(g, genrun_openai_cancel(g, &row, before));
    assert_string_equal(genrun_row_text(row, "status"), "cancelled");
    genrun_row_free(row);
    ok(g, genrun_openai_cancel(g, &row, before));
    genrun_row_free(row);
    ok(g, genrun_openai_prepare(g));
    assert_int_equal(sql(g, "SELECT count(*) FROM batch_job"), 0);
    // Nor can it be opened by what had begun to read its file before.
    genrun_batch *batch = NULL;
    genrun_batch_options options = GENRUN_BATCH_OPTIONS_INIT;
    genrun_spec spec = GENRUN_SPEC_INIT;
    char job[GENRUN_ID_SIZE];
    spec.prompt = "x";
    spec.model = "echo";
    options.client_id = before;
    ok(g, genrun_batch_begin(g, &batch, &options));
    ok(g, genrun_batch_add(batch, &spec));
    refused(g, genrun_batch_open(batch, job), GENRUN_CONFLICT, "the batch was cancelled");
    snprintf(running, sizeof running, "%s", create(g, file));
    ok(g, genrun_openai_prepare(g));
    ok(g, genrun_batch_process_next(g, &row, running, 0));
    genrun_row_free(row);
    ok(g, genrun_openai_cancel(g, &row, running));
    assert_string_equal(genrun_row_text(row, "status"), "cancelling");
    assert_non_null(genrun_row_text(row, "cancelling_at"));
    genrun_row_free(row);
    ok(g, genrun_openai_cancel(g, &row, running));
    genrun_row_free(row);
    sql(g,
        "UPDATE batch_job SET completed_at=completed_at-5000"); // the runner waits a second for what a person adds
    run_all(g);
    assert_string_equal(of(g, running, "status"), "cancelled");
    assert_string_equal(of(g, running, "completed"), "1");
    assert_string_equal(of(g, running, "failed"), "1");
    assert_non_null(
        strstr(content_of(g, result_id(running, "error")), "\"error\":{\"code\":\"batch_cancelled\""));
    assert_non_null(strstr(content_of(g, result_id(running, "output")), "\"custom_id\":\"a\""));
}

static void test_window(void **state) {
    genrun *g = *state;
    genrun_row *row = NULL;
    char before[64], running[64], done[64], file[64];
    genrun_openai_options options = GENRUN_OPENAI_OPTIONS_INIT;
    snprintf(file, sizeof file, "%s", add(g, LINE("a", "x") LINE("b", "y")));
    options.input_file_id = file;
    options.endpoint = CHAT;
    options.completion_window = "none";
    options.output_expires_after = 3600;
    snprintf(done, sizeof done, "%s", create_as(g, &options));
    assert_string_equal(of(g, done, "expires_at"), "NULL");
    ok(g, genrun_openai_prepare(g));
    run_all(g);
    options.completion_window = "2h";
    snprintf(running, sizeof running, "%s", create_as(g, &options));
    ok(g, genrun_openai_get(g, &row, running));
    assert_int_equal(genrun_row_integer(row, "expires_at", 0) - genrun_row_integer(row, "created_at", 0),
                     7200000);
    genrun_row_free(row);
    ok(g, genrun_openai_prepare(g));
    snprintf(before, sizeof before, "%s", create_as(g, &options));
    ok(g, genrun_batch_process_next(g, &row, running, 0));
    genrun_row_free(row);
    ok(g, genrun_job(g, &row, "expire", 0, NULL, NULL));
    assert_int_equal(genrun_row_integer(row, "found", -1), 0);
    genrun_row_free(row);
    sql(g, "UPDATE openai_batch SET expires_at=1");
    ok(g, genrun_job(g, &row, "expire", 1, NULL, NULL));
    assert_int_equal(genrun_row_integer(row, "found", -1), 2);
    genrun_row_free(row);
    ok(g, genrun_job(g, &row, "expire", 0, NULL, NULL));
    assert_int_equal(genrun_row_integer(row, "fixed", -1), 2);
    genrun_row_free(row);
    assert_string_equal(of(g, done, "status"), "completed");
    assert_string_equal(of(g, before, "status"), "expired");
    assert_string_equal(of(g, running, "status"), "finalizing");
    refused(g, genrun_openai_cancel(g, &row, running), GENRUN_CONFLICT, "with status 'finalizing'");
    sql(g, "UPDATE batch_job SET completed_at=completed_at-5000");
    run_all(g);
    assert_string_equal(of(g, running, "status"), "expired");
    assert_string_equal(of(g, running, "cancelling_at"), "NULL");
    assert_non_null(strstr(
        content_of(g, result_id(running, "error")),
        "\"response\":null,\"error\":{\"code\":\"batch_expired\",\"message\":\"This request could not be "
        "executed before the completion window expired.\"}"));
    // Its time over, a result file is gone; the items are not.
    ok(g, genrun_file_get(g, &row, result_id(done, "output")));
    genrun_row_free(row);
    sql(g, "UPDATE batch_count SET last_activity_at=1");
    sql(g, "UPDATE batch_job SET completed_at=1");
    refused(g, genrun_file_get(g, &row, result_id(done, "output")), GENRUN_NOT_FOUND, "No such File object");
}

// ---- lists of batches ----

static void test_batch_lists(void **state) {
    genrun *g = *state;
    struct ids all = {.count = 0}, page = {.count = 0};
    genrun_openai_options options = GENRUN_OPENAI_OPTIONS_INIT;
    char made[3][64];
    const char *after = NULL;
    int more = 0;
    options.input_file_id = "file-none";
    options.endpoint = CHAT;
    for (int i = 0; i < 3; i++) {
        options.user = i == 1 ? "bob" : NULL;
        snprintf(made[i], sizeof made[i], "%s", create_as(g, &options));
    }
    // Those that are made while it is paged come before.
    for (int i = 2; i >= 0; i--) {
        page.count = 0;
        ok(g, genrun_openai_list(g, after, 1, &more, note_id, &page));
        assert_true(page.count == 1 && more == (i > 0));
        assert_string_equal(page.id[0], made[i]);
        after = made[i];
        create_as(g, &options);
    }
    ok(g, genrun_openai_list(g, NULL, 0, &more, note_id, &all));
    assert_int_equal(all.count, 6);
    refused(g, genrun_openai_list(g, NULL, 101, &more, note_id, &all), GENRUN_INVALID, "use 1 to 100");
    refused(g, genrun_openai_list(g, "x", 1, &more, note_id, &all), GENRUN_INVALID,
            "x is not the id of a batch");
    host_scope(g, "bob");
    all.count = 0;
    ok(g, genrun_openai_list(g, NULL, 0, &more, note_id, &all));
    assert_int_equal(all.count, 1);
    refused(g, genrun_openai_prepare(g), GENRUN_NOT_FOUND, "as an admin");
    host_scope(g, NULL);
}

// No question reads a table from end to end.
static void test_plans(void **state) {
    genrun *g = *state;
    static const char *const questions[][2] = {
        {"SELECT * FROM openai_batches WHERE id='x'", "o USING INDEX sqlite_autoindex_openai_batch_1 (id=?)"},
        {"SELECT * FROM openai_batches WHERE id<'x' ORDER BY id DESC LIMIT 5",
         "o USING INDEX sqlite_autoindex_openai_batch_1 (id<?)"},
        {"SELECT * FROM openai_batches WHERE user_id='u' AND id<'x' ORDER BY id DESC LIMIT 5",
         "openai_batch_user (user_id=? AND id<?)"},
        {"SELECT 1 FROM openai_batch WHERE window_open=1 AND expires_at IS NOT NULL AND expires_at<=5 LIMIT "
         "1",
         "openai_batch_window (expires_at"},
        {"SELECT id FROM file WHERE id<'x' AND user_id='u' ORDER BY id DESC LIMIT 5",
         "file_user (user_id=? AND id<?)"},
        {"SELECT id FROM file WHERE id<'x' AND purpose='p' ORDER BY id DESC LIMIT 5",
         "file_purpose (purpose=? AND id<?)"},
        {"SELECT id FROM openai_batch WHERE input_file_id='f' AND id<'x' ORDER BY id DESC LIMIT 1",
         "openai_batch_file (input_file_id=? AND id<?)"},
    };
    create(g, "file-none");
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        char plan[2048] = "", text[512];
        sqlite3_stmt *s = NULL;
        snprintf(text, sizeof text, "EXPLAIN QUERY PLAN %s", questions[i][0]);
        assert_int_equal(sqlite3_prepare_v2(db_handle(g->db), text, -1, &s, NULL), SQLITE_OK);
        while (sqlite3_step(s) == SQLITE_ROW) {
            const char *step = (const char *)sqlite3_column_text(s, 3);
            if (strlen(plan) + strlen(step) + 2 < sizeof plan)
                strcat(strcat(plan, step), "\n");
        }
        sqlite3_finalize(s);
        if (!strstr(plan, questions[i][1]) || strstr(plan, "SCAN") || strstr(plan, "TEMP B-TREE"))
            fail_msg("%s:\n%s", questions[i][0], plan);
    }
}

int main(void) {
#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, ground_enter, ground_leave)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_many_problems),
        WITH_PLACE(test_files),
        WITH_PLACE(test_file_lists),
        WITH_PLACE(test_strays),
        WITH_PLACE(test_file_expiry),
        WITH_PLACE(test_folder_of_another),
        WITH_PLACE(test_requests),
        WITH_PLACE(test_missing_file),
        WITH_PLACE(test_sent_again),
        WITH_PLACE(test_whole_way),
        WITH_PLACE(test_refused_file),
        WITH_PLACE(test_begun_anew),
        WITH_PLACE(test_cancel),
        WITH_PLACE(test_window),
        WITH_PLACE(test_batch_lists),
        WITH_PLACE(test_plans),
        WITH_PLACE(test_retention),
        WITH_PLACE(test_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
