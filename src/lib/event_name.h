// SPDX-License-Identifier: MIT
// The names of events, as they stand in the log and are asked for: a name that no event has is a typing error.
#ifndef GENRUN_LIB_EVENT_NAME_H
#define GENRUN_LIB_EVENT_NAME_H

#include <stdbool.h>

// Is it the name of an event, or with "*" or "." at its end what some begin with?
bool event_name_is_known(const char *pattern);
// The name nearest to one that is not known; NULL: none is near, or it is a pattern.
const char *event_name_nearest(const char *pattern);

#endif
