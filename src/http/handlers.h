// SPDX-License-Identifier: MIT
// The handlers that routes.c names, by family.
#ifndef GENRUN_HTTP_HANDLERS_H
#define GENRUN_HTTP_HANDLERS_H

#include "http/exchange.h"
#include "http/field.h"

// api.c
void api_list(struct exchange *x, genrun *g);

// metrics.c
void metrics_get(struct exchange *x, genrun *g);
void metrics_health(struct exchange *x, genrun *g);

// dashboard.c
void dashboard_page(struct exchange *x, genrun *g);
void dashboard_asset(struct exchange *x, genrun *g);

// api_session.c
extern const struct field api_session_log_in_body[];
void api_session_show(struct exchange *x, genrun *g);
void api_session_log_in(struct exchange *x, genrun *g);
void api_session_log_out(struct exchange *x, genrun *g);
void api_session_link(struct exchange *x, genrun *g);

#endif
