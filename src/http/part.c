// SPDX-License-Identifier: MIT
// Reading Content-Type and Content-Disposition. Names of files are as browsers and clients write them: quotes
// are \" or %22, line ends %0D and %0A, everything else stands for itself, also other percent signs and
// backslashes.
#include "http/part.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "http/query.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TOKEN                                                                                                \
    "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" // RFC 9110, 5.6.2

static const char *skip_blanks(const char *p) {
    return p + strspn(p, " \t");
}

// ---- parameters: ; name=value or ; name="value" ----

struct param {
    const char *name;
    size_t name_length;
    char *value; // to be freed
};

static bool is_named(const struct param *p, const char *name) {
    return strlen(name) == p->name_length && strncasecmp(p->name, name, p->name_length) == 0;
}

// Reads a quoted string at *p; NULL when its quote stays open.
static char *take_quoted(const char **p) {
    const char *at = *p + 1;
    char *out = mem_alloc(1, strlen(at) + 1);
    size_t n = 0;
    for (; *at != '"'; at++) {
        if (*at == '\0') {
            free(out);
            return NULL;
        }
        if (*at == '\\' && (at[1] == '"' || at[1] == '\\'))
            at++;
        out[n++] = *at;
    }
    *p = at + 1;
    return out;
}

// The next parameter at *p: 1, 0 at the end, -1 when it is none.
static int next_param(const char **p, struct param *out) {
    const char *at = skip_blanks(*p);
    if (*at == ';')
        at = skip_blanks(at + 1);
    else if (*at != '\0')
        return -1;
    if (*at == '\0')
        return 0;
    out->name = at;
    out->name_length = strspn(at, TOKEN);
    at = skip_blanks(at + out->name_length);
    if (out->name_length == 0 || *at != '=')
        return -1;
    at = skip_blanks(at + 1);
    if (*at == '"') {
        out->value = take_quoted(&at);
    } else {
        // not only of a token's characters: clients send boundaries and file names bare
        size_t length = strcspn(at, "; \t\"");
        out->value = length > 0 ? mem_copy_bytes(at, length) : NULL;
        at += length;
    }
    *p = at;
    return out->value != NULL ? 1 : -1;
}

// ---- the boundary ----

bool multipart_is(const char *content_type) {
    return content_type != NULL && strncasecmp(skip_blanks(content_type), "multipart/", 10) == 0;
}

// RFC 2046, 5.1.1.
static bool is_boundary(const char *text) {
    static const char characters[] =
        "'()+_,-./:=? 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t length = strlen(text);
    return length > 0 && length <= MULTIPART_BOUNDARY && strspn(text, characters) == length &&
           text[length - 1] != ' ';
}

int part_boundary(const char *content_type, char out[MULTIPART_BOUNDARY + 1], struct err *e) {
    static const char form[] = "multipart/form-data";
    const char *p = skip_blanks(content_type != NULL ? content_type : "");
    struct param param;
    int more, found = 0;
    if (strncasecmp(p, form, strlen(form)) != 0 || strchr("; \t", p[strlen(form)]) == NULL)
        return err_set(e, ERR_INVALID, "the Content-Type is not multipart/form-data: send the form as that");
    p += strlen(form);
    bool is_fine = true;
    while ((more = next_param(&p, &param)) == 1) {
        if (is_named(&param, "boundary")) {
            is_fine = is_fine && found++ == 0 && is_boundary(param.value);
            if (is_fine)
                memcpy(out, param.value, strlen(param.value) + 1);
        }
        free(param.value);
    }
    if (more < 0)
        return err_set(e, ERR_INVALID,
                       "the Content-Type of the form cannot be read: write it as "
                       "multipart/form-data; boundary=…");
    if (!is_fine || found == 0)
        return err_set(
            e, ERR_INVALID,
            "the Content-Type of the form has %s: give one of 1 to %d letters, digits and '()+_,-./:=?",
            found == 0  ? "no boundary"
            : found > 1 ? "two boundaries"
                        : "a boundary that is not allowed",
            MULTIPART_BOUNDARY);
    return ERR_OK;
}

// ---- names ----

// Browsers write these three, and only these, in percents.
static void decode_percents(char *text) {
    static const struct {
        const char *from;
        char to;
    } percents[] = {{"%22", '"'}, {"%0D", '\r'}, {"%0A", '\n'}};
    char *to = text;
    for (const char *from = text; *from != '\0';) {
        size_t i = 0;
        while (i < 3 && strncasecmp(from, percents[i].from, 3) != 0)
            i++;
        *to++ = i < 3 ? percents[i].to : *from;
        from += i < 3 ? 3 : 1;
    }
    *to = '\0';
}

static bool has_control(const char *text) {
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7F)
            return true;
    return false;
}

static int check_name(const char *name, struct err *e) {
    const char *problem = name == NULL ? "has no name: give it Content-Disposition: form-data; name=\"…\""
                          : *name == '\0'                 ? "has an empty name: give it one"
                          : strlen(name) > MULTIPART_NAME ? "has a name of more than 200 bytes: shorten it"
                          : !text_is_utf8(name, strlen(name))
                              ? "has a name that is not UTF-8: encode it as UTF-8"
                          : has_control(name) ? "has a control character in its name: remove it"
                                              : NULL;
    return problem != NULL ? err_set(e, ERR_INVALID, "%s", problem) : ERR_OK;
}

// Reduces the name of a file to its last component, also of a Windows path, and makes it fit for one line.
static int reduce_filename(char **filename, struct err *e) {
    const char *last = *filename;
    for (const char *c = last; *c != '\0'; c++)
        if (*c == '/' || *c == '\\')
            last = c + 1;
    if (strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
        last = "";
    struct buf out;
    buf_init(&out, MULTIPART_FILENAME);
    bool is_utf8 = text_is_utf8(last, strlen(last));
    if (is_utf8)
        text_escape(&out, last, strlen(last), 0);
    bool fits = !out.overflow;
    free(*filename);
    *filename = buf_take(&out);
    buf_free(&out);
    if (!is_utf8)
        return err_set(e, ERR_INVALID, "has a file name that is not UTF-8: encode it as UTF-8");
    return fits ? ERR_OK
                : err_set(e, ERR_INVALID, "has a file name of more than %d bytes: shorten it",
                          MULTIPART_FILENAME);
}

// ---- headers of a part ----

static const char cannot_read[] =
    "has a Content-Disposition that cannot be read: write it as form-data; name=\"…\"; filename=\"…\"";

// Takes the parameter into *field; false when that is filled.
static bool take_once(char **field, struct param *param) {
    if (*field != NULL)
        return false;
    *field = param->value;
    param->value = NULL;
    return true;
}

// RFC 8187, as some clients write names beyond ASCII: UTF-8'language'percents.
static char *decode_extended(const char *value) {
    const char *why = NULL, *quote = strncasecmp(value, "utf-8'", 6) == 0 ? strchr(value + 6, '\'') : NULL;
    return quote != NULL ? query_decode(quote + 1, strlen(quote + 1), false, &why) : NULL;
}

static int read_disposition(struct part_head *head, const char *value, struct err *e) {
    struct param param = {0};
    char *extended = NULL;
    int more = -1;
    bool is_fine = strncasecmp(value, "form-data", 9) == 0;
    for (const char *p = value + 9; is_fine && (more = next_param(&p, &param)) == 1;) {
        if (is_named(&param, "name"))
            is_fine = take_once(&head->name, &param);
        else if (is_named(&param, "filename"))
            is_fine = take_once(&head->filename, &param);
        else if (is_named(&param, "filename*"))
            is_fine = take_once(&extended, &param);
        free(param.value);
    }
    is_fine = is_fine && more == 0;
    if (is_fine && head->name != NULL)
        decode_percents(head->name);
    if (is_fine && head->filename != NULL)
        decode_percents(head->filename);
    else if (is_fine && extended != NULL)
        is_fine = (head->filename = decode_extended(extended)) != NULL;
    free(extended);
    if (!is_fine)
        return err_set(e, ERR_INVALID, "%s", cannot_read);
    int code = check_name(head->name, e);
    return code == ERR_OK && head->filename != NULL ? reduce_filename(&head->filename, e) : code;
}

// One line without its CRLF, NUL-terminated; blanks at the end of a value are none of it.
static int take_line(struct part_head *head, char *line, struct err *e) {
    size_t name_length = strspn(line, TOKEN);
    if (name_length == 0 || line[name_length] != ':')
        return err_set(e, ERR_INVALID,
                       "has a header line that cannot be read: write Name: value on one line");
    const char *value = text_trim(line + name_length + 1);
    line[name_length] = '\0';
    if (strcasecmp(line, "Content-Disposition") == 0)
        return head->name != NULL ? err_set(e, ERR_INVALID, "has two Content-Dispositions: keep one")
                                  : read_disposition(head, value, e);
    if (strcasecmp(line, "Content-Type") == 0) {
        if (head->type != NULL || !text_is_utf8(value, strlen(value)))
            return err_set(e, ERR_INVALID,
                           "has a Content-Type that cannot be read: keep one, as in text/plain");
        head->type = mem_copy(value);
    }
    if (strcasecmp(line, "Content-Transfer-Encoding") == 0 && strcasecmp(value, "binary") != 0 &&
        strcasecmp(value, "8bit") != 0 && strcasecmp(value, "7bit") != 0)
        return err_set(e, ERR_INVALID,
                       "is encoded by its Content-Transfer-Encoding: send the bytes as they are");
    return ERR_OK;
}

int part_read_head(struct part_head *head, const char *lines, size_t length, struct err *e) {
    int code = ERR_OK;
    *head = (struct part_head){0};
    char *copy = mem_copy_bytes(lines, length), *line = copy;
    for (size_t i = 0; i < length && code == ERR_OK; i++)
        if (((unsigned char)copy[i] < 0x20 && strchr("\t\r\n", copy[i]) == NULL) || copy[i] == '\0' ||
            (copy[i] == '\r' && copy[i + 1] != '\n'))
            code = err_set(e, ERR_INVALID, "has a control character in its headers: remove it");
    for (char *end; code == ERR_OK && (end = strstr(line, "\r\n")) != NULL && end > line; line = end + 2) {
        *end = '\0';
        code = take_line(head, line, e);
    }
    free(copy);
    if (code == ERR_OK && head->name == NULL)
        code = check_name(NULL, e);
    if (code != ERR_OK)
        part_free_head(head);
    return code;
}

void part_free_head(struct part_head *head) {
    free(head->name);
    free(head->filename);
    free(head->type);
    *head = (struct part_head){0};
}
