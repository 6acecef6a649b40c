// SPDX-License-Identifier: MIT
// Printing outputs, for `output` and `submit --wait`.
#include "cli/output.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/rows.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Text that a model made is shown on a terminal without its control characters.
static int print_safely(struct cli *cli, const char *bytes, size_t length) {
    if (!text_is_utf8(bytes, length) || memchr(bytes, '\0', length) != NULL)
        return cli_fail(cli, GENRUN_INVALID,
                        "the output is not text (%zu bytes): write it to a file with "
                        "'genrun output ID -o FILE'",
                        length);
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    terminal_write_lines(&out, bytes, length, "", 0);
    fputs(buf_borrow(&out), stdout);
    buf_free(&out);
    return GENRUN_OK;
}

// ---- a stream for a terminal ----

// Of what came, what has no line end yet.
static ssize_t write_safe(void *cookie, const char *bytes, size_t length) {
    struct buf *line = cookie, out;
    buf_append(line, bytes, length);
    const char *last = memrchr(buf_borrow(line), '\n', line->length);
    if (last == NULL)
        return (ssize_t)length;
    size_t whole = (size_t)(last + 1 - buf_borrow(line));
    buf_init(&out, BUF_UNLIMITED);
    terminal_write_lines(&out, buf_borrow(line), whole, "", 0);
    buf_drop(line, whole);
    bool written = fputs(buf_borrow(&out), stdout) >= 0;
    buf_free(&out);
    return written ? (ssize_t)length : 0;
}

static int close_safe(void *cookie) {
    struct buf *line = cookie;
    int result = line->length == 0 || write_safe(line, "\n", 1) == 1 ? 0 : EOF;
    buf_free(line);
    free(line);
    return result;
}

FILE *output_open_safe(void) {
    struct buf *line = mem_alloc(1, sizeof *line);
    buf_init(line, BUF_UNLIMITED);
    FILE *stream = fopencookie(line, "w", (cookie_io_functions_t){.write = write_safe, .close = close_safe});
    if (stream == NULL)
        close_safe(line);
    return stream;
}

// ---- outputs ----

int output_print(struct cli *cli, const char *id, bool end_line) {
    if (!cli->out.present && !end_line) {
        int code = genrun_write_output(cli->g, id, stdout);
        return cli_out_ok(cli) ? cli_report(cli, code) : GENRUN_OK; // cli_out_end tells of a failed write
    }
    char *bytes = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&bytes, &length);
    if (memory == NULL)
        return cli_fail(cli, GENRUN_DATABASE,
                        "cannot hold the output in memory (%s): write it to a file with "
                        "'genrun output ID -o FILE'",
                        strerror(errno));
    int code = genrun_write_output(cli->g, id, memory);
    fclose(memory);
    if (code != GENRUN_OK) {
        cli_report(cli, code);
    } else if (cli->out.present) {
        code = print_safely(cli, bytes, length);
    } else {
        fwrite(bytes, 1, length, stdout);
        if (length > 0 && bytes[length - 1] != '\n' && text_is_utf8(bytes, length))
            putchar('\n');
    }
    free(bytes);
    return code;
}

static int each_json(void *payload, genrun_row *row) {
    rows_write_json(row);
    return !cli_out_ok(payload);
}

int output_print_json(struct cli *cli, const char *id) {
    int code = genrun_outputs(cli->g, id, each_json, cli);
    return cli_out_ok(cli) ? cli_report(cli, code) : GENRUN_OK;
}
