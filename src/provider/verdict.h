// SPDX-License-Identifier: MIT
// What a verdict says to people; classify.c decides what it is.
#ifndef GENRUN_PROVIDER_VERDICT_H
#define GENRUN_PROVIDER_VERDICT_H

#include "provider/classify.h"
#include "provider/error_body.h"

// Fills the message: "HTTP 429 rate_limit_exceeded: the server's words", for an error that came after a 200 the
// `status` it stands for (0: none). Uses code and type of the verdict, failure->message where the body is silent.
void verdict_write_http(struct verdict *out, const struct failure *failure, int status,
                        const struct error_body *body);
// Fills the message with `message` as one safe line, or with `fallback` when that is NULL or blank.
void verdict_write_plain(struct verdict *out, const char *message, const char *fallback);
// Fills a short field with a word of the server's, without credentials.
void verdict_write_word(char out[64], const char *word);

#endif
