// SPDX-License-Identifier: MIT
// The import: the cases of tests/cases, and what takes a program to make: huge lines and files,
// directories, streams that break.
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "batch/import.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// ---- helpers -----------------------------------------------------------------

static FILE *stream_of(const char *bytes, size_t length) {
    FILE *stream = tmpfile();
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, length, stream), length);
    rewind(stream);
    return stream;
}

static void write_member(struct buf *out, const char *key, const char *text) {
    if (text)
        json_write_member_text(out, key, text);
}

// Renders an item as the case file expects it.
static int note_item(void *payload, const struct spec *spec, int64_t line, struct err *e) {
    struct buf *out = payload;
    (void)e;
    buf_char(out, '{');
    json_write_member_integer(out, "line", line);
    write_member(out, "prompt", spec->prompt);
    write_member(out, "model", spec->model_id);
    write_member(out, "custom_id", spec->custom_id);
    write_member(out, "topic", spec->topic);
    write_member(out, "tier", spec->tier);
    write_member(out, "type", spec->type);
    write_member(out, "template_id", spec->template_id);
    write_member(out, "session_id", spec->session_id);
    write_member(out, "endpoint", spec->endpoint);
    if (spec->priority)
        json_write_member_integer(out, "priority", spec->priority);
    if (spec->parameters)
        json_write_member_raw(out, "parameters", spec->parameters);
    buf_text(out, "}\n");
    assert_null(spec->user_id);
    assert_null(spec->client_id);
    assert_int_equal(spec->run_after_at, 0);
    return 0;
}

static int count_item(void *payload, const struct spec *spec, int64_t line, struct err *e) {
    (void)spec, (void)line, (void)e;
    ++*(int64_t *)payload;
    return 0;
}

// ---- the case file -------------------------------------------------------------

struct import_case {
    const char *file;
    char title[128], name[64], format[16], parameters[128], used[16], refusal[256], note[256];
    int priority, line;
    struct buf input, expected;
};

static void case_reset(struct import_case *c) {
    buf_free(&c->input);
    buf_free(&c->expected);
    *c = (struct import_case){.file = c->file};
    buf_init(&c->input, BUF_UNLIMITED);
    buf_init(&c->expected, BUF_UNLIMITED);
    strcpy(c->name, "in.jsonl");
    strcpy(c->format, "guess");
}

static void append_escaped(struct buf *out, const char *text) {
    for (; *text; text++) {
        unsigned byte = 0;
        if (text[0] == '%' && sscanf(text + 1, "%2x", &byte) == 1) {
            buf_char(out, (char)byte);
            text += 2;
        } else {
            buf_char(out, *text);
        }
    }
}

// `pattern` may hold one *, which stands for one character or more.
static bool matches(const char *text, const char *pattern) {
    const char *star = strchr(pattern, '*');
    if (!star)
        return strcmp(text, pattern) == 0;
    size_t head = (size_t)(star - pattern), length = strlen(text);
    if (strncmp(text, pattern, head) != 0)
        return false;
    const char *tail = star + 1;
    const char *second = strchr(tail, '*');
    if (second) { // the part between two stars, somewhere
        char *middle = mem_copy_bytes(tail, (size_t)(second - tail));
        bool found = strstr(text + head, middle) != NULL;
        free(middle);
        return found;
    }
    return length > head + strlen(tail) && strcmp(text + length - strlen(tail), tail) == 0;
}

static void case_run(const struct import_case *c) {
    struct import_options options = {.priority = c->priority,
                                     .parameters = *c->parameters ? c->parameters : NULL};
    enum import_format used = IMPORT_GUESS;
    struct buf items, notes;
    struct err e = {.code = ERR_OK};
    int64_t lines = -1;
    buf_init(&items, BUF_UNLIMITED);
    buf_init(&notes, BUF_UNLIMITED);
    options.notes = &notes;
    if (strcmp(c->format, "guess") != 0)
        assert_true(import_format_parse(c->format, &options.format));
    FILE *stream = stream_of(buf_borrow(&c->input), c->input.length);
    int rc = import_lines(stream, c->name, &options, note_item, &items, &used, &lines, &e);
    fclose(stream);
    if (rc != (*c->refusal ? ERR_INVALID : ERR_OK) || (*c->refusal && !matches(e.message, c->refusal)))
        fail_msg("%s:%d: %s: got %d \"%s\", expected \"%s\"", c->file, c->line, c->title, rc, e.message,
                 c->refusal);
    if (strcmp(buf_borrow(&items), buf_borrow(&c->expected)) != 0)
        fail_msg("%s:%d: %s: got %s expected %s", c->file, c->line, c->title, buf_borrow(&items),
                 buf_borrow(&c->expected));
    if (*c->used && strcmp(import_format_name(used), c->used) != 0)
        fail_msg("%s:%d: %s: read as %s, expected %s", c->file, c->line, c->title, import_format_name(used),
                 c->used);
    if (rc == 0) {
        if (notes.length)
            notes.data[notes.length - 1] = '\0'; // its line end
        if (!matches(buf_borrow(&notes), c->note))
            fail_msg("%s:%d: %s: noted \"%s\", expected \"%s\"", c->file, c->line, c->title,
                     buf_borrow(&notes), c->note);
    }
    buf_free(&notes);
    int64_t count = 0;
    for (size_t i = 0; i < items.length; i++)
        count += items.data[i] == '\n';
    assert_int_equal(lines, count);
    buf_free(&items);
}

static void case_take(struct import_case *c, const char *text) {
    const char *rest = strchr(text, ' ') ? strchr(text, ' ') + 1 : "";
    if (*text == '<') {
        buf_text(&c->input, rest);
        buf_char(&c->input, '\n');
    } else if (*text == '%') {
        append_escaped(&c->input, rest);
    } else if (*text == '>') {
        buf_text(&c->expected, rest);
        buf_char(&c->expected, '\n');
    } else if (*text == '~') {
        snprintf(c->used, sizeof c->used, "%s", rest);
    } else if (*text == '!') {
        snprintf(c->refusal, sizeof c->refusal, "%s", rest);
    } else if (*text == '?') {
        snprintf(c->note, sizeof c->note, "%s", rest);
    } else if (strncmp(text, "name ", 5) == 0) {
        snprintf(c->name, sizeof c->name, "%s", rest);
    } else if (strncmp(text, "format ", 7) == 0) {
        snprintf(c->format, sizeof c->format, "%s", rest);
    } else if (strncmp(text, "parameters ", 11) == 0) {
        snprintf(c->parameters, sizeof c->parameters, "%s", rest);
    } else if (strncmp(text, "priority ", 9) == 0) {
        c->priority = atoi(rest);
    } else {
        fail_msg("%s:%d: not understood: %s", c->file, c->line, text);
    }
}

static void run_cases(const char *name, int least) {
    FILE *file = fopen(name, "r");
    if (!file)
        fail_msg("%s: %s (run from the top of the source tree)", name, strerror(errno));
    struct import_case c = {.file = name};
    char text[1024];
    int line = 0, count = 0;
    case_reset(&c);
    while (fgets(text, sizeof text, file)) {
        text[strcspn(text, "\n")] = '\0';
        line++;
        if (*text == '=') {
            if (count++)
                case_run(&c);
            case_reset(&c);
            c.line = line;
            snprintf(c.title, sizeof c.title, "%.100s", text + 2);
        } else if (*text && *text != '#') {
            case_take(&c, text);
        }
    }
    case_run(&c);
    case_reset(&c);
    fclose(file);
    assert_true(count >= least);
}

static void test_cases(void **state) {
    (void)state;
    run_cases("tests/cases/import.cases", 80);
}

static void test_csv_cases(void **state) {
    (void)state;
    run_cases("tests/cases/csv.cases", 70);
}

// ---- formats ---------------------------------------------------------------------

static void test_format_names(void **state) {
    (void)state;
    enum import_format format = IMPORT_GUESS;
    assert_true(import_format_parse("openai", &format) && format == IMPORT_OPENAI);
    assert_true(import_format_parse("jsonl", &format) && format == IMPORT_JSONL);
    assert_true(import_format_parse("txt", &format) && format == IMPORT_TEXT);
    assert_true(import_format_parse("csv", &format) && format == IMPORT_CSV);
    assert_false(import_format_parse("tsv", &format));
    assert_false(import_format_parse("guess", &format));
    assert_false(import_format_parse("JSONL", &format));
    assert_false(import_format_parse("", &format));
    assert_int_equal(format, IMPORT_CSV);
    assert_string_equal(import_format_name(IMPORT_OPENAI), "openai");
}

// ---- large and odd files -----------------------------------------------------------

static int check_large(void *payload, const struct spec *spec, int64_t line, struct err *e) {
    (void)e;
    assert_true(line <= 2);
    *(size_t *)payload = strlen(spec->prompt);
    return 0;
}

static void test_line_of_ten_megabytes(void **state) {
    (void)state;
    const size_t size = 10 << 20;
    struct buf input;
    buf_init(&input, BUF_UNLIMITED);
    buf_text(&input, "{\"prompt\":\"");
    for (size_t i = 0; i < size / 64; i++)
        buf_append(&input, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\\n", 65);
    buf_text(&input, "\"}");
    struct import_options options = {.format = IMPORT_GUESS};
    FILE *stream = stream_of(input.data, input.length);
    size_t length = 0;
    struct err e = {.code = ERR_OK};
    assert_int_equal(import_lines(stream, "large.jsonl", &options, check_large, &length, NULL, NULL, &e), 0);
    assert_int_equal(length, size);
    fclose(stream);
    buf_free(&input);
}

// A CSV of one row with a cell in quotes of `size` bytes, line ends among them.
static void check_csv_cell(size_t size, const char *head, const char *tail, const char *refusal) {
    struct import_options options = {.format = IMPORT_CSV};
    struct err e = {.code = ERR_OK};
    size_t length = 0;
    FILE *stream = tmpfile();
    assert_non_null(stream);
    fputs(head, stream);
    for (size_t i = 0; i < size / 64; i++)
        fwrite("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n", 1, 64, stream);
    fputs(tail, stream);
    rewind(stream);
    int rc = import_lines(stream, "large.csv", &options, check_large, &length, NULL, NULL, &e);
    fclose(stream);
    assert_int_equal(rc, refusal ? ERR_INVALID : 0);
    assert_string_equal(e.message, refusal ? refusal : "");
    assert_int_equal(length, refusal ? 0 : size);
}

static void test_csv_cells_of_any_size(void **state) {
    (void)state;
    check_csv_cell(10 << 20, "prompt\n\"", "\"\n", NULL);
    // One byte is taken by the NUL behind the cell.
    check_csv_cell((64 << 20) - 64, "prompt\n\"", "\"\n", NULL);
    check_csv_cell(
        64 << 20, "n,prompt\n1,\"", "\"\n",
        "large.csv:2: the record is longer than 64 MiB: the quote that opens on line 2 may lack its end");
    check_csv_cell(
        64 << 20, "n,prompt\n\"a\nb\",\"", "",
        "large.csv:2: the record is longer than 64 MiB: the quote that opens on line 3 may lack its end");
}

// A CSV of so many columns, the last one named prompt.
static int import_columns(size_t count, struct err *e) {
    struct import_options options = {.format = IMPORT_GUESS};
    int64_t items = 0;
    FILE *stream = tmpfile();
    assert_non_null(stream);
    for (size_t i = 1; i < count; i++)
        fprintf(stream, "c%zu,", i);
    fputs("prompt\n", stream);
    for (size_t i = 1; i < count; i++)
        fputs("1,", stream);
    fputs("p\n", stream);
    rewind(stream);
    int rc = import_lines(stream, "wide.csv", &options, count_item, &items, NULL, NULL, e);
    fclose(stream);
    assert_int_equal(items, rc == 0);
    return rc;
}

static void test_csv_columns(void **state) {
    (void)state;
    struct err e = {.code = ERR_OK};
    assert_int_equal(import_columns(2000, &e), 0);
    assert_int_equal(import_columns(2001, &e), ERR_INVALID);
    assert_string_equal(e.message,
                        "wide.csv:1: more than 2000 columns: leave out what is not needed, or use JSONL");
}

// A stream that gives `left` bytes 'x' and then ends.
static ssize_t endless_read(void *cookie, char *out, size_t size) {
    size_t *left = cookie;
    if (size > *left)
        size = *left;
    memset(out, 'x', size);
    *left -= size;
    return (ssize_t)size;
}

static void test_line_beyond_the_cap(void **state) {
    (void)state;
    struct import_options options = {.format = IMPORT_TEXT};
    struct err e = {.code = ERR_OK};
    int64_t count = 0, lines = -1;
    size_t left = IMPORT_LINE_MAXIMUM + 1;
    FILE *stream = fopencookie(&left, "r", (cookie_io_functions_t){.read = endless_read});
    assert_int_equal(import_lines(stream, "x.txt", &options, count_item, &count, NULL, &lines, &e),
                     ERR_INVALID);
    assert_string_equal(e.message, "x.txt:1: the line is longer than 64 MiB: split it");
    assert_int_equal(count, 0);
    assert_int_equal(lines, 0);
    fclose(stream);
    left = IMPORT_LINE_MAXIMUM;
    stream = fopencookie(&left, "r", (cookie_io_functions_t){.read = endless_read});
    assert_int_equal(import_lines(stream, "x.txt", &options, count_item, &count, NULL, &lines, &e), 0);
    assert_int_equal(count, 1);
    fclose(stream);
}

static ssize_t broken_read(void *cookie, char *out, size_t size) {
    int *calls = cookie;
    static const char line[] = "{\"prompt\":\"a\"}\n";
    if ((*calls)++ == 0 && size >= sizeof line) {
        memcpy(out, line, sizeof line - 1);
        return sizeof line - 1;
    }
    errno = EIO;
    return -1;
}

static void test_stream_breaks(void **state) {
    (void)state;
    struct import_options options = {.format = IMPORT_GUESS};
    struct err e = {.code = ERR_OK};
    int64_t count = 0;
    int calls = 0;
    FILE *stream = fopencookie(&calls, "r", (cookie_io_functions_t){.read = broken_read});
    assert_int_equal(import_lines(stream, "-", &options, count_item, &count, NULL, NULL, &e), ERR_INVALID);
    assert_string_equal(e.message, "-:2: cannot be read (Input/output error): check the file and try again");
    assert_int_equal(count, 1);
    fclose(stream);
}

static void test_directory(void **state) {
    (void)state;
    struct import_options options = {.format = IMPORT_GUESS};
    struct err e = {.code = ERR_OK};
    int64_t count = 0;
    FILE *stream = fopen("/", "r");
    assert_non_null(stream);
    assert_int_equal(import_lines(stream, "/", &options, count_item, &count, NULL, NULL, &e), ERR_INVALID);
    assert_string_equal(e.message, "/: is a directory: name a file in it");
    fclose(stream);
}

static int refuse_second(void *payload, const struct spec *spec, int64_t line, struct err *e) {
    (void)spec;
    if (line < 2)
        return 0;
    return payload ? err_set(e, ERR_NOT_FOUND, "no model serves it: name another") : 77;
}

static void test_caller_ends_it(void **state) {
    (void)state;
    static const char input[] = "{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n{\"prompt\":\"c\"}\n";
    struct import_options options = {.format = IMPORT_GUESS};
    struct err e = {.code = ERR_OK};
    int64_t lines = 0;
    int with_message = 1;
    FILE *stream = stream_of(input, sizeof input - 1);
    assert_int_equal(import_lines(stream, "in", &options, refuse_second, &with_message, NULL, &lines, &e),
                     ERR_NOT_FOUND);
    assert_string_equal(e.message, "in:2: no model serves it: name another");
    assert_int_equal(lines, 1);
    rewind(stream);
    strcpy(e.message, "from before");
    assert_int_equal(import_lines(stream, "in", &options, refuse_second, NULL, NULL, &lines, &e), 77);
    assert_string_equal(e.message, "");
    rewind(stream); // nobody asks for the reason
    assert_int_equal(import_lines(stream, "in", &options, refuse_second, &with_message, NULL, NULL, NULL),
                     ERR_NOT_FOUND);
    fclose(stream);
}

static void test_long_name_keeps_the_reason(void **state) {
    (void)state;
    struct import_options options = {.format = IMPORT_JSONL};
    struct err e = {.code = ERR_OK};
    int64_t count = 0;
    char name[4001];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    FILE *stream = stream_of("{}\n", 3);
    assert_int_equal(import_lines(stream, name, &options, count_item, &count, NULL, NULL, &e), ERR_INVALID);
    assert_non_null(strstr(e.message, "nn:1: prompt is missing"));
    fclose(stream);
}

// More names than stay in memory: the temporary file is used.
static FILE *stream_of_names(int64_t count, int64_t repeat) {
    FILE *stream = tmpfile();
    assert_non_null(stream);
    for (int64_t i = 1; i <= count; i++)
        fprintf(stream, "{\"prompt\":\"p\",\"custom_id\":\"item-%lld\"}\n",
                (long long)(i == count && repeat ? repeat : i));
    rewind(stream);
    return stream;
}

static void test_many_names(void **state) {
    (void)state;
    struct import_options options = {.format = IMPORT_GUESS};
    struct err e = {.code = ERR_OK};
    int64_t count = 0;
    FILE *stream = stream_of_names(70000, 0);
    assert_int_equal(import_lines(stream, "many.jsonl", &options, count_item, &count, NULL, NULL, &e), 0);
    assert_int_equal(count, 70000);
    fclose(stream);
    stream = stream_of_names(70000, 12);
    assert_int_equal(import_lines(stream, "many.jsonl", &options, count_item, &count, NULL, NULL, &e),
                     ERR_INVALID);
    assert_string_equal(
        e.message, "many.jsonl:70000: custom_id is the same as on line 12: give each line one of its own");
    fclose(stream);
}

static void test_no_room_for_names(void **state) {
    (void)state;
    struct import_options options = {.format = IMPORT_GUESS};
    struct err e = {.code = ERR_OK};
    int64_t count = 0;
    FILE *stream = stream_of_names(66000, 0);
    char *before = mem_copy(getenv("TMPDIR"));
    setenv("TMPDIR", "/nonexistent", 1);
    assert_int_equal(import_lines(stream, "many.jsonl", &options, count_item, &count, NULL, NULL, &e),
                     ERR_CONFIG);
    assert_string_equal(e.message,
                        "many.jsonl:65537: no temporary file can be made in /nonexistent (No such file "
                        "or directory): set TMPDIR to a folder that can be written");
    if (before)
        setenv("TMPDIR", before, 1);
    else
        unsetenv("TMPDIR");
    free(before);
    fclose(stream);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_csv_cases),
        cmocka_unit_test(test_format_names),
        cmocka_unit_test(test_line_of_ten_megabytes),
        cmocka_unit_test(test_csv_cells_of_any_size),
        cmocka_unit_test(test_csv_columns),
        cmocka_unit_test(test_line_beyond_the_cap),
        cmocka_unit_test(test_stream_breaks),
        cmocka_unit_test(test_directory),
        cmocka_unit_test(test_caller_ends_it),
        cmocka_unit_test(test_long_name_keeps_the_reason),
        cmocka_unit_test(test_many_names),
        cmocka_unit_test(test_no_room_for_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
