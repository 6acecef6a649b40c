// SPDX-License-Identifier: MIT
// The headers of a request to a model server.
#ifndef GENRUN_PROVIDER_HEADERS_H
#define GENRUN_PROVIDER_HEADERS_H

#include "provider/model.h"
#include <curl/curl.h>

// Makes the list: `ours`, pairs of a name and a value (NULL: left out), with the program's name and, where
// `with_key` is set, the model's API key, all but for those that the model sets itself; then the model's. The
// list holds the key: it is freed by http_request_clear. ERR_CONFIG when the key is missing or a header of the
// model is none.
int headers_make(struct curl_slist **out, const struct model *model, const char *const (*ours)[2],
                 size_t count, bool with_key, struct err *e) must_check;

#endif
