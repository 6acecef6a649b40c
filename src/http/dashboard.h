// SPDX-License-Identifier: MIT
// The dashboard's files, which are embedded at build: src/web/*. They hold no data, so anyone may have them; what they
// show they ask the API for, with the credential of whoever looks.
#ifndef GENRUN_HTTP_DASHBOARD_H
#define GENRUN_HTTP_DASHBOARD_H

#include <stddef.h>

struct dashboard_file {
    const char *name; // of the file; NULL ends the list
    const char *etag; // of its content, with the quotes
    const char *bytes;
    size_t length;
};
extern const struct dashboard_file dashboard_files[]; // made by the Makefile

#endif
