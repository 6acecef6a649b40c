// SPDX-License-Identifier: MIT
// What a command (a local program as the model) finds in its environment besides
// the usual variables; everything that it starts inherits them, and is known by them.
#ifndef GENRUN_PROVIDER_COMMAND_H
#define GENRUN_PROVIDER_COMMAND_H

#define COMMAND_RUNNER "GENRUN_RUNNER"         // id of the runner that started it
#define COMMAND_ID "GENRUN_GENERATION_ID"      // of the generation
#define COMMAND_ATTEMPT "GENRUN_ATTEMPT"       // number of the start, from 1
#define COMMAND_MODEL "GENRUN_MODEL"           // the name sent
#define COMMAND_PARAMETERS "GENRUN_PARAMETERS" // a JSON object

#endif
