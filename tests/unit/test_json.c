// SPDX-License-Identifier: MIT
// base/json, reading: what is refused and why, the getters, the raw functions. Random
// mutations are judged by a second parser (SQLite's), because rows are checked by it too.
#include "base/json.h"
#include "base/text.h"
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])
#define TEXT(s) s, sizeof(s) - 1

static char *repeat(const char *unit, size_t count) {
    size_t length = strlen(unit);
    char *text = malloc(length * count + 1);
    for (size_t i = 0; i < count; i++) {
        memcpy(text + i * length, unit, length);
    }
    text[length * count] = 0;
    return text;
}

static void test_accepted(void **state) {
    (void)state;
    static const char *const good[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "10",
        "-1.5",
        "1e3",
        "1E+3",
        "1e-3",
        "0.0",
        "-0.5e-10",
        "\"\"",
        "\"x\"",
        " \t\r\n1 \t\r\n",
        "[]",
        "[ ]",
        "{}",
        "{ }",
        "[[],{},[[]]]",
        "{\"a\":{\"b\":[1,2,{\"c\":null}]}}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uFFFF\\ud83d\\ude00\"",
        "\"caf\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80\"",
        "\"\x7f\xc2\x80\"", // DEL and C1 are legal in JSON
        "1e308",
        "1e-400",
        "123456789012345678901234567890",
        "0.1234567890123456789012345678901234567890",
        "{\"\":1,\" \":2}",
        "\"\xef\xbb\xbf\"",
        "[1e308,-1e308,1.7976931348623157e308]",
        "0.000000000000000000000000000000000000000000000000000000001e360",
        "0e999999999999999999",
        "1e-99999999999999999",
        "[0.00000000000000000000000000000000000000000000000000000000000e0]",
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        struct err e = {0};
        cJSON *tree = NULL;
        size_t length = strlen(good[i]);
        char *exact = malloc(length); // no NUL at the end: a byte read beyond is seen by the sanitizer
        memcpy(exact, good[i], length);
        if (json_parse(exact, length, &tree, &e)) {
            fail_msg("%s: %s", good[i], e.message);
        }
        assert_non_null(tree);
        cJSON_Delete(tree);
        free(exact);
    }
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t length;
        unsigned at; // the byte named
        const char *reason;
    } cases[] = {
        {TEXT(""), 1, "the text ends"},
        {TEXT("  "), 3, "the text ends"},
        {TEXT("["), 2, "the text ends"},
        {TEXT("{"), 2, "a key"},
        {TEXT("[1,]"), 4, "a value should"},
        {TEXT("[,1]"), 2, "a value should"},
        {TEXT("[1 2]"), 4, "a comma or ]"},
        {TEXT("[1}"), 3, "a comma or ]"},
        {TEXT("{\"a\":1]"), 7, "a comma or }"},
        {TEXT("{\"a\":1,}"), 8, "a key"},
        {TEXT("{,}"), 2, "a key"},
        {TEXT("{\"a\"}"), 5, "a colon"},
        {TEXT("{\"a\":}"), 6, "a value should"},
        {TEXT("{\"a\" 1}"), 6, "a colon"},
        {TEXT("{a:1}"), 2, "a key"},
        {TEXT("{'a':1}"), 2, "a key"},
        {TEXT("{1:1}"), 2, "a key"},
        {TEXT("]"), 1, "a value should"},
        {TEXT("[[]"), 4, "a comma or ]"},
        {TEXT("{} x"), 4, "something follows"},
        {TEXT("1 2"), 3, "something follows"},
        {TEXT("{}{}"), 3, "something follows"},
        {TEXT("{}\0"), 3, "a NUL byte"},
        {TEXT("\0{}"), 1, "a NUL byte"},
        {TEXT("\"a\0b\""), 3, "a NUL byte"},
        {TEXT("\"ab\\u0000cd\""), 4, "\\u0000 cannot be stored"},
        {TEXT("{\"\\u0000\":1}"), 3, "\\u0000 cannot be stored"},
        {TEXT("\xef\xbb\xbf{}"), 1, "not a JSON value: remove a byte order mark"},
        {TEXT("\"a\nb\""), 3, "a raw control character"},
        {TEXT("\"\x1f\""), 2, "a raw control character"},
        {TEXT("{\"\t\":1}"), 3, "a raw control character"},
        {TEXT("\"abc"), 5, "the text ends inside a string"},
        {TEXT("\"abc\\"), 5, "an unknown escape"},
        {TEXT("\"\\x41\""), 2, "an unknown escape"},
        {TEXT("\"\\\0\""), 2, "an unknown escape"},
        {TEXT("\"\\u12\""), 2, "\\u without four"},
        {TEXT("\"\\u12g4\""), 2, "\\u without four"},
        {TEXT("\"\\u"), 2, "\\u without four"},
        {TEXT("\"\\u004"), 2, "\\u without four"},
        {TEXT("\"\\ud83d\""), 2, "half a surrogate"},
        {TEXT("\"\\ud83dx\""), 2, "half a surrogate"},
        {TEXT("\"\\ud83d\\n0000\""), 2, "half a surrogate"},
        {TEXT("\"\\ud83d\\ud83d\""), 2, "half a surrogate"},
        {TEXT("\"\\ude00\\ud83d\""), 2, "half a surrogate"},
        {TEXT("\"\\ud83d\\u0041\""), 2, "half a surrogate"},
        {TEXT("\"\\ud83d\\ude0"), 2, "half a surrogate"},
        {TEXT("\"\xff\""), 2, "invalid UTF-8"},
        {TEXT("\"\xed\xa0\x80\""), 2, "invalid UTF-8"},
        {TEXT("\"\xc0\x80\""), 2, "invalid UTF-8"},
        {TEXT("\"\xe2\x82"), 2, "invalid UTF-8"},
        {TEXT("{\"\xc3(\":1}"), 3, "invalid UTF-8"},
        {TEXT("\xff"), 1, "a value should"},
        {TEXT("[01]"), 2, "a malformed number"},
        {TEXT("[-01]"), 2, "a malformed number"},
        {TEXT("[1.]"), 2, "a malformed number"},
        {TEXT("[.5]"), 2, "a value should"},
        {TEXT("[+1]"), 2, "a value should"},
        {TEXT("[1e]"), 2, "a malformed number"},
        {TEXT("[1e+]"), 2, "a malformed number"},
        {TEXT("-"), 1, "a malformed number"},
        {TEXT("[-a]"), 2, "a malformed number"},
        {TEXT("[0x10]"), 3, "a comma or ]"},
        {TEXT("1_000"), 2, "something follows"},
        {TEXT("[1e999]"), 2, "a number too large"},
        {TEXT("[-1e309]"), 2, "a number too large"},
        {TEXT("[123.4e400]"), 2, "a number too large"},
        {TEXT("1e99999999999999999999999"), 1, "a number too large"},
        {TEXT("[NaN]"), 2, "a value should"},
        {TEXT("[nan]"), 2, "not a JSON value"},
        {TEXT("[Infinity]"), 2, "a value should"},
        {TEXT("[tru]"), 2, "not a JSON value"},
        {TEXT("nul"), 1, "not a JSON value"},
        {TEXT("truex"), 5, "something follows"},
        {TEXT("[True]"), 2, "a value should"},
        {TEXT("// x\n1"), 1, "a value should"},
        {TEXT("[1]/**/"), 4, "something follows"},
        {TEXT("\f1"), 1, "a value should"},
        {TEXT("1\xc2\xa0"), 2, "something follows"},
        {TEXT("[1000000000000000000000000000000000000000000000000000000000000000]"), 2,
         "a number of more than 63"},
        {TEXT("1.00000000000000000000000000000000000000000000000000000000000000"), 1,
         "a number of more than 63"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct err e = {0};
        cJSON *tree = (cJSON *)1;
        char start[100];
        char *exact = malloc(cases[i].length + 1);
        memcpy(exact, cases[i].text, cases[i].length);
        exact = realloc(exact, cases[i].length ? cases[i].length : 1);
        if (json_parse(exact, cases[i].length, &tree, &e) != ERR_INVALID) {
            fail_msg("accepted: %s", cases[i].text);
        }
        assert_null(tree);
        snprintf(start, sizeof start, "invalid JSON at byte %u: %s", cases[i].at, cases[i].reason);
        if (!text_starts_with(e.message, start)) {
            fail_msg("%s: %s", cases[i].text, e.message);
        }
        assert_int_equal(json_parse(exact, cases[i].length, &tree, NULL), ERR_INVALID);
        free(exact);
    }
}

static void test_depth(void **state) {
    (void)state;
    static const char *const opens[] = {"[", "{\"a\":", "[{\"a\":"}, *const closes[] = {"]", "}", "}]"};
    for (size_t kind = 0; kind < 3; kind++) {
        for (size_t depth = 62; depth <= 66; depth++) {
            size_t units = kind == 2 ? depth / 2 : depth;
            char *open = repeat(opens[kind], units), *close = repeat(closes[kind], units), *text = NULL;
            assert_true(asprintf(&text, "%s1%s", open, close) > 0);
            struct err e = {0};
            cJSON *tree = NULL;
            int rc = json_parse(text, strlen(text), &tree, &e);
            assert_int_equal(rc, units * (kind == 2 ? 2 : 1) <= JSON_DEPTH ? ERR_OK : ERR_INVALID);
            if (rc) {
                assert_non_null(strstr(e.message, "nested deeper than 64"));
            }
            cJSON_Delete(tree);
            free(open);
            free(close);
            free(text);
        }
    }
    char *deep = repeat("[", 10000000); // no recursion: a hostile text cannot end the stack
    cJSON *tree;
    assert_int_equal(json_parse(deep, strlen(deep), &tree, NULL), ERR_INVALID);
    free(deep);
    struct err e = {0};
    char *wide = repeat("[],", 1000);
    char *text = NULL;
    assert_true(asprintf(&text, "[%s1]", wide) > 0); // closed again: not deep
    assert_int_equal(json_parse(text, strlen(text), &tree, &e), ERR_OK);
    assert_int_equal(cJSON_GetArraySize(tree), 1001);
    cJSON_Delete(tree);
    free(wide);
    free(text);
}

static void test_objects(void **state) {
    (void)state;
    static const struct {
        const char *text, *message; // NULL: accepted
    } cases[] = {
        {"{}", NULL},
        {"{\"a\":1,\"A\":2}", NULL},
        {"{\"a\":{\"x\":1},\"b\":{\"x\":1}}", NULL},
        {"{\"a\":{\"x\":1,\"x\":2}}", NULL}, // only the top is looked at
        {"[]", "the JSON is not an object: put it in { }"},
        {"\"x\"", "the JSON is not an object: put it in { }"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "the JSON object names \"a\" twice: keep one"},
        {"{\"a\":1,\"\\u0061\":2}", "the JSON object names \"a\" twice: keep one"},
        {"{\"\":1,\"\":2}", "the JSON object names \"\" twice: keep one"},
        {"{\"a\\nb\":1,\"a\\nb\":2}", "the JSON object names \"a\\nb\" twice: keep one"},
        {"{\"a\":1,}",
         "invalid JSON at byte 8: a key in double quotes should be here: look for a stray comma or a "
         "missing quote"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct err e = {0};
        cJSON *tree = NULL;
        int rc = json_parse_object(cases[i].text, strlen(cases[i].text), &tree, &e);
        assert_int_equal(rc, cases[i].message ? ERR_INVALID : ERR_OK);
        if (cases[i].message) {
            assert_string_equal(e.message, cases[i].message);
            assert_null(tree);
        }
        cJSON_Delete(tree);
    }
}

static void test_many_keys(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, BUF_UNLIMITED);
    buf_char(&b, '{');
    for (int i = 0; i < 20000; i++) {
        buf_format(&b, "%s\"key%d\":%d", i ? "," : "", i, i);
    }
    size_t length = b.length;
    buf_char(&b, '}');
    cJSON *tree = NULL;
    struct err e = {0};
    assert_int_equal(json_parse_object(b.data, b.length, &tree, &e), ERR_OK);
    cJSON_Delete(tree);
    b.length = length;
    buf_text(&b, ",\"key7777\":0}");
    assert_int_equal(json_parse_object(b.data, b.length, &tree, &e), ERR_INVALID);
    assert_string_equal(e.message, "the JSON object names \"key7777\" twice: keep one");
    buf_free(&b);
}

static void test_getters(void **state) {
    (void)state;
    static const char text[] =
        "{\"Model\":\"upper\",\"model\":\"lower\",\"n\":5000000000,\"neg\":-7,\"f\":1.5,"
        "\"last\":9007199254740991,\"first\":-9007199254740991,\"over\":9007199254740992,"
        "\"t\":true,\"no\":false,\"nul\":null,\"s\":\"5\",\"o\":{\"x\":1},\"z\":-0.0}";
    cJSON *o = NULL;
    assert_int_equal(json_parse_object(text, strlen(text), &o, NULL), ERR_OK);
    assert_string_equal(json_text(o, "model", "?"), "lower");
    assert_string_equal(json_text(o, "Model", "?"), "upper");
    assert_string_equal(json_text(o, "MODEL", "?"), "?");
    assert_string_equal(json_text(o, "n", "?"), "?");
    assert_null(json_text(o, "nul", NULL));
    assert_true(json_integer(o, "n", 0) == INT64_C(5000000000));
    assert_int_equal(json_integer(o, "neg", 0), -7);
    assert_int_equal(json_integer(o, "f", 42), 42);
    assert_int_equal(json_integer(o, "s", 42), 42);
    assert_int_equal(json_integer(o, "t", 42), 42);
    assert_int_equal(json_integer(o, "z", 42), 0);
    assert_true(json_integer(o, "last", 0) == INT64_C(9007199254740991));
    assert_true(json_integer(o, "first", 0) == -INT64_C(9007199254740991));
    assert_int_equal(json_integer(o, "over", 42), 42); // 2^53 + 1 would read the same
    assert_true(json_number(o, "f", 0) == 1.5);
    assert_true(json_number(o, "absent", 2.5) == 2.5);
    assert_true(json_number(o, "s", 2.5) == 2.5);
    assert_true(json_bool(o, "t", false));
    assert_false(json_bool(o, "no", true));
    assert_true(json_bool(o, "nul", true));
    assert_true(json_bool(o, "n", true));
    assert_int_equal(json_integer(json_get(o, "o"), "x", 0), 1);
    assert_null(json_get(json_get(o, "s"), "x"));
    assert_null(json_get(NULL, "x"));
    assert_int_equal(json_integer(json_get(json_get(o, "absent"), "x"), "y", 3), 3);
    cJSON_Delete(o);
}

static void test_raw_member(void **state) {
    (void)state;
    static const struct {
        const char *text, *key, *raw; // NULL: absent
    } cases[] = {
        {"{}", "a", NULL},
        {"[]", "a", NULL},
        {"{\"a\":1}", "a", "1"},
        {"{\"a\":1}", "A", NULL},
        {"{\"a\":1}", "", NULL},
        {"{\"\":1}", "", "1"},
        {" { \"a\" : 9007199254740993 , \"b\" : [ 1 , 2 ] } ", "a", "9007199254740993"},
        {" { \"a\" : 9007199254740993 , \"b\" : [ 1 , 2 ] } ", "b", "[ 1 , 2 ]"},
        {"{\"b\":{\"a\":1},\"a\":2}", "a", "2"},                        // only the top
        {"{\"x\":\"\\\"a\\\":1,\",\"a\":\"{\\\\\"}", "a", "\"{\\\\\""}, // quotes and braces inside strings
        {"{\"x\":[\"]\",{\"}\":\"\\\"\"}],\"a\":null}", "a", "null"},
        {"{\"\\u0061\":1.50}", "a", "1.50"},
        {"{\"caf\\u00e9\":true}", "caf\xc3\xa9", "true"},
        {"{\"caf\xc3\xa9\":true}", "caf\xc3\xa9", "true"},
        {"{\"\\uD83D\\uDE00\":\"x\"}", "\xf0\x9f\x98\x80", "\"x\""},
        {"{\"\\u20AC\":\"x\"}", "\xe2\x82\xac", "\"x\""},
        {"{\"a\\n\\t\\\\\\/\\\"\\b\\f\\r\":3}", "a\n\t\\/\"\b\f\r", "3"},
        {"{\"ab\":1,\"a\":2}", "a", "2"},
        {"{\"\\u0061b\":1,\"a\":2}", "a", "2"},
        {"{\"a\":2}", "ab", NULL},
        {"{\"\\u0061\":2}", "ab", NULL},
        {"{\"a\":\"\"}", "a", "\"\""},
        {"{\"a\":{}\n}", "a", "{}"},
        {"{\"a\":-1e5}", "a", "-1e5"},
        {"{\"a\":-1e5\t}", "a", "-1e5"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *start = NULL;
        size_t length = 0;
        bool found = json_raw_member(cases[i].text, cases[i].key, &start, &length);
        assert_int_equal(found, cases[i].raw != NULL);
        if (found) {
            assert_int_equal(length, strlen(cases[i].raw));
            assert_memory_equal(start, cases[i].raw, length);
        }
    }
}

static void test_next_raw(void **state) {
    (void)state;
    static const struct {
        const char *text, *values; // each with a blank behind it
    } cases[] = {
        {"{}", ""},
        {" { } ", ""},
        {"{\"a\":1}", "1 "},
        {" {\"a\" : 1.50 ,\"b,}\\\"\":{\"c\":[1,{}]},\n\"d\":\"x\\\\\", \"e\" : null } ",
         "1.50 {\"c\":[1,{}]} \"x\\\\\" null "},
        {"[1,2]", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char got[100] = "";
        const char *at = NULL, *start = NULL;
        size_t length = 0;
        while (json_next_raw(cases[i].text, &at, &start, &length)) {
            strncat(got, start, length);
            strcat(got, " ");
        }
        assert_string_equal(got, cases[i].values);
    }
}

static void test_object_edit(void **state) {
    (void)state;
    static const char *const ac[] = {"a", "c", NULL};
    static const struct {
        const char *text, *extra, *result; // a and c are dropped
    } cases[] = {
        {"{}", NULL, "{}"},
        {"{ }", "", "{ }"},
        {"{}", "\"x\":1", "{\"x\":1}"},
        {"{\"a\":1}", NULL, "{}"},
        {"{\"a\":1}", "\"x\":1", "{\"x\":1}"},
        {"{\"a\":1,\"b\":2}", NULL, "{\"b\":2}"},
        {"{\"b\":2,\"a\":1}", NULL, "{\"b\":2}"},
        {"{\"a\":1,\"c\":2}", "\"x\":1", "{\"x\":1}"},
        {"{\"b\":1,\"a\":2,\"d\":3,\"c\":4,\"e\":5}", "\"x\":1", "{\"b\":1,\"d\":3,\"e\":5,\"x\":1}"},
        {"{\"a\":0,\"b\":1,\"d\":3,\"c\":4,\"a\":5}", NULL, "{\"b\":1,\"d\":3}"},
        {" {\n \"b\" : 1 ,\n \"c\" : [1, 2],\n \"d\" : 1.0 \n} \n", "\"x\":1",
         " {\n \"b\" : 1 ,\n \"d\" : 1.0 \n,\"x\":1} \n"},
        {"{\"b\":{\"a\":1,\"c\":\"}\"},\"\\u0061\":\"\\\",\"}", NULL, "{\"b\":{\"a\":1,\"c\":\"}\"}}"},
        {"{\"A\":1,\"aa\":9007199254740993}", NULL, "{\"A\":1,\"aa\":9007199254740993}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf b;
        buf_init(&b, BUF_UNLIMITED);
        json_object_edit(&b, cases[i].text, ac, cases[i].extra);
        assert_string_equal(buf_borrow(&b), cases[i].result);
        buf_clear(&b);
        json_object_edit(&b, cases[i].text, NULL, NULL);
        assert_string_equal(buf_borrow(&b), cases[i].text); // nothing dropped: every byte kept
        buf_free(&b);
    }
}

// ---- random texts ----

static uint64_t seed = 20240229;

static size_t random_below(size_t limit) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(seed >> 33) % limit;
}

static const char *const random_seeds[] = {
    ("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9 \\ud83d\\ude00 "
     "\\n\"}],\"n\":1,\"t\":0.5e-1}"),
    "[true,false,null,[],{},[[1,2],[3]],\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\",-0.0,12E+3]",
    "{\"a\":1,\"b\":{\"a\":[{\"a\":\"]}\\\"\"}]},\"c\":\"\\\\\",\"\\u0064\":[ 1 , 2 ]\t, \"e\" : { } }",
    "  \"plain text that is longer than one word of eight bytes, \\\"quoted\\\" and \\/ escaped\" ",
};

// Fills `text` with one of the seeds after up to four random changes.
static size_t mutate(char text[256]) {
    static const char alphabet[] =
        "{}[]\",:\\u0123456789abcdefDC.+-eE \n\ttruefalsn\x01\x1f\x7f\x80\xc3\xa9\xed\xa0\xf0\xff";
    const char *from = random_seeds[random_below(COUNT(random_seeds))];
    size_t length = strlen(from);
    memcpy(text, from, length + 1);
    for (size_t changes = random_below(5); changes && length; changes--) {
        size_t at = random_below(length);
        char c = alphabet[random_below(sizeof alphabet)]; // its NUL too
        switch (random_below(4)) {
        case 0:
            text[at] = c;
            break;
        case 1:
            memmove(text + at + 1, text + at, length++ - at);
            text[at] = c;
            break;
        case 2:
            memmove(text + at, text + at + 1, length-- - at - 1);
            break;
        default:
            length = random_below(8) ? length : at + 1;
        }
    }
    text[length] = 0;
    return length;
}

// What is accepted is accepted by SQLite and held by cJSON; what SQLite accepts is refused only
// for the reasons that go beyond the grammar.
static void test_random_against_sqlite(void **state) {
    (void)state;
    static const char *const beyond[] = {"UTF-8",   "NUL byte",  "u0000",  "surrogate",
                                         "63 char", "too large", "control"};
    sqlite3 *db = NULL;
    sqlite3_stmt *valid = NULL;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT json_valid(?1)", -1, &valid, NULL), SQLITE_OK);
    size_t accepted = 0, refused = 0;
    for (int round = 0; round < 30000; round++) {
        char text[256];
        size_t length = mutate(text);
        struct err e = {0};
        cJSON *tree = NULL;
        int rc = json_parse(text, length, &tree, &e);
        sqlite3_bind_text(valid, 1, text, (int)length, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(valid), SQLITE_ROW);
        bool second = sqlite3_column_int(valid, 0);
        sqlite3_reset(valid);
        if (rc == ERR_OK) {
            accepted++;
            if (!second || !tree) {
                fail_msg("accepted alone: %s", text);
            }
        } else {
            refused++;
            bool known = false;
            for (size_t i = 0; i < COUNT(beyond); i++) {
                known = known || strstr(e.message, beyond[i]);
            }
            if ((second && !known) || strstr(e.message, "held in memory")) {
                fail_msg("refused alone: %s: %s", text, e.message);
            }
        }
        cJSON_Delete(tree);
    }
    assert_true(accepted > 3000 && refused > 3000);
    sqlite3_finalize(valid);
    sqlite3_close(db);
}

// For every member of an accepted object the raw text is that member, and an edit drops just it.
static void test_random_raw(void **state) {
    (void)state;
    size_t members = 0;
    for (int round = 0; round < 20000; round++) {
        char text[256];
        size_t length = mutate(text);
        cJSON *tree = NULL;
        if (json_parse_object(text, length, &tree, NULL)) {
            continue;
        }
        const cJSON *member;
        cJSON_ArrayForEach(member, tree) {
            const char *start = NULL;
            size_t raw_length = 0;
            cJSON *again = NULL;
            assert_true(json_raw_member(text, member->string, &start, &raw_length));
            assert_int_equal(json_parse(start, raw_length, &again, NULL), ERR_OK);
            assert_true(cJSON_Compare(member, again, true));
            cJSON_Delete(again);

            struct buf b;
            const char *const drop[] = {member->string, NULL};
            buf_init(&b, BUF_UNLIMITED);
            json_object_edit(&b, text, drop, "\"an extra key\":[1]");
            assert_int_equal(json_parse_object(b.data, b.length, &again, NULL), ERR_OK);
            assert_null(json_get(again, member->string));
            assert_int_equal(cJSON_GetArraySize(again), cJSON_GetArraySize(tree));
            const cJSON *kept;
            cJSON_ArrayForEach(kept, tree) {
                assert_true(kept == member || cJSON_Compare(kept, json_get(again, kept->string), true));
            }
            cJSON_Delete(again);
            buf_free(&b);
            members++;
        }
        cJSON_Delete(tree);
    }
    assert_true(members > 5000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_depth),       cmocka_unit_test(test_objects),
        cmocka_unit_test(test_many_keys),   cmocka_unit_test(test_getters),
        cmocka_unit_test(test_raw_member),  cmocka_unit_test(test_next_raw),
        cmocka_unit_test(test_object_edit), cmocka_unit_test(test_random_against_sqlite),
        cmocka_unit_test(test_random_raw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
