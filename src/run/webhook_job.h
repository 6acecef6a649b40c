// SPDX-License-Identifier: MIT
// Inside of src/run/: the job `webhooks`. The runner sends in its own turns, so for it the job only removes what has had
// its time; as a command it sends, too, when no runner is up.
#ifndef GENRUN_RUN_WEBHOOK_JOB_H
#define GENRUN_RUN_WEBHOOK_JOB_H

#include "run/job.h"

int64_t webhook_job_every_ms(const struct job_settings *settings);
void *webhook_job_begin(struct job_run *run);
int webhook_job_slice(struct job_run *run, bool *more, struct err *e) must_check;
void webhook_job_end(void *state);

#endif
