// SPDX-License-Identifier: MIT
#include "lib/service.h"
#include "base/clock.h"
#include "base/mem.h"
#include "loop/notify.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_MS 5000      // between two lines that tell what the runner does
#define WAIT_TOLD_MS 10000  // between two requests for more time to start
#define WAIT_ASKED_MS 60000 // what each asks for
#define STOP_MORE_MS 30000  // beyond the grace: for writing the ends to a busy disk

struct service {
    struct notify *notify;
    int64_t beat_ms; // from beat to beat, 0: none is wanted
    int64_t next_beat_ms;
    int64_t next_status_ms;
    int64_t next_wait_ms;
    int64_t seen_changes; // of the database, when the status was made
    char status[128];
};

struct service *service_open(void) {
    struct notify *notify = notify_open();
    if (notify == NULL)
        return NULL;
    struct service *s = mem_alloc(1, sizeof *s);
    s->notify = notify;
    s->beat_ms = notify_watchdog_ms(notify) / 2;
    return s;
}

void service_close(struct service *service) {
    if (service == NULL)
        return;
    notify_close(service->notify);
    free(service);
}

void service_waits(struct service *service) {
    int64_t now_ms = clock_monotonic_ms();
    char lines[160];
    if (service == NULL || now_ms < service->next_wait_ms)
        return;
    service->next_wait_ms = now_ms + WAIT_TOLD_MS;
    snprintf(lines, sizeof lines,
             "STATUS=waits for a command that has the database\nEXTEND_TIMEOUT_USEC=%lld",
             (long long)WAIT_ASKED_MS * 1000);
    notify_send(service->notify, lines);
}

void service_ready(struct service *service) {
    if (service != NULL)
        notify_send(service->notify, "READY=1");
}

static void write_status(struct service *s, genrun *g) {
    int64_t queued = 0, running = 0;
    char line[sizeof s->status];
    struct err e;
    if (queue_count_open(g->db, &queued, &running, &e) != 0)
        return; // told with the next turn that can read
    s->seen_changes = db_total_changes(g->db);
    snprintf(line, sizeof line,
             "STATUS=%lld running, %lld queued; since the start %lld completed, %lld failed",
             (long long)running, (long long)queued, (long long)runner_completed(g->runner),
             (long long)runner_failed(g->runner));
    if (strcmp(line, s->status) != 0 && notify_send(s->notify, line))
        memcpy(s->status, line, sizeof line);
}

void service_turned(struct service *service, genrun *g) {
    int64_t now_ms = clock_monotonic_ms();
    if (service == NULL)
        return;
    if (service->beat_ms > 0 && now_ms >= service->next_beat_ms) {
        bool told = notify_send(service->notify, "WATCHDOG=1");
        service->next_beat_ms = now_ms + (told ? service->beat_ms : service->beat_ms / 4 + 1);
    }
    if (now_ms >= service->next_status_ms) {
        service->next_status_ms = now_ms + STATUS_MS;
        write_status(service, g);
    }
}

int64_t service_wait_ms(const struct service *service, genrun *g, int64_t longest_ms) {
    int64_t now_ms = clock_monotonic_ms(), until_ms = now_ms + longest_ms;
    if (service == NULL)
        return longest_ms;
    if (service->beat_ms > 0 && service->next_beat_ms < until_ms)
        until_ms = service->next_beat_ms;
    if (db_total_changes(g->db) != service->seen_changes && service->next_status_ms < until_ms)
        until_ms = service->next_status_ms;
    return until_ms > now_ms ? until_ms - now_ms : 0;
}

void service_stops(struct service *service, int64_t grace_ms) {
    char lines[96];
    if (service == NULL)
        return;
    snprintf(lines, sizeof lines, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%lld",
             (long long)(grace_ms + STOP_MORE_MS) * 1000);
    notify_send(service->notify, lines);
}
