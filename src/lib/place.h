// SPDX-License-Identifier: MIT
// Where the configuration is looked for and data goes: command line, environment,
// the XDG base directories, /etc.
#ifndef GENRUN_LIB_PLACE_H
#define GENRUN_LIB_PLACE_H

#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>

// The configuration file to read, in *found for the caller to free; NULL when there is none. ERR_CONFIG
// when `path` (may be NULL) or $GENRUN_CONFIG names one that does not exist.
int place_of_config(const char *path, char **found, struct err *e) must_check;
// Reads it whole. ERR_CONFIG with the reason when that is impossible: a folder, unreadable, too large.
int place_read(const char *path, size_t maximum, struct buf *out, struct err *e) must_check;
// False for what has no place of its own, such as /dev/null or a pipe.
bool place_is_file(const char *path);
// `path` made absolute: below the folder of `base_file` (an absolute path), or below the current folder
// where that is NULL. The caller frees it.
char *place_absolute(const char *path, const char *base_file);
// A path that begins with $CREDENTIALS_DIRECTORY/, where systemd puts what LoadCredential names, with the folder in
// place of that; outside of a service, which has no such folder, as it is. The caller frees it. NULL for other paths.
char *place_of_credential(const char *path);
// $XDG_DATA_HOME/genrun/NAME (~/.local/share/genrun/NAME) for the caller to free; NULL when HOME is not
// set. Nothing is created.
char *place_of_data(const char *name);

#endif
