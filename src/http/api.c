// SPDX-License-Identifier: MIT
// GET /api: what there is, from the table of routes.
#include "base/json.h"
#include "http/handlers.h"
#include "http/route.h"

static void write_fields(struct buf *out, const char *key, const struct field *fields) {
    if (!fields)
        return;
    json_write_key(out, key);
    field_describe(out, fields);
}

void api_list(struct exchange *x, genrun *g) {
    static const char *const roles[] = {
        [ROLE_ANYONE] = "anyone", [ROLE_USER] = "user", [ROLE_ADMIN] = "admin"};
    struct buf out;
    (void)g;
    buf_init(&out, BUF_UNLIMITED);
    buf_text(&out, "{");
    json_write_member_text(&out, "version", GENRUN_VERSION);
    json_write_key(&out, "routes");
    buf_char(&out, '[');
    for (size_t i = 0; i < route_count; i++) {
        const struct route *r = &route_list[i];
        buf_text(&out, i ? ",{" : "{");
        json_write_member_text(&out, "method", r->method);
        json_write_member_text(&out, "path", r->path);
        json_write_member_text(&out, "role", roles[r->role]);
        json_write_member_text(&out, "summary", r->summary);
        write_fields(&out, "query", r->query);
        write_fields(&out, "body", r->body);
        json_write_member_bool(&out, "upload", r->upload);
        buf_char(&out, '}');
    }
    buf_text(&out, "]}");
    exchange_json(x, 200, &out);
    buf_free(&out);
}
