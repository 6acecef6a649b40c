// SPDX-License-Identifier: MIT
// Forms: what of each is handed on, or why it is refused, the same in whatever pieces it comes.
#include "base/buf.h"
#include "base/text.h"
#include "http/multipart.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define FORM "multipart/form-data; boundary=b"
#define HEAD "Content-Disposition: form-data; name=\"a\"\r\n\r\n"
#define NAMED(rest) "--b\r\nContent-Disposition: form-data; " rest "\r\n\r\nx\r\n--b--\r\n"

// ---- what happened, as one text: "(name|filename|type)content;" for each part, "." at the end ----

static int on_part(void *payload, const struct multipart_part *part, struct err *e) {
    (void)e;
    buf_format(payload, "(%s|%s|%s)", part->name, part->filename != NULL ? part->filename : "-",
               part->type != NULL ? part->type : "-");
    return ERR_OK;
}

static int on_bytes(void *payload, const char *bytes, size_t length, struct err *e) {
    (void)e;
    assert_true(length > 0);
    buf_append(payload, bytes, length);
    return ERR_OK;
}

static int on_part_end(void *payload, struct err *e) {
    (void)e;
    buf_char(payload, ';');
    return ERR_OK;
}

static int on_end(void *payload, struct err *e) {
    (void)e;
    buf_char(payload, '.');
    return ERR_OK;
}

static struct multipart_sink sink_into(struct buf *out) {
    buf_init(out, BUF_UNLIMITED);
    return (struct multipart_sink){on_part, on_bytes, on_part_end, on_end, out};
}

// Feeds the body up to byte `first`, then in pieces of `piece`; a refusal is "!message" at the end.
static void read_form(struct buf *out, const char *type, const char *body, size_t length, size_t first,
                      size_t piece) {
    struct multipart_sink sink = sink_into(out);
    struct multipart *m = NULL;
    struct err e = {0};
    int code = multipart_open(&m, type, &sink, &e);
    for (size_t at = 0, n = first; at < length && code == ERR_OK; at += n, n = piece) {
        n = n < length - at ? n : length - at;
        char *copy = malloc(n ? n : 1); // of just this size, for the sanitizer
        memcpy(copy, body + at, n);
        code = multipart_feed(m, copy, n, &e);
        free(copy);
    }
    if (m != NULL && code != ERR_OK) { // it stays refused
        assert_int_equal(multipart_feed(m, "x", 1, NULL), ERR_INVALID);
        assert_int_equal(multipart_finish(m, NULL), ERR_INVALID);
    }
    if (code == ERR_OK)
        code = multipart_finish(m, &e);
    if (code != ERR_OK) {
        assert_int_equal(code, ERR_INVALID);
        buf_format(out, "!%s", e.message);
    }
    multipart_free(m);
}

// With every cut in two, in single bytes, and in small pieces.
static void check_form(const char *type, const char *body, size_t length, const char *expected) {
    struct buf out;
    for (size_t first = 0; first <= length; first++) {
        read_form(&out, type, body, length, first, length);
        if (strcmp(buf_borrow(&out), expected) != 0)
            fail_msg("cut at %zu: %s\n  instead of %s", first, out.data, expected);
        buf_free(&out);
    }
    for (size_t piece = 1; piece < 8; piece++) {
        read_form(&out, type, body, length, piece, piece);
        if (strcmp(buf_borrow(&out), expected) != 0)
            fail_msg("pieces of %zu: %s\n  instead of %s", piece, out.data, expected);
        buf_free(&out);
    }
}

static void test_read(void **state) {
    (void)state;
    static const struct {
        const char *type, *body, *expected;
    } cases[] = {
        {FORM, "--b\r\n" HEAD "x\r\n--b--\r\n", "(a|-|-)x;."},
        {FORM, "--b\r\n" HEAD "x\r\n--b--", "(a|-|-)x;."},
        {FORM, "--b--", "."},
        {FORM, "\r\n--b\r\n" HEAD "x\r\n--b--", "(a|-|-)x;."},
        {FORM, "preamble --b\r\n-\r\n--\r\n--b \t\r\n" HEAD "x\r\n--b--epilogue\r\n--b\r\n" HEAD,
         "(a|-|-)x;."},
        {FORM, "--b\r\n" HEAD "\r\n--b--", "(a|-|-);."},
        {FORM, "--b\r\n" HEAD "--b--", "(a|-|-);."}, // RFC 2046: a part without a body
        {FORM, "--b\r\n" HEAD "--c\r\n--b--", "(a|-|-)--c;."},
        {FORM, "--b\r\n" HEAD "\r\r\n--\r\n\n\r\n--\r\n-b\r\n--b--", "(a|-|-)\r\r\n--\r\n\n\r\n--\r\n-b;."},
        {FORM, "--b\r\n" HEAD "\r\n\r\n--b--", "(a|-|-)\r\n;."},
        {FORM, "--b\r\n" HEAD "\n--b\r\n--b--", "(a|-|-)\n--b;."},
        {FORM, "--b\r\n" HEAD "1\r\n--b\r\n" HEAD "2\r\n--b\r\n" HEAD "\r\n--b--",
         "(a|-|-)1;(a|-|-)2;(a|-|-);."},
        {FORM,
         "--b\r\ncontent-type:text/csv; charset=utf-8 \r\nX-Other: "
         "1\r\nCONTENT-DISPOSITION:form-data;name=file;"
         "filename=in.csv\r\nContent-Transfer-Encoding: binary\r\n\r\na,b\r\n1,2\r\n\r\n--b--",
         "(file|in.csv|text/csv; charset=utf-8)a,b\r\n1,2\r\n;."},
        {"Multipart/Form-Data ; charset=utf-8; Boundary=\"b\"", "--b\r\n" HEAD "x\r\n--b--", "(a|-|-)x;."},
        {"multipart/form-data; boundary=\"a b'()+_,-./:=?c\";",
         "--a b'()+_,-./:=?c\r\n" HEAD "x\r\n--a b'()+_,-./:=?c--", "(a|-|-)x;."},
        {"multipart/form-data; boundary=----formdata-undici-0539",
         "------formdata-undici-0539\r\n" HEAD
         "----\r\n------formdata-undici-0538\r\n------formdata-undici-0539--",
         "(a|-|-)----\r\n------formdata-undici-0538;."},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check_form(cases[i].type, cases[i].body, strlen(cases[i].body), cases[i].expected);
    check_form(FORM, "--b\r\n" HEAD "\0\r\n--\0b\r\n--b--", strlen("--b\r\n" HEAD) + 14, "(a|-|-)");
}

static void test_names(void **state) {
    (void)state;
    static const struct {
        const char *body, *expected;
    } cases[] = {
        {NAMED("name=\"expires_after[anchor]\""), "(expires_after[anchor]|-|-)x;."},
        {NAMED("name=\"a\\\"b\\\\c%22d%2\""), "(a\"b\\c\"d%2|-|-)x;."},
        {NAMED("name=\"\xC3\xA9\""), "(\xC3\xA9|-|-)x;."},
        {NAMED("name=a;"), "(a|-|-)x;."},
        {NAMED("name=a; filename=\"\""), "(a||-)x;."},
        {NAMED("name=a; filename=\"100%25 of it; \xE2\x82\xAC.jsonl\""),
         "(a|100%25 of it; \xE2\x82\xAC.jsonl|-)x;."},
        {NAMED("name=a; filename=\"../../etc/passwd\""), "(a|passwd|-)x;."},
        {NAMED("name=a; filename=\"C:\\dir\\in.csv\""), "(a|in.csv|-)x;."},
        {NAMED("name=a; filename=\"..\""), "(a||-)x;."},
        {NAMED("name=a; filename=\"a/.\""), "(a||-)x;."},
        {NAMED("name=a; filename=\"/\""), "(a||-)x;."},
        {NAMED("name=a; filename=\"a%0D%0aX: y\""), "(a|a\\r\\nX: y|-)x;."},
        {NAMED("name=a; filename=\"a\xC2\x9B.csv\xE2\x80\xAE\""), "(a|a\\x9b.csv\\u202e|-)x;."},
        {NAMED("name=a; filename*=UTF-8''na%C3%AFve%2fx.csv"), "(a|x.csv|-)x;."},
        {NAMED("name=a; filename*=utf-8'en'x.csv; filename=y.csv"), "(a|y.csv|-)x;."},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check_form(FORM, cases[i].body, strlen(cases[i].body), cases[i].expected);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *type, *body, *says;
    } cases[] = {
        {NULL, "", "the Content-Type is not multipart/form-data"},
        {"multipart/mixed; boundary=b", "", "the Content-Type is not multipart/form-data"},
        {"multipart/form-datax; boundary=b", "", "the Content-Type is not multipart/form-data"},
        {"multipart/form-data", "", "has no boundary"},
        {"multipart/form-data; charset=utf-8", "", "has no boundary"},
        {"multipart/form-data; boundary=", "", "cannot be read"},
        {"multipart/form-data; boundary=\"b", "", "cannot be read"},
        {"multipart/form-data, boundary=b", "", "is not multipart/form-data"},
        {"multipart/form-data; boundary=\"\"", "", "a boundary that is not allowed"},
        {"multipart/form-data; boundary=\"b \"", "", "a boundary that is not allowed"},
        {"multipart/form-data; boundary=\"b\r\nc\"", "", "a boundary that is not allowed"},
        {"multipart/form-data; boundary=\xC3\xA9", "", "a boundary that is not allowed"},
        {"multipart/form-data; boundary=b; boundary=c", "", "two boundaries"},
        {"multipart/form-data; "
         "boundary=12345678901234567890123456789012345678901234567890123456789012345678901",
         "", "a boundary that is not allowed: give one of 1 to 70"},
        {FORM, "", "the form has no part: its body is empty, or has another boundary"},
        {FORM, "--c\r\n" HEAD "x\r\n--c--", "the form has no part"},
        {FORM, "{\"json\":true}", "the form has no part"},
        {FORM, "--b\r\n" HEAD "x", "the form ends in part 1, before its last boundary: it was cut"},
        {FORM, "--b\r\n" HEAD "x\r\n--b", "the form ends in part 1"},
        {FORM, "--b\r\n" HEAD "x\r\n--b\r\n", "the form ends in part 2"},
        {FORM, "--b\r\nContent-Disp", "the form ends in part 1"},
        {FORM, "--bc\r\n", "goes on behind its boundary"},
        {FORM, "--b-c\r\n", "goes on behind its boundary"},
        {FORM, "--b\n" HEAD, "goes on behind its boundary"},
        {FORM, "--b\r\r\n" HEAD, "goes on behind its boundary"},
        {FORM, "--b\r\n\r\nx\r\n--b--", "part 1 of the form: has no name: give it Content-Disposition"},
        {FORM, "--b\r\nContent-Type: text/plain\r\n\r\nx", "part 1 of the form: has no name"},
        {FORM, "--b\r\nContent-Disposition: form-data; name=a\n\r\nx", "ends without CR"},
        {FORM, "--b\r\n\n", "ends without CR"},
        {FORM, "--b\r\nContent-Disposition : form-data; name=a\r\n\r\n",
         "has a header line that cannot be read"},
        {FORM, "--b\r\nContent-Disposition: form-data;\r\n name=a\r\n\r\n", "has no name"},
        {FORM, "--b\r\nname\r\n\r\n", "has a header line that cannot be read"},
        {FORM, "--b\r\nX: \x01\r\n\r\n", "a control character in its headers"},
        {FORM, "--b\r\nX: a\rb\r\n\r\n", "a control character in its headers"},
        {FORM, NAMED("name=a; name=b"), "has a Content-Disposition that cannot be read"},
        {FORM, NAMED("name=a; filename=b; filename=c"), "has a Content-Disposition that cannot be read"},
        {FORM, NAMED("name=\"a"), "has a Content-Disposition that cannot be read"},
        {FORM, NAMED("name=a b"), "has a Content-Disposition that cannot be read"},
        {FORM, NAMED("=a"), "has a Content-Disposition that cannot be read"},
        {FORM, NAMED("name=a; filename*=latin1''x"), "has a Content-Disposition that cannot be read"},
        {FORM, NAMED("name=a; filename*=UTF-8''%ff"), "has a Content-Disposition that cannot be read"},
        {FORM, "--b\r\nContent-Disposition: attachment; name=a\r\n\r\n",
         "Content-Disposition that cannot be read"},
        {FORM,
         "--b\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b\r\n\r\n",
         "has two Content-Dispositions"},
        {FORM, NAMED("filename=a"), "has no name"},
        {FORM, NAMED("name=\"\""), "has an empty name"},
        {FORM, NAMED("name=\"a%0Ab\""), "a control character in its name"},
        {FORM, NAMED("name=\"\xFF\""), "has a name that is not UTF-8"},
        {FORM, NAMED("name=a; filename=\"\xFF\""), "has a file name that is not UTF-8"},
        {FORM, "--b\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\n",
         "is encoded by its Content-Transfer-Encoding"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf whole;
        read_form(&whole, cases[i].type, cases[i].body, strlen(cases[i].body), 0, SIZE_MAX);
        const char *says = strchr(buf_borrow(&whole), '!');
        if (says == NULL || strstr(says, cases[i].says) == NULL)
            fail_msg("%s\n  says %s\n  not %s", cases[i].body, buf_borrow(&whole), cases[i].says);
        check_form(cases[i].type, cases[i].body, strlen(cases[i].body), whole.data);
        buf_free(&whole);
    }
}

static void test_limits(void **state) {
    (void)state;
    struct buf body, out;
    buf_init(&body, BUF_UNLIMITED);
    for (int i = 0; i <= MULTIPART_PARTS; i++) {
        buf_text(&body, "--b\r\n" HEAD "x\r\n");
        if (i < MULTIPART_PARTS - 1)
            continue;
        size_t length = body.length;
        buf_text(&body, "--b--");
        read_form(&out, FORM, body.data, body.length, 100, 100);
        assert_true((strstr(out.data, "more than 32 parts") != NULL) == (i == MULTIPART_PARTS));
        buf_free(&out);
        body.length = length;
    }
    static const struct {
        const char *begin;
        size_t count;
        const char *says; // NULL: fine
    } longs[] = {
        {"--b\r\nContent-Disposition: form-data; name=\"", MULTIPART_NAME, NULL},
        {"--b\r\nContent-Disposition: form-data; name=\"", MULTIPART_NAME + 1,
         "a name of more than 200 bytes"},
        {"--b\r\nContent-Disposition: form-data; name=a; filename=\"", MULTIPART_FILENAME, NULL},
        {"--b\r\nContent-Disposition: form-data; name=a; filename=\"", MULTIPART_FILENAME + 1,
         "a file name of more than 255 bytes"},
        {"--b\r\nContent-Disposition: form-data; name=a; other=\"", MULTIPART_HEADERS - 60, NULL},
        {"--b\r\nContent-Disposition: form-data; name=a; other=\"", MULTIPART_HEADERS,
         "take more than 8192 bytes"},
        {"--b\r\n", 100000000, "take more than 8192 bytes"}, // and the rest is not waited for
    };
    for (size_t i = 0; i < COUNT(longs); i++) {
        buf_clear(&body);
        buf_text(&body, longs[i].begin);
        for (size_t n = 0; n < longs[i].count && n < 2 * MULTIPART_HEADERS; n++)
            buf_char(&body, 'x');
        if (longs[i].count < 2 * MULTIPART_HEADERS)
            buf_text(&body, "\"\r\n\r\nx\r\n--b--");
        read_form(&out, FORM, body.data, body.length, 1000, 1000);
        if (longs[i].says != NULL ? strstr(out.data, longs[i].says) == NULL : strchr(out.data, '!') != NULL)
            fail_msg("%zu: %s", i, out.data);
        buf_free(&out);
    }
    buf_free(&body);
}

// ---- a sink that refuses ----

static int refuse_part(void *payload, const struct multipart_part *part, struct err *e) {
    (void)payload;
    return strcmp(part->name, "a") == 0 ? err_set(e, ERR_CONFLICT, "no a") : ERR_OK;
}

static void test_sink_refuses(void **state) {
    (void)state;
    static const char body[] = "--b\r\n" HEAD "x\r\n--b\r\n" HEAD "x\r\n--b--";
    struct buf out;
    struct multipart_sink sink = sink_into(&out);
    struct multipart *m = NULL;
    struct err e = {0};
    sink.on_part = refuse_part;
    assert_int_equal(multipart_open(&m, FORM, &sink, &e), ERR_OK);
    assert_int_equal(multipart_feed(m, body, strlen(body), &e), ERR_CONFLICT);
    assert_string_equal(e.message, "no a");
    assert_int_equal(multipart_finish(m, &e), ERR_CONFLICT);
    assert_string_equal(e.message, "no a");
    assert_int_equal(out.length, 0);
    multipart_free(m);
    multipart_free(NULL);
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),   cmocka_unit_test(test_names),        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_sink_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
