// SPDX-License-Identifier: MIT
// Reads the text of an INI file through inih and gives sections, options and
// mistakes with their line numbers. Nothing is cut in silence: what inih would
// cut or misread is a mistake, or is read whole.
#ifndef GENRUN_LIB_INI_H
#define GENRUN_LIB_INI_H

#include <stddef.h>

#define INI_LINE_LIMIT 195 // bytes of a line with an option or section; comments have no limit

struct ini_listener {
    // "[name]", without blanks around the name. NULL: a line that was meant as a section and is a
    // mistake (told before); what follows belongs nowhere.
    void (*on_section)(void *payload, int line, const char *name);
    void (*on_option)(void *payload, int line, const char *name, const char *value);
    void (*on_mistake)(void *payload, int line, const char *what); // "what was wrong: what to do"
    void *payload;
};

// `text` needs no NUL at its end. A UTF-8 byte order mark, CRLF and indented options are fine.
void ini_read(const char *text, size_t length, const struct ini_listener *listener);

#endif
