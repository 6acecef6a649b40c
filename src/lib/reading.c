// SPDX-License-Identifier: MIT
// The import as a host sees it: how far it is, and how it is stopped.
#include "lib/reading.h"

#include "base/clock.h"
#include <sys/stat.h>

#define TELL_MS 100
#define KB 1000

// How far the stream is, in bytes of a file or in lines. True: interrupted.
static bool tell(struct reading *r) {
    if (r->g->stop) {
        r->g->stop = 0;
        return true;
    }
    if (!r->progress)
        return false;
    off_t at = r->size > 0 ? ftello(r->stream) : -1;
    int code = at >= 0 ? r->progress(r->payload, at / KB, (r->size > at ? r->size : at) / KB, "kB")
                       : r->progress(r->payload, r->lines, 0, "lines");
    return code != 0;
}

static int take_item(void *payload, const struct spec *spec, int64_t line, struct err *e) {
    struct reading *r = payload;
    int64_t now_ms = clock_monotonic_ms();
    if (now_ms - r->told_ms >= TELL_MS) {
        r->told_ms = now_ms;
        if ((r->interrupted = tell(r)))
            return ERR_CONFLICT;
    }
    struct spec item = *spec;
    int result = template_set_apply(&r->templates, &item, e);
    if (!result)
        result = r->each(r->each_payload, &item, line, e);
    if (!result)
        r->lines++;
    return result;
}

int reading_run(struct reading *r, const genrun_batch_options *o, const char **format) {
    struct import_options import = {
        .parameters = o->parameters, .priority = o->priority, .notes = &r->g->notes};
    enum import_format used = IMPORT_GUESS;
    struct stat status;
    int64_t lines;
    int fd = fileno(r->stream);
    buf_clear(&r->g->notes);
    if (o->format && !import_format_parse(o->format, &import.format))
        return err_in(&r->g->err, ERR_INVALID, "format",
                      "format %s is not known: use openai, jsonl, csv or txt", o->format);
    r->size = fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) ? status.st_size : 0;
    r->told_ms = clock_monotonic_ms();
    int result = template_set_load(&r->templates, r->g, o->template_id);
    import.prompt_optional = r->templates.count > 0;
    if (!result)
        result = import_lines(r->stream, r->name, &import, take_item, r, &used, &lines, &r->g->err);
    template_set_free(&r->templates);
    // A signal may have ended the read, or have come after the last look.
    if (!r->interrupted && (!result || ferror(r->stream)))
        r->interrupted = tell(r);
    if (format)
        *format = import_format_name(used);
    if (r->interrupted)
        return err_set(&r->g->err, ERR_CONFLICT, "interrupted after %lld lines: nothing was stored",
                       (long long)r->lines);
    return result;
}
