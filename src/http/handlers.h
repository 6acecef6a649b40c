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

#endif
