// SPDX-License-Identifier: MIT
// Refusals by address: who fails too often has to wait, and a flood of them must not fill the log. Addresses are
// networks (base/address.h); a fixed number of them is known, the one seen longest ago is forgotten. Times are
// monotonic.
#ifndef GENRUN_HTTP_THROTTLE_H
#define GENRUN_HTTP_THROTTLE_H

#include "base/address.h"
#include <stdbool.h>
#include <stdint.h>

struct throttle;

// `failures` in a minute are answered as what they are, further ones by a wait; 0: any number.
struct throttle *throttle_new(int failures);
void throttle_free(struct throttle *t);
// A request that fails, with a wrong credential or without any (which does not count). Returns the seconds for which
// those of the address are to wait, 0: none.
int throttle_failure(struct throttle *t, struct address_network from, bool is_wrong, int64_t now_ms);
// May this refusal be a row of the log: the first in a second from there, and one of 60 in a minute from anywhere?
// Then *left_out are those from there that were not.
bool throttle_log(struct throttle *t, struct address_network from, int64_t now_ms, int64_t *left_out);
// Takes the number of all that no row tells of yet.
int64_t throttle_take_left_out(struct throttle *t);

#endif
