// SPDX-License-Identifier: MIT
// What an error's body says, whoever wrote it: OpenAI and its many compatibles,
// Anthropic, Gemini, Azure, OpenRouter, Ollama, llama.cpp, FastAPI, a proxy's
// page. Only reads; classify.c judges.
#ifndef GENRUN_PROVIDER_ERROR_BODY_H
#define GENRUN_PROVIDER_ERROR_BODY_H

#include <stdbool.h>
#include <stdint.h>

struct error_body {
    bool is_error;    // JSON with an error object or text in it
    int status;       // the HTTP status that its own code, type or status stands for; 0: none
    char code[64];    // error.code, numbers in decimal; Anthropic: details.error_code; "" when none
    char type[64];    // error.type; Gemini: error.status
    char detail[64];  // Azure: innererror.code; Gemini: details[].reason
    char *message;    // the server's words, raw (not cleaned, not redacted); never NULL, may be ""
    bool daily_quota; // a quota that comes back at midnight Pacific (Gemini's PerDay)
    bool moderation;  // metadata tells of flagged input
    bool in_flight;   // OpenRouter: the budget is taken by requests that are running
    int64_t wait_ms;  // what the body asks for; -1: nothing
};

// Reads `body` (NULL is fine) into `out`; never fails. The caller calls error_body_clear.
void error_body_read(const char *body, int64_t now_at, struct error_body *out);
void error_body_clear(struct error_body *body);

#endif
