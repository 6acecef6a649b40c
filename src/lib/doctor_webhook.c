// SPDX-License-Identifier: MIT
// Endpoints of webhooks: can they be sent to, and do they take what they get.
#include "base/clock.h"
#include "lib/config_webhook.h"
#include "lib/doctor.h"
#include "queue/delivery.h"
#include <string.h>

#define OLD_MS (INT64_C(24) * 3600 * 1000) // pending for longer than a day: it holds up

struct judged {
    struct doctor *doctor;
    bool told;
};

static void tell(void *payload, bool is_mistake, const char *option, const char *line) {
    struct judged *j = payload;
    (void)option;
    j->told = true;
    doctor_tell_message(j->doctor, "webhooks", is_mistake ? DOCTOR_WRONG : DOCTOR_NOTE, line);
}

static void look_at(struct doctor *d, const struct webhook_endpoint *w) {
    struct judged judged = {.doctor = d};
    struct row *row = NULL;
    struct err e = {0};
    int64_t now_at = clock_wall_at();
    config_webhook_judge(w, tell, &judged);
    if (d->db == NULL || delivery_endpoint_row(d->db, w->name, now_at, &row, &e) != 0)
        return;
    const char *state = row_text(row, "state"), *reason = row_text(row, "reason");
    int64_t failed = row_integer(row, "failed", 0), pending = row_integer(row, "pending", 0);
    int64_t oldest_at = row_integer(row, "oldest_at", 0);
    if (strcmp(state, "disabled") == 0)
        doctor_tell(d, "webhooks", DOCTOR_WRONG, "mend the receiver, then 'genrun webhook enable NAME'",
                    "%s is disabled: %s", w->name, reason != NULL ? reason : "it answered 410");
    else if (strcmp(state, "away") == 0)
        doctor_tell(d, "webhooks", DOCTOR_NOTE, "look at the network and at the receiver",
                    "%s cannot be reached (%s), %lld wait", w->name, reason != NULL ? reason : "no answer",
                    (long long)pending);
    else if (oldest_at > 0 && now_at - oldest_at > OLD_MS)
        doctor_tell(d, "webhooks", DOCTOR_WRONG, "'genrun webhook list NAME' tells why",
                    "%s has not taken an event for more than a day, %lld wait", w->name, (long long)pending);
    else if (failed > 0)
        doctor_tell(d, "webhooks", DOCTOR_NOTE, "'genrun webhook redeliver --failed' sends them again",
                    "%s did not take %lld event%s in all attempts", w->name, (long long)failed,
                    failed == 1 ? "" : "s");
    else if (!judged.told)
        doctor_tell(d, "webhooks", DOCTOR_OK, NULL, "%s: %lld wait", w->name, (long long)pending);
    row_free(row);
}

void doctor_look_at_webhooks(struct doctor *d) {
    for (size_t i = 0; d->config != NULL && i < d->config->webhook_count; i++)
        look_at(d, &d->config->webhooks[i]);
}
