// SPDX-License-Identifier: MIT
// Uploads: what lands on disk, what is refused and how it is said, and that nothing stays behind.
#include "base/buf.h"
#include "base/log.h"
#include "http/upload.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define FORM "multipart/form-data; boundary=b"
#define FIELD(name, value) "--b\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
#define FILE_PART(content)                                                                                   \
    "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n"                        \
    "Content-Type: application/jsonl\r\n\r\n" content "\r\n"

struct ground {
    char folder[64];
};

static int set_up(void **state) {
    struct ground *g = calloc(1, sizeof *g);
    strcpy(g->folder, "/tmp/test_upload.XXXXXX");
    if (mkdtemp(g->folder) == NULL)
        return -1;
    *state = g;
    log_setup(LOG_LEVEL_ERROR, false);
    return 0;
}

static int tear_down(void **state) {
    struct ground *g = *state;
    int left = rmdir(g->folder); // nothing else was left behind
    free(g);
    return left;
}

static struct upload *taken(const char *folder, const char *type, const char *body, int64_t limit) {
    struct upload *u = upload_open(folder, type, limit);
    for (const char *c = body; *c != '\0'; c++)
        upload_feed(u, c, 1);
    upload_finish(u);
    return u;
}

static void assert_content(struct upload *u, const char *content) {
    char got[200] = "";
    int fd = upload_file(u);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, got, sizeof got - 1), strlen(content));
    assert_string_equal(got, content);
    assert_int_equal(upload_bytes(u), strlen(content));
}

static void test_forms(void **state) {
    const struct ground *g = *state;
    struct upload *u = taken(g->folder, FORM,
                             FIELD("purpose", "batch") FILE_PART("{\"a\":1}\r\n\n")
                                 FIELD("expires_after[anchor]", "created_at") "--b--",
                             100);
    assert_null(upload_refused(u, NULL, NULL));
    assert_content(u, "{\"a\":1}\r\n\n");
    assert_content(u, "{\"a\":1}\r\n\n"); // from its begin again
    assert_string_equal(upload_filename(u), "in.jsonl");
    assert_string_equal(upload_type(u), "application/jsonl");
    assert_string_equal(upload_field(u, "purpose"), "batch");
    assert_string_equal(upload_field(u, "expires_after[anchor]"), "created_at");
    assert_null(upload_field(u, "file"));
    assert_int_equal(upload_fields(u)->count, 2);
    struct stat st;
    assert_int_equal(fstat(upload_file(u), &st), 0);
    assert_int_equal(st.st_nlink, 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(fcntl(upload_file(u), F_GETFD), FD_CLOEXEC);
    upload_free(u);

    u = taken(g->folder, FORM, FIELD("purpose", "batch") "--b--", 100);
    assert_null(upload_refused(u, NULL, NULL));
    assert_int_equal(upload_file(u), -1);
    upload_free(u);
    u = taken(g->folder, FORM, FIELD("file", "x") "--b--", 100);
    assert_content(u, "x");
    assert_null(upload_filename(u));
    upload_free(u);
    upload_free(NULL);
}

static void test_raw(void **state) {
    const struct ground *g = *state;
    static const char *const types[] = {NULL, "", "application/jsonl", "application/x-www-form-urlencoded"};
    for (size_t i = 0; i < COUNT(types); i++) {
        struct upload *u = taken(g->folder, types[i], "--b\r\nx", 6);
        assert_null(upload_refused(u, NULL, NULL));
        assert_content(u, "--b\r\nx");
        assert_null(upload_filename(u));
        upload_free(u);
    }
    struct upload *u = taken(g->folder, NULL, "", 6);
    assert_content(u, "");
    upload_free(u);
    char bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)i;
    u = upload_open(g->folder, NULL, 256);
    upload_feed(u, bytes, sizeof bytes);
    upload_finish(u);
    char got[256];
    assert_int_equal(read(upload_file(u), got, sizeof got), sizeof got);
    assert_memory_equal(got, bytes, sizeof got);
    upload_free(u);
}

static void test_refused(void **state) {
    const struct ground *g = *state;
    static const struct {
        const char *type, *body;
        int status;
        const char *code, *says;
    } cases[] = {
        {NULL, "12345678901", 413, "file_too_large", "too large: a file of at most 10 bytes is taken"},
        {FORM, FILE_PART("12345678901") "--b--", 413, "file_too_large", "too large"},
        {FORM, FILE_PART("x"), 400, "invalid_form", "before its last boundary"},
        {"multipart/mixed; boundary=b", "--b--", 400, "invalid_form", "is not multipart/form-data"},
        {"multipart/form-data", "--b--", 400, "invalid_form", "no boundary"},
        {FORM, FILE_PART("x") FILE_PART("y") "--b--", 400, "invalid_form", "two parts 'file'"},
        {FORM, "--b\r\nContent-Disposition: form-data; name=data; filename=x\r\n\r\n\r\n--b--", 400,
         "invalid_form", "a file in its part 'data': name that part 'file'"},
        {FORM, FIELD("purpose", "a") FIELD("purpose", "a") "--b--", 400, "invalid_form",
         "'purpose' is given twice"},
        {FORM, FIELD("purpose", "\xFF") "--b--", 400, "invalid_form", "field 'purpose' is not UTF-8 text"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int status = 0;
        const char *code = NULL;
        struct upload *u = taken(g->folder, cases[i].type, cases[i].body, 10);
        const char *why = upload_refused(u, &status, &code);
        if (why == NULL || strstr(why, cases[i].says) == NULL)
            fail_msg("%s: %s", cases[i].body, why);
        assert_int_equal(status, cases[i].status);
        assert_string_equal(code, cases[i].code);
        assert_int_equal(upload_file(u), -1);
        upload_free(u);
    }
}

// What never ends is refused before it ends.
static void test_floods(void **state) {
    const struct ground *g = *state;
    static const char *const begins[] = {"preamble", FIELD("a", "x") "--b--epilogue",
                                         "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n"};
    static const int statuses[] = {413, 413, 413};
    char chunk[4096];
    memset(chunk, 'x', sizeof chunk);
    for (size_t i = 0; i < COUNT(begins); i++) {
        int status = 0;
        int64_t fed = 0;
        struct upload *u = upload_open(g->folder, FORM, 1000);
        upload_feed(u, begins[i], strlen(begins[i]));
        while (upload_refused(u, &status, NULL) == NULL && fed < 10 * UPLOAD_FORM_BYTES) {
            upload_feed(u, chunk, sizeof chunk);
            fed += (int64_t)sizeof chunk;
        }
        assert_int_equal(status, statuses[i]);
        assert_true(fed <= UPLOAD_FORM_BYTES + 8192);
        assert_true(i < 2 || fed <= UPLOAD_FIELD_BYTES + 8192);
        upload_feed(u, chunk, sizeof chunk);
        upload_finish(u);
        upload_free(u);
    }
}

static void test_no_folder(void **state) {
    (void)state;
    int status = 0;
    const char *code = NULL;
    struct upload *u = taken("/tmp/no such folder", FORM, FILE_PART("x") "--b--", 10);
    const char *why = upload_refused(u, &status, &code);
    assert_int_equal(status, 507);
    assert_string_equal(code, "storage_failed");
    assert_non_null(strstr(why, "the server's log tells"));
    assert_null(strstr(why, "/tmp"));
    assert_int_equal(upload_file(u), -1);
    upload_free(u);
}

static void test_disk_full(void **state) {
    const struct ground *g = *state;
    struct rlimit before, small;
    int status = 0;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 5;
    signal(SIGXFSZ, SIG_IGN); // as the program does
    setrlimit(RLIMIT_FSIZE, &small);
    struct upload *u = taken(g->folder, FORM, FILE_PART("123456789") "--b--", 10);
    setrlimit(RLIMIT_FSIZE, &before);
    const char *why = upload_refused(u, &status, NULL);
    assert_int_equal(status, 507);
    assert_non_null(strstr(why, "its file cannot be written (File too large)"));
    upload_free(u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_forms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_raw, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_floods, set_up, tear_down),
        cmocka_unit_test(test_no_folder),
        cmocka_unit_test_setup_teardown(test_disk_full, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
