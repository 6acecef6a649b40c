// SPDX-License-Identifier: MIT
// The HTTP API: is it served, and who may call. Of secrets only whether they are there.
#include "base/mem.h"
#include "lib/config_http.h"
#include "lib/doctor.h"
#include "queue/key.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct judged {
    struct doctor *doctor;
    bool told;
};

static void tell(void *payload, bool is_mistake, const char *option, const char *line) {
    struct judged *j = payload;
    // A runner that is up has a key that is not known here, or it would not be.
    bool is_wrong = is_mistake && !(j->doctor->served && strcmp(option, "listen") == 0);
    j->told = true;
    doctor_tell_message(j->doctor, "http", is_wrong ? DOCTOR_WRONG : DOCTOR_NOTE, line);
}

static void look_at_key_file(struct doctor *d, const char *path, bool *told) {
    struct stat st;
    if (path == NULL || stat(path, &st) != 0 || (st.st_mode & 077) == 0)
        return;
    char *advice = mem_format("chmod 600 %s", path);
    doctor_tell(d, "http", DOCTOR_NOTE, advice, "admin_key_file %s can be read by others (mode %04o)", path,
                (unsigned)st.st_mode & 07777);
    free(advice);
    *told = true;
}

void doctor_look_at_http(struct doctor *d) {
    int64_t keys = 0;
    struct err e = {0};
    struct judged judged = {.doctor = d};
    const struct config *config = d->config;
    if (config == NULL)
        return;
    const struct http_settings *http = &config->http;
    if (d->db != NULL && queue_key_count(d->db, &keys, &e) != 0)
        keys = 0;
    if (http->listen == NULL && keys == 0 && http->admin_key_file == NULL) {
        doctor_tell(d, "http", DOCTOR_OK, NULL, "it is not configured ([http] listen)");
        return;
    }
    config_http_judge(config, keys, tell, &judged);
    look_at_key_file(d, http->admin_key_file, &judged.told);
    if (judged.told)
        return;
    struct buf source, secret;
    buf_init(&source, BUF_UNLIMITED);
    buf_init(&secret, BUF_UNLIMITED);
    config_write_admin_key_source(config, &source);
    bool is_set = config_admin_key(config, &secret, &e) == 0 && secret.length > 0;
    config_wipe(&secret);
    if (is_set || keys > 0)
        doctor_tell(d, "http", DOCTOR_OK, NULL, "%s; the admin secret (%s) is %s; %lld good key%s",
                    http->listen != NULL ? http->listen : "not configured", buf_borrow(&source),
                    is_set ? "set" : "not set here", (long long)keys, keys == 1 ? "" : "s");
    else
        doctor_tell(
            d, "http", DOCTOR_OK, NULL,
            "%s, for this machine; the admin secret (%s) is not set here and there is no key, so the runner "
            "tells a link and a token at its start",
            http->listen, buf_borrow(&source));
    buf_free(&source);
}
