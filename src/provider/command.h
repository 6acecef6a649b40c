// SPDX-License-Identifier: MIT
// What a command (a local program as the model) finds in its environment besides
// the usual variables, and the marks of loop/leftover.h.
#ifndef GENRUN_PROVIDER_COMMAND_H
#define GENRUN_PROVIDER_COMMAND_H

#define COMMAND_MODEL "GENRUN_MODEL"           // the name sent
#define COMMAND_PARAMETERS "GENRUN_PARAMETERS" // a JSON object

struct model;
// What to do about an errno of starting the model's program.
const char *command_why_not(int error, const struct model *model);

#endif
