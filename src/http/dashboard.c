// SPDX-License-Identifier: MIT
// Serves the dashboard.
#include "http/dashboard.h"
#include "base/text.h"
#include "http/handlers.h"
#include <string.h>

// Everything comes from here, no text becomes markup, and nobody may frame the page.
#define POLICY                                                                                               \
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "                           \
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

static const char *mime_of(const char *name) {
    static const struct {
        const char *ending, *mime;
    } types[] = {{".html", "text/html; charset=utf-8"},
                 {".css", "text/css; charset=utf-8"},
                 {".js", "text/javascript; charset=utf-8"},
                 {".svg", "image/svg+xml"}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (text_ends_with(name, types[i].ending))
            return types[i].mime;
    return "application/octet-stream";
}

// True when If-None-Match names the tag: a list, each maybe weak, or *.
static bool is_known(const char *header, const char *etag) {
    return header != NULL && (strcmp(header, "*") == 0 || strstr(header, etag) != NULL);
}

static void serve(struct exchange *x, const char *name) {
    const struct dashboard_file *file = dashboard_files;
    while (file->name != NULL && strcmp(file->name, name) != 0)
        file++;
    if (file->name == NULL) {
        exchange_error(x, 404, NULL, NULL, NULL, "the dashboard has no file of this name: it begins at /");
        return;
    }
    exchange_answer_header(x, "ETag", file->etag);
    exchange_answer_header(x, "Cache-Control", "no-cache");
    exchange_answer_header(x, "Content-Security-Policy", POLICY);
    exchange_answer_header(x, "Referrer-Policy", "same-origin");
    if (is_known(exchange_header(x, "If-None-Match"), file->etag))
        exchange_bytes(x, 304, mime_of(name), "", 0);
    else
        exchange_bytes(x, 200, mime_of(name), file->bytes, file->length);
}

void dashboard_page(struct exchange *x, genrun *g) {
    (void)g;
    serve(x, "index.html");
}

void dashboard_asset(struct exchange *x, genrun *g) {
    (void)g;
    serve(x, exchange_segment(x, "name"));
}
