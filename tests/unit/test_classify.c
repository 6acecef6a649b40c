// SPDX-License-Identifier: MIT
// The table of failures, a case for each of its rows with a body as the server
// sends it; then what overrides it, what is said, and bodies meant to do harm.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "provider/classify.h"
#include "provider/redact.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

#define NOW INT64_C(1767225600000) // 2026-01-01T00:00:00Z, 16:00 in Los Angeles
#define NONE (-1)

#define DOWN 1
#define REDUCE 2

static const struct http_case {
    const char *what;
    int status;
    int64_t retry_after_ms;
    const char *body;
    enum verdict_action action;
    const char *error_type;
    int64_t wait_ms;
    int flags;
    const char *message; // begins with
} http_cases[] = {
    // ---- OpenAI
    {"OpenAI requests per minute", 429, NONE,
     "{\"error\":{\"message\":\"Rate limit reached for gpt-4o in organization org-abc on requests per min "
     "(RPM): "
     "Limit 500, Used 500, Requested 1. Please try again in 120ms. Visit https://platform.openai.com/account/"
     "rate-limits to learn more.\",\"type\":\"requests\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}",
     VERDICT_WAIT, "RateLimitError", 120, 0,
     "HTTP 429 rate_limit_exceeded: Rate limit reached for gpt-4o in organization org-abc"},
    {"OpenAI tokens per minute, the header wins over the words", 429, 7660,
     "{\"error\":{\"message\":\"Rate limit reached for gpt-4o in organization org-abc on tokens per min "
     "(TPM): Limit "
     "30000, Used 29000, Requested 1200. Please try again in 400ms.\",\"type\":\"tokens\",\"param\":null,"
     "\"code\":\"rate_limit_exceeded\"}}",
     VERDICT_WAIT, "RateLimitError", 7660, 0, "HTTP 429 rate_limit_exceeded: Rate limit reached"},
    {"OpenAI request larger than the limit", 429, NONE,
     "{\"error\":{\"message\":\"Request too large for gpt-4o in organization org-abc on tokens per min "
     "(TPM): Limit "
     "30000, Requested 40960. The input or output tokens must be reduced in order to run successfully.\","
     "\"type\":\"tokens\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0,
     "HTTP 429 rate_limit_exceeded: Request too large for gpt-4o"},
    {"a large request with separators, and a Retry-After that does not help", 429, SECOND,
     "{\"error\":{\"message\":\"Too many tokens: limit: 1,000,000, requested: "
     "1,000,001\",\"type\":\"tokens\"}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 429 tokens: Too many tokens"},
    {"requested equal to the limit fits", 429, NONE,
     "{\"error\":{\"message\":\"on tokens per min: Limit 30000, Used 1, Requested "
     "30000.\",\"type\":\"tokens\"}}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "HTTP 429 tokens: on tokens per min"},
    {"numbers beyond 64 bits", 429, NONE,
     "{\"error\":{\"message\":\"tokens: Limit 99999999999999999999999, Requested 1\",\"type\":\"tokens\"}}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "HTTP 429 tokens: tokens"},
    {"OpenAI requests per day", 429, NONE,
     "{\"error\":{\"message\":\"Rate limit reached for gpt-4 in organization org-abc on requests per day "
     "(RPD): Limit "
     "200, Used 200, Requested 1. Please try again in 7m12s.\",\"type\":\"requests\",\"param\":null,"
     "\"code\":\"rate_limit_exceeded\"}}",
     VERDICT_WAIT, "RateLimitError", 7 * MINUTE + 12 * SECOND, 0, "HTTP 429 rate_limit_exceeded: Rate limit"},
    {"a wait of hours shows as a parked model", 429, 2 * HOUR,
     "{\"error\":{\"message\":\"Rate limit "
     "reached\",\"type\":\"requests\",\"code\":\"rate_limit_exceeded\"}}",
     VERDICT_PARK, "RateLimitError", 2 * HOUR, 0, "HTTP 429 rate_limit_exceeded: Rate limit reached"},
    {"a wait of one hour does not", 429, HOUR, "{\"error\":{\"message\":\"Rate limit reached\"}}",
     VERDICT_WAIT, "RateLimitError", HOUR, 0, "HTTP 429: Rate limit reached"},
    {"OpenAI slow down", 429, 5 * SECOND,
     "{\"error\":{\"message\":\"Your requests are ramping up too quickly. Please slow down.\",\"type\":"
     "\"rate_limit_error\",\"param\":null,\"code\":\"slow_down\"}}",
     VERDICT_WAIT, "RateLimitError", 5 * SECOND, REDUCE, "HTTP 429 slow_down: Your requests"},
    {"OpenAI slow down, formerly 503", 503, NONE,
     "{\"error\":{\"message\":\"Slow "
     "Down\",\"type\":\"server_error\",\"param\":null,\"code\":\"slow_down\"}}",
     VERDICT_WAIT, "RateLimitError", NONE, REDUCE, "HTTP 503 slow_down: Slow Down"},
    {"OpenAI insufficient_quota, Retry-After of a second notwithstanding", 429, SECOND,
     "{\"error\":{\"message\":\"You exceeded your current quota, please check your plan and billing "
     "details.\","
     "\"type\":\"insufficient_quota\",\"param\":null,\"code\":\"insufficient_quota\"}}",
     VERDICT_PARK, "QuotaError", NONE, 0, "HTTP 429 insufficient_quota: You exceeded your current quota"},
    {"OpenAI insufficient_quota by type alone", 429, NONE,
     "{\"error\":{\"message\":\"You exceeded your current "
     "quota\",\"type\":\"insufficient_quota\",\"code\":null}}",
     VERDICT_PARK, "QuotaError", NONE, 0, "HTTP 429 insufficient_quota: You exceeded"},
    {"OpenAI credit balance", 429, NONE,
     "{\"error\":{\"message\":\"You exceeded your current quota\",\"type\":\"insufficient_quota\",\"code\":"
     "\"credit_balance_exhausted\"}}",
     VERDICT_PARK, "QuotaError", NONE, 0, "HTTP 429 credit_balance_exhausted: You"},
    {"OpenAI organization spend", 429, NONE,
     "{\"error\":{\"message\":\"m\",\"type\":\"insufficient_quota\",\"code\":\"organization_spend_limit_"
     "exceeded\"}}",
     VERDICT_PARK, "QuotaError", NONE, 0, "HTTP 429 organization_spend_limit_exceeded: m"},
    {"OpenAI project spend", 429, NONE,
     "{\"error\":{\"message\":\"m\",\"type\":\"insufficient_quota\",\"code\":\"project_spend_limit_"
     "exceeded\"}}",
     VERDICT_PARK, "QuotaError", NONE, 0, "HTTP 429 project_spend_limit_exceeded: m"},
    {"OpenAI organization usage", 429, NONE,
     "{\"error\":{\"message\":\"m\",\"type\":\"insufficient_quota\",\"code\":\"organization_usage_limit_"
     "exceeded\"}}",
     VERDICT_PARK, "QuotaError", NONE, 0, "HTTP 429 organization_usage_limit_exceeded: m"},
    {"OpenAI billing hard limit, with a 400", 400, NONE,
     "{\"error\":{\"message\":\"Billing hard limit has been "
     "reached\",\"type\":\"invalid_request_error\",\"param\":"
     "null,\"code\":\"billing_hard_limit_reached\"}}",
     VERDICT_PARK, "QuotaError", NONE, 0, "HTTP 400 billing_hard_limit_reached: Billing"},
    {"the code is finer than the type", 429, NONE,
     "{\"error\":{\"message\":\"m\",\"type\":\"insufficient_quota\",\"code\":\"rate_limit_exceeded\"}}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "HTTP 429 rate_limit_exceeded: m"},
    {"OpenAI overloaded", 503, NONE,
     "{\"error\":{\"message\":\"The engine is currently overloaded, please try again later\",\"type\":"
     "\"service_unavailable_error\",\"param\":null,\"code\":\"server_is_overloaded\"}}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "HTTP 503 server_is_overloaded: The engine"},
    {"an overload that comes as a 500", 500, 3 * SECOND,
     "{\"error\":{\"message\":\"m\",\"code\":\"server_is_overloaded\"}}", VERDICT_WAIT, "RateLimitError",
     3 * SECOND, 0, "HTTP 500 server_is_overloaded: m"},
    {"OpenAI 500", 500, NONE,
     "{\"error\":{\"message\":\"The server had an error while processing your request. Sorry about "
     "that!\",\"type\":"
     "\"server_error\",\"param\":null,\"code\":null}}",
     VERDICT_RETRY, "ModelGenerationError", NONE, 0, "HTTP 500 server_error: The server had an error"},
    {"OpenAI 500 with Retry-After", 500, 2 * SECOND,
     "{\"error\":{\"message\":\"m\",\"type\":\"server_error\"}}", VERDICT_RETRY, "ModelGenerationError",
     2 * SECOND, 0, "HTTP 500 server_error: m"},
    {"OpenAI 502 with an error of the API", 502, NONE,
     "{\"error\":{\"message\":\"Bad gateway.\",\"type\":\"cf_bad_gateway\",\"code\":502}}", VERDICT_RETRY,
     "ModelGenerationError", NONE, 0, "HTTP 502 cf_bad_gateway: Bad gateway."},
    {"OpenAI 504", 504, NONE, "{\"error\":{\"message\":\"Gateway timeout.\",\"code\":\"gateway_timeout\"}}",
     VERDICT_RETRY, "TimeoutError", NONE, 0, "HTTP 504 gateway_timeout: Gateway timeout."},
    {"OpenAI context length", 400, NONE,
     "{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens. However, your messages "
     "resulted in "
     "9001 tokens. Please reduce the length of the messages.\",\"type\":\"invalid_request_error\",\"param\":"
     "\"messages\",\"code\":\"context_length_exceeded\"}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 400 context_length_exceeded: This model's maximum"},
    {"context length as a 500 of a server that lies", 500, NONE,
     "{\"error\":{\"message\":\"m\",\"code\":\"context_length_exceeded\"}}", VERDICT_FAIL,
     "InvalidRequestError", NONE, 0, "HTTP 500 context_length_exceeded: m"},
    {"context length in words only, as a 500", 500, NONE,
     "{\"error\":{\"code\":500,\"message\":\"the request exceeds the available context size. try increasing "
     "the context "
     "size or enable context shift\",\"type\":\"server_error\"}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 500 server_error: the request exceeds"},
    {"OpenAI string too long", 400, NONE,
     "{\"error\":{\"message\":\"Invalid 'input': string too "
     "long.\",\"type\":\"invalid_request_error\",\"param\":"
     "\"input\",\"code\":\"string_above_max_length\"}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 400 string_above_max_length: Invalid"},
    {"OpenAI content policy (images)", 400, NONE,
     "{\"error\":{\"code\":\"content_policy_violation\",\"message\":\"Your request was rejected as a result "
     "of our "
     "safety system.\",\"param\":null,\"type\":\"invalid_request_error\"}}",
     VERDICT_FAIL, "ContentFilterError", NONE, 0,
     "HTTP 400 content_policy_violation: Your request was rejected"},
    {"OpenAI moderation (images)", 400, NONE,
     "{\"error\":{\"message\":\"Your request was rejected by the safety "
     "system.\",\"type\":\"image_generation_user_"
     "error\",\"param\":null,\"code\":\"moderation_blocked\"}}",
     VERDICT_FAIL, "ContentFilterError", NONE, 0, "HTTP 400 moderation_blocked: Your request"},
    {"OpenAI model not found", 404, NONE,
     "{\"error\":{\"message\":\"The model `gpt-9` does not exist or you do not have access to it.\",\"type\":"
     "\"invalid_request_error\",\"param\":null,\"code\":\"model_not_found\"}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 404 model_not_found: The model `gpt-9`"},
    {"OpenAI other 400", 400, NONE,
     "{\"error\":{\"message\":\"Unrecognized request argument supplied: "
     "foo\",\"type\":\"invalid_request_error\","
     "\"param\":null,\"code\":null}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0,
     "HTTP 400 invalid_request_error: Unrecognized request argument"},
    {"OpenAI 413", 413, NONE, "{\"error\":{\"message\":\"Request entity too large\"}}", VERDICT_FAIL,
     "InvalidRequestError", NONE, 0, "HTTP 413: Request entity too large"},
    {"OpenAI 422", 422, NONE, "{\"error\":{\"message\":\"Unprocessable\"}}", VERDICT_FAIL,
     "InvalidRequestError", NONE, 0, "HTTP 422: Unprocessable"},
    {"a 400 keeps no wait", 400, 5 * SECOND, "{\"error\":{\"message\":\"m\"}}", VERDICT_FAIL,
     "InvalidRequestError", NONE, 0, "HTTP 400: m"},
    {"OpenAI invalid key, which it repeats", 401, NONE,
     "{\"error\":{\"message\":\"Incorrect API key provided: sk-proj-AbCd1234efGH5678. You can find your API "
     "key at "
     "https://platform.openai.com/account/"
     "api-keys.\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":"
     "\"invalid_api_key\"}}",
     VERDICT_PARK, "AuthenticationError", NONE, 0,
     "HTTP 401 invalid_api_key: Incorrect API key provided: \xe2\x80\xa6. You can find your API key at "
     "https://pl"},
    {"OpenAI country", 403, NONE,
     "{\"error\":{\"code\":\"unsupported_country_region_territory\",\"message\":\"Country, region, or "
     "territory not "
     "supported\",\"param\":null,\"type\":\"request_forbidden\"}}",
     VERDICT_PARK, "AuthenticationError", NONE, 0, "HTTP 403 unsupported_country_region_territory: Country"},
    {"OpenAI permission", 403, 10 * SECOND,
     "{\"error\":{\"message\":\"You have insufficient permissions for this operation.\",\"type\":"
     "\"invalid_request_error\"}}",
     VERDICT_PARK, "AuthenticationError", NONE, 0, "HTTP 403 invalid_request_error: You have insufficient"},
    // ---- Anthropic
    {"Anthropic 400", 400, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"max_tokens: Field "
     "required\"},"
     "\"request_id\":\"req_011CSHoEeqs5C35K2UUqR7Fy\"}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0,
     "HTTP 400 invalid_request_error: max_tokens: Field required"},
    {"Anthropic 413", 413, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"request_too_large\",\"message\":\"Request exceeds the "
     "maximum size\"}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 413 request_too_large: Request exceeds"},
    {"Anthropic 404", 404, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\",\"message\":\"model: claude-0\"}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 404 not_found_error: model: claude-0"},
    {"Anthropic rate limit", 429, 42 * SECOND,
     "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"This request would exceed "
     "your "
     "organization's rate limit of 40,000 input tokens per minute.\"}}",
     VERDICT_WAIT, "RateLimitError", 42 * SECOND, 0, "HTTP 429 rate_limit_error: This request would exceed"},
    {"Anthropic concurrency", 429, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"Number of concurrent "
     "connections has "
     "exceeded your rate limit.\"}}",
     VERDICT_WAIT, "RateLimitError", NONE, REDUCE, "HTTP 429 rate_limit_error: Number of concurrent"},
    {"Anthropic overloaded", 529, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "HTTP 529 overloaded_error: Overloaded"},
    {"Anthropic 500", 500, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"Internal server error\"}}",
     VERDICT_RETRY, "ModelGenerationError", NONE, 0, "HTTP 500 api_error: Internal server error"},
    {"Anthropic 504", 504, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"timeout_error\",\"message\":\"Request timed out\"}}",
     VERDICT_RETRY, "TimeoutError", NONE, 0, "HTTP 504 timeout_error: Request timed out"},
    {"Anthropic 409", 409, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"conflict_error\",\"message\":\"Conflict\"}}", VERDICT_RETRY,
     "ModelGenerationError", NONE, 0, "HTTP 409 conflict_error: Conflict"},
    {"Anthropic spend limit", 429, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"Spend limit "
     "reached\",\"details\":{"
     "\"error_code\":\"enforced_spend_limit_reached\"}}}",
     VERDICT_PARK, "QuotaError", NONE, 0, "HTTP 429 enforced_spend_limit_reached: Spend limit reached"},
    {"Anthropic usage limits with the time of return", 400, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"You have reached your "
     "specified "
     "API usage limits. You will regain access on 2026-01-02 at 00:00 UTC.\"}}",
     VERDICT_PARK, "QuotaError", DAY, 0, "HTTP 400 invalid_request_error: You have reached your specified"},
    {"Anthropic workspace usage limits", 400, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"You have reached your "
     "specified "
     "workspace API usage limits.\"}}",
     VERDICT_PARK, "QuotaError", NONE, 0, "HTTP 400 invalid_request_error: You have reached"},
    {"the same words inside another message prove nothing", 400, NONE,
     "{\"error\":{\"type\":\"invalid_request_error\",\"message\":\"bad prompt: You have reached your "
     "specified\"}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 400 invalid_request_error: bad prompt"},
    {"Anthropic billing", 402, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"billing_error\",\"message\":\"Check your payment method\"}}",
     VERDICT_PARK, "QuotaError", NONE, 0, "HTTP 402 billing_error: Check your payment method"},
    {"Anthropic 401", 401, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":\"invalid x-api-key\"}}",
     VERDICT_PARK, "AuthenticationError", NONE, 0, "HTTP 401 authentication_error: invalid x-api-key"},
    {"Anthropic 403", 403, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"permission_error\",\"message\":\"Your API key does not have "
     "permission "
     "to use the specified resource\"}}",
     VERDICT_PARK, "AuthenticationError", NONE, 0, "HTTP 403 permission_error: Your API key does not have"},
    // ---- Gemini
    {"Gemini array with RetryInfo", 429, NONE,
     "[{\"error\":{\"code\":429,\"message\":\"Resource has been exhausted (e.g. check quota).\",\"status\":"
     "\"RESOURCE_EXHAUSTED\",\"details\":[{\"@type\":\"type.googleapis.com/"
     "google.rpc.Help\",\"links\":[]},{\"@type\":"
     "\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"45.837906927s\"}]}}]",
     VERDICT_WAIT, "RateLimitError", 45838, 0, "HTTP 429 RESOURCE_EXHAUSTED: Resource has been exhausted"},
    {"Gemini per minute", 429, NONE,
     "{\"error\":{\"code\":429,\"message\":\"You exceeded your current "
     "quota.\",\"status\":\"RESOURCE_EXHAUSTED\","
     "\"details\":[{\"@type\":\"type.googleapis.com/"
     "google.rpc.QuotaFailure\",\"violations\":[{\"quotaMetric\":"
     "\"generativelanguage.googleapis.com/generate_content_free_tier_requests\",\"quotaId\":"
     "\"GenerateRequestsPerMinutePerProjectPerModel-FreeTier\",\"quotaValue\":\"15\"}]},{\"@type\":"
     "\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"36s\"}]}}",
     VERDICT_WAIT, "RateLimitError", 36 * SECOND, 0, "HTTP 429 RESOURCE_EXHAUSTED: You exceeded"},
    {"Gemini per day: until midnight Pacific, whatever retryDelay says", 429, NONE,
     "[{\"error\":{\"code\":429,\"message\":\"You exceeded your current "
     "quota.\",\"status\":\"RESOURCE_EXHAUSTED\","
     "\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.QuotaFailure\",\"violations\":[{\"quotaId\":"
     "\"GenerateRequestsPerMinutePerProjectPerModel-FreeTier\"},{\"quotaId\":"
     "\"GenerateRequestsPerDayPerProjectPerModel-FreeTier\"}]},{\"@type\":"
     "\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"36s\"}]}}]",
     VERDICT_PARK, "QuotaError", 8 * HOUR, 0, "HTTP 429 RESOURCE_EXHAUSTED: You exceeded"},
    {"Gemini, the wait only in words", 429, NONE,
     "{\"error\":{\"code\":429,\"message\":\"Quota exceeded. Please retry in 12.5s.\",\"status\":"
     "\"RESOURCE_EXHAUSTED\"}}",
     VERDICT_WAIT, "RateLimitError", 12500, 0, "HTTP 429 RESOURCE_EXHAUSTED: Quota"},
    {"Gemini 402", 402, NONE, "[{\"error\":{\"code\":402,\"message\":\"Billing disabled\"}}]", VERDICT_PARK,
     "QuotaError", NONE, 0, "HTTP 402: Billing disabled"},
    {"Gemini bad key, with a 400", 400, NONE,
     "[{\"error\":{\"code\":400,\"message\":\"API key not valid. Please pass a valid API key.\",\"status\":"
     "\"INVALID_ARGUMENT\",\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":"
     "\"API_KEY_INVALID\",\"domain\":\"googleapis.com\"}]}}]",
     VERDICT_PARK, "AuthenticationError", NONE, 0, "HTTP 400 INVALID_ARGUMENT: API key not valid"},
    {"Gemini overloaded", 503, NONE,
     "{\"error\":{\"code\":503,\"message\":\"The model is overloaded. Please try again later.\",\"status\":"
     "\"UNAVAILABLE\"}}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "HTTP 503 UNAVAILABLE: The model is overloaded"},
    {"Gemini bad argument", 400, NONE,
     "{\"error\":{\"code\":400,\"message\":\"Invalid value\",\"status\":\"INVALID_ARGUMENT\"}}", VERDICT_FAIL,
     "InvalidRequestError", NONE, 0, "HTTP 400 INVALID_ARGUMENT: Invalid value"},
    // ---- Azure OpenAI
    {"Azure, the header", 429, 36500,
     "{\"error\":{\"code\":\"429\",\"message\":\"Requests to the ChatCompletions_Create Operation under "
     "Azure OpenAI API "
     "version 2024-02-01 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry "
     "after 37 "
     "seconds.\"}}",
     VERDICT_WAIT, "RateLimitError", 36500, 0, "HTTP 429: Requests to the ChatCompletions_Create"},
    {"Azure, only the words", 429, NONE,
     "{\"error\":{\"code\":\"429\",\"message\":\"Please retry after 37 seconds.\"}}", VERDICT_WAIT,
     "RateLimitError", 37 * SECOND, 0, "HTTP 429: Please retry after 37 seconds."},
    {"Azure API management", 429, NONE,
     "{ \"statusCode\": 429, \"message\": \"Rate limit is exceeded. Try again in 2 minutes.\" }",
     VERDICT_WAIT, "RateLimitError", 2 * MINUTE, 0, "HTTP 429: Rate limit is exceeded."},
    {"Azure content filter", 400, NONE,
     "{\"error\":{\"message\":\"The response was filtered due to the prompt triggering Azure OpenAI's "
     "content management "
     "policy.\",\"type\":null,\"param\":\"prompt\",\"code\":\"content_filter\",\"status\":400,\"innererror\":"
     "{\"code\":"
     "\"ResponsibleAIPolicyViolation\",\"content_filter_result\":{\"hate\":{\"filtered\":true,\"severity\":"
     "\"high\"}}}}}",
     VERDICT_FAIL, "ContentFilterError", NONE, 0, "HTTP 400 content_filter: The response was filtered"},
    {"Azure content filter, told by innererror alone", 400, NONE,
     "{\"error\":{\"message\":\"m\",\"code\":\"BadRequest\",\"innererror\":{\"code\":"
     "\"ResponsibleAIPolicyViolation\"}}}",
     VERDICT_FAIL, "ContentFilterError", NONE, 0, "HTTP 400 BadRequest: m"},
    // ---- OpenRouter
    {"OpenRouter error in a 200", 200, NONE,
     "{\"error\":{\"code\":502,\"message\":\"Provider returned "
     "error\",\"metadata\":{\"provider_name\":\"X\",\"raw\":"
     "\"upstream connect error\"}},\"user_id\":\"user_1\"}",
     VERDICT_RETRY, "ModelGenerationError", NONE, 0,
     "error 502 in the answer of HTTP 200: Provider returned error: upstream connect error"},
    {"OpenRouter rate limit in a 200", 200, 3 * SECOND,
     "{\"id\":\"gen-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{"
     "\"content\":\"\"},"
     "\"finish_reason\":\"error\"}],\"error\":{\"code\":429,\"message\":\"Rate limited\"}}",
     VERDICT_WAIT, "RateLimitError", 3 * SECOND, 0, "error 429 in the answer of HTTP 200: Rate limited"},
    {"OpenRouter server_error in a stream", 200, NONE,
     "data: {\"error\":{\"code\":\"server_error\",\"message\":\"Provider disconnected unexpectedly\"}}",
     VERDICT_RETRY, "ModelGenerationError", NONE, 0,
     "error 500 in the answer of HTTP 200 server_error: Provider disconnected"},
    {"OpenRouter error in a choice", 200, NONE,
     "{\"id\":\"gen-1\",\"choices\":[{\"finish_reason\":\"error\",\"error\":{\"code\":429,\"message\":\"Rate "
     "limited\"}}]}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "error 429 in the answer of HTTP 200: Rate limited"},
    {"OpenRouter 408", 408, NONE, "{\"error\":{\"code\":408,\"message\":\"Request timed out\"}}",
     VERDICT_RETRY, "TimeoutError", NONE, 0, "HTTP 408: Request timed out"},
    {"OpenRouter 429", 429, NONE, "{\"error\":{\"code\":429,\"message\":\"Rate limit exceeded\"}}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "HTTP 429: Rate limit exceeded"},
    {"OpenRouter free models of the day", 429, NONE,
     "{\"error\":{\"message\":\"Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free "
     "model "
     "requests per "
     "day\",\"code\":429,\"metadata\":{\"headers\":{\"X-RateLimit-Limit\":\"50\",\"X-RateLimit-Remaining\":"
     "\"0\",\"X-RateLimit-Reset\":\"1767312000000\"},\"provider_name\":null}}}",
     VERDICT_PARK, "RateLimitError", DAY, 0, "HTTP 429: Rate limit exceeded: free-models-per-day."},
    {"OpenRouter 502", 502, NONE, "{\"error\":{\"code\":502,\"message\":\"Provider returned error\"}}",
     VERDICT_RETRY, "ModelGenerationError", NONE, 0, "HTTP 502: Provider returned error"},
    {"OpenRouter 503", 503, 9 * SECOND,
     "{\"error\":{\"code\":503,\"message\":\"No available model provider that meets your routing "
     "requirements\"}}",
     VERDICT_WAIT, "RateLimitError", 9 * SECOND, 0, "HTTP 503: No available model provider"},
    {"OpenRouter 402", 402, NONE,
     "{\"error\":{\"message\":\"This request requires more credits, or fewer max_tokens.\",\"code\":402}}",
     VERDICT_PARK, "QuotaError", NONE, 0, "HTTP 402: This request requires more credits"},
    {"OpenRouter 402 of the budget in flight", 402, 5 * SECOND,
     "{\"error\":{\"message\":\"In-flight budget exceeded\",\"code\":402,\"metadata\":{\"limit_source\":"
     "\"openrouter_in_flight_budget\"}}}",
     VERDICT_WAIT, "RateLimitError", 5 * SECOND, REDUCE, "HTTP 402: In-flight budget exceeded"},
    {"OpenRouter 402 with Retry-After alone", 402, 5 * SECOND, "{\"error\":{\"message\":\"m\",\"code\":402}}",
     VERDICT_WAIT, "RateLimitError", 5 * SECOND, 0, "HTTP 402: m"},
    {"402 with Retry-After, but out of money", 402, 5 * SECOND,
     "{\"error\":{\"message\":\"m\",\"code\":\"insufficient_quota\"}}", VERDICT_PARK, "QuotaError", NONE, 0,
     "HTTP 402 insufficient_quota: m"},
    {"OpenRouter 401", 401, NONE, "{\"error\":{\"message\":\"No auth credentials found\",\"code\":401}}",
     VERDICT_PARK, "AuthenticationError", NONE, 0, "HTTP 401: No auth credentials found"},
    {"OpenRouter 403 moderation", 403, NONE,
     "{\"error\":{\"code\":403,\"message\":\"x-ai/grok requires moderation on Y. Your input was flagged for "
     "\\\"violence\\\".\",\"metadata\":{\"reasons\":[\"violence\"],\"flagged_input\":\"…\",\"provider_name\":"
     "\"Y\"}}}",
     VERDICT_FAIL, "ContentFilterError", NONE, 0, "HTTP 403: x-ai/grok requires moderation"},
    {"OpenRouter 403 told by metadata alone", 403, NONE,
     "{\"error\":{\"code\":403,\"message\":\"Refused\",\"metadata\":{\"reasons\":[\"violence\"]}}}",
     VERDICT_FAIL, "ContentFilterError", NONE, 0, "HTTP 403: Refused"},
    {"flagged input, with a 400", 400, NONE,
     "{\"error\":{\"code\":400,\"message\":\"Refused\",\"metadata\":{\"flagged_input\":\"x\"}}}",
     VERDICT_FAIL, "ContentFilterError", NONE, 0, "HTTP 400: Refused"},
    {"an event without data", 200, NONE, "event: error\n", VERDICT_RETRY, "ModelGenerationError", NONE, 0,
     "error in the answer of HTTP 200: event: error"},
    {"OpenRouter 403 guardrail", 403, NONE,
     "{\"error\":{\"code\":403,\"message\":\"Blocked by guardrail: pii\"}}", VERDICT_FAIL,
     "ContentFilterError", NONE, 0, "HTTP 403: Blocked by guardrail"},
    {"403 by code of the content filter", 403, NONE,
     "{\"error\":{\"code\":\"content_filter\",\"message\":\"Blocked\"}}", VERDICT_FAIL, "ContentFilterError",
     NONE, 0, "HTTP 403 content_filter: Blocked"},
    // ---- Ollama
    {"Ollama busy", 503, NONE,
     "{\"error\":{\"message\":\"server busy, please try again.  maximum pending requests exceeded\",\"type\":"
     "\"api_error\",\"param\":null,\"code\":null}}",
     VERDICT_WAIT, "RateLimitError", NONE, REDUCE,
     "HTTP 503 api_error: server busy, please try again. maximum"},
    {"Ollama busy, native", 503, NONE,
     "{\"error\":\"server busy, please try again.  maximum pending requests exceeded\"}", VERDICT_WAIT,
     "RateLimitError", NONE, REDUCE, "HTTP 503: server busy, please try again."},
    {"Ollama model missing", 404, NONE,
     "{\"error\":{\"message\":\"model \\\"llama3\\\" not found, try pulling it "
     "first\",\"type\":\"not_found_error\","
     "\"param\":null,\"code\":null}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 404 not_found_error: model \"llama3\" not found"},
    {"Ollama model missing, native", 404, NONE,
     "{\"error\":\"model \\\"llama3\\\" not found, try pulling it first\"}", VERDICT_FAIL,
     "InvalidRequestError", NONE, 0, "HTTP 404: model \"llama3\" not found"},
    {"Ollama cancelled", 499, NONE, "{\"error\":\"context canceled\"}", VERDICT_RETRY, "ModelGenerationError",
     NONE, 0, "HTTP 499: context canceled"},
    {"Ollama cloud model", 502, NONE, "{\"error\":\"cloud model failed\"}", VERDICT_RETRY,
     "ModelGenerationError", NONE, 0, "HTTP 502: cloud model failed"},
    {"Ollama error line in a 200", 200, NONE,
     "{\"error\":\"an error was encountered while running the model: CUDA\"}\n", VERDICT_RETRY,
     "ModelGenerationError", NONE, 0,
     "error in the answer of HTTP 200: an error was encountered while running"},
    // ---- llama.cpp
    {"llama.cpp loading", 503, NONE,
     "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}", VERDICT_WAIT,
     "RateLimitError", NONE, 0, "HTTP 503 unavailable_error: Loading model"},
    {"loading, with a 500", 500, NONE, "{\"error\":{\"code\":500,\"message\":\"Loading model\"}}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "HTTP 500: Loading model"},
    {"llama.cpp no slot", 503, NONE,
     "{\"error\":{\"code\":503,\"message\":\"no slot available\",\"type\":\"unavailable_error\"}}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "HTTP 503 unavailable_error: no slot available"},
    {"llama.cpp context", 400, NONE,
     "{\"error\":{\"code\":400,\"message\":\"the request exceeds the available context size\",\"type\":"
     "\"exceed_context_size_error\",\"n_prompt_tokens\":9000,\"n_ctx\":4096}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 400 exceed_context_size_error: the request exceeds"},
    {"llama.cpp grammar", 400, NONE,
     "{\"error\":{\"code\":400,\"message\":\"Failed to parse grammar\",\"type\":\"invalid_request_error\"}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 400 invalid_request_error: Failed to parse grammar"},
    {"llama.cpp key", 401, NONE,
     "{\"error\":{\"code\":401,\"message\":\"Invalid API Key\",\"type\":\"authentication_error\"}}",
     VERDICT_PARK, "AuthenticationError", NONE, 0, "HTTP 401 authentication_error: Invalid API Key"},
    {"llama.cpp not supported", 501, NONE,
     "{\"error\":{\"code\":501,\"message\":\"This server does not support embeddings\",\"type\":"
     "\"not_supported_error\"}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 501 not_supported_error: This server"},
    // ---- errors in a 200, by name
    {"Anthropic overloaded in a stream", 200, NONE,
     "event: error\ndata: "
     "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
     VERDICT_WAIT, "RateLimitError", NONE, 0,
     "error 529 in the answer of HTTP 200 overloaded_error: Overloaded"},
    {"Anthropic api_error in a stream", 200, NONE,
     "{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"Internal server error\"}}",
     VERDICT_RETRY, "ModelGenerationError", NONE, 0,
     "error 500 in the answer of HTTP 200 api_error: Internal"},
    {"invalid request in a 200", 200, NONE,
     "{\"error\":{\"type\":\"invalid_request_error\",\"message\":\"no\",\"code\":null}}", VERDICT_FAIL,
     "InvalidRequestError", NONE, 0, "error 400 in the answer of HTTP 200 invalid_request_error: no"},
    {"money in a 200", 200, NONE, "{\"error\":{\"type\":\"insufficient_quota\",\"message\":\"no\"}}",
     VERDICT_PARK, "QuotaError", NONE, 0, "error 429 in the answer of HTTP 200 insufficient_quota: no"},
    {"a code as text in a 200", 200, NONE, "{\"error\":{\"code\":\"401\",\"message\":\"no\"}}", VERDICT_PARK,
     "AuthenticationError", NONE, 0, "error 401 in the answer of HTTP 200: no"},
    {"Gemini's status in a 200", 200, NONE,
     "[{\"error\":{\"status\":\"RESOURCE_EXHAUSTED\",\"message\":\"no\"}}]", VERDICT_WAIT, "RateLimitError",
     NONE, 0, "error 429 in the answer of HTTP 200 RESOURCE_EXHAUSTED: no"},
    {"a code that is no status", 200, NONE, "{\"error\":{\"code\":1300,\"message\":\"no\"}}", VERDICT_RETRY,
     "ModelGenerationError", NONE, 0, "error in the answer of HTTP 200: no"},
    {"no error in a 200", 200, NONE, "{\"error\":null,\"ok\":true}", VERDICT_RETRY, "ModelGenerationError",
     NONE, 0, "error in the answer of HTTP 200: {\"error\":null,\"ok\":true}"},
    // ---- other shapes
    {"vLLM of old", 400, NONE,
     "{\"object\":\"error\",\"message\":\"This model's maximum context length is 4096 tokens.\",\"type\":"
     "\"BadRequestError\",\"param\":null,\"code\":400}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0,
     "HTTP 400 BadRequestError: This model's maximum context length"},
    {"Mistral", 429, NONE,
     "{\"object\":\"error\",\"message\":\"Requests rate limit "
     "exceeded\",\"type\":\"rate_limited\",\"param\":null,"
     "\"code\":\"1300\"}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "HTTP 429 rate_limited: Requests rate limit exceeded"},
    {"FastAPI text", 404, NONE, "{\"detail\":\"Not Found\"}", VERDICT_FAIL, "InvalidRequestError", NONE, 0,
     "HTTP 404: Not Found"},
    {"FastAPI list", 422, NONE,
     "{\"detail\":[{\"loc\":[\"body\",\"messages\"],\"msg\":\"field "
     "required\",\"type\":\"value_error.missing\"}]}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 422: field required"},
    {"text-generation-inference", 429, NONE,
     "{\"error\":\"Model is overloaded\",\"error_type\":\"overloaded\"}", VERDICT_WAIT, "RateLimitError",
     NONE, 0, "HTTP 429 overloaded: Model is overloaded"},
    {"xAI bad key, with a 400", 400, NONE,
     "{\"code\":\"Client specified an invalid argument\",\"error\":\"Incorrect API key provided: xa***yz. "
     "You can obtain "
     "an API key from https://console.x.ai.\"}",
     VERDICT_PARK, "AuthenticationError", NONE, 0,
     "HTTP 400 Client specified an invalid argument: Incorrect API key provided: \xe2\x80\xa6. You can "
     "obtain"},
    {"Cloudflare's list", 400, NONE,
     "{\"success\":false,\"errors\":[{\"code\":7003,\"message\":\"Could not route\"}]}", VERDICT_FAIL,
     "InvalidRequestError", NONE, 0, "HTTP 400: Could not route"},
    {"Groq: too large comes as a 413", 413, NONE,
     "{\"error\":{\"message\":\"Request too large for model `llama` on tokens per minute (TPM): Limit 6000, "
     "Requested "
     "7500\",\"type\":\"tokens\",\"code\":\"rate_limit_exceeded\"}}",
     VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 413 rate_limit_exceeded: Request too large"},
    // ---- no JSON
    {"plain text", 500, NONE, "Internal Server Error\n", VERDICT_RETRY, "ModelGenerationError", NONE, 0,
     "HTTP 500: Internal Server Error"},
    {"plain text of a limiter", 429, NONE, "Too many requests. Try again in 10 seconds", VERDICT_WAIT,
     "RateLimitError", 10 * SECOND, 0, "HTTP 429: Too many requests."},
    {"nginx before a dead server", 502, NONE,
     "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad "
     "Gateway</h1></center>\r\n"
     "<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n",
     VERDICT_RETRY, "NetworkError", NONE, DOWN, "HTTP 502: 502 Bad Gateway"},
    {"a page without title", 504, NONE, "<html><body><h1>504 Gateway\nTime-out</h1> sorry</body></html>",
     VERDICT_RETRY, "TimeoutError", NONE, 0, "HTTP 504: 504 Gateway Time-out sorry"},
    {"a page with an empty title", 500, NONE, "<title> </title>oops", VERDICT_RETRY, "ModelGenerationError",
     NONE, 0, "HTTP 500: oops"},
    {"a page of tags only", 500, NONE, "<html><body></body></html>", VERDICT_RETRY, "ModelGenerationError",
     NONE, 0, "HTTP 500: the server gave no reason"},
    {"a page that never closes", 500, NONE, "<title>abc", VERDICT_RETRY, "ModelGenerationError", NONE, 0,
     "HTTP 500: abc"},
    {"Cloudflare, origin down", 521, NONE, "error code: 521", VERDICT_RETRY, "NetworkError", NONE, DOWN,
     "HTTP 521: error code: 521"},
    {"Cloudflare, origin slow", 524, NONE, "error code: 524", VERDICT_RETRY, "TimeoutError", NONE, 0,
     "HTTP 524: error code: 524"},
    {"empty", 503, NONE, "", VERDICT_WAIT, "RateLimitError", NONE, 0, "HTTP 503: the server gave no reason"},
    {"none", 500, NONE, NULL, VERDICT_RETRY, "ModelGenerationError", NONE, 0,
     "HTTP 500: the server gave no reason"},
    {"blanks", 500, NONE, " \r\n\t ", VERDICT_RETRY, "ModelGenerationError", NONE, 0,
     "HTTP 500: the server gave no reason"},
    {"JSON cut short", 400, NONE, "{\"error\":{\"message\":\"abc", VERDICT_FAIL, "InvalidRequestError", NONE,
     0, "HTTP 400: {\"error\":{\"message\":\"abc"},
    {"an array of nothing", 500, NONE, "[]", VERDICT_RETRY, "ModelGenerationError", NONE, 0, "HTTP 500: []"},
    {"an array of numbers", 500, NONE, "[1,2]", VERDICT_RETRY, "ModelGenerationError", NONE, 0,
     "HTTP 500: [1,2]"},
    {"an error of the wrong type", 500, NONE, "{\"error\":5}", VERDICT_RETRY, "ModelGenerationError", NONE, 0,
     "HTTP 500: {\"error\":5}"},
    {"fields of wrong types", 429, NONE,
     "{\"error\":{\"message\":{\"a\":1},\"type\":[1],\"code\":{\"x\":2},\"details\":\"x\",\"metadata\":[1],"
     "\"innererror\":3}}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "HTTP 429: the server gave no reason"},
    {"details of wrong types", 429, NONE,
     "{\"error\":{\"message\":\"m\",\"details\":[1,null,{\"@type\":5},{\"@type\":\"x.RetryInfo\","
     "\"retryDelay\":7},"
     "{\"@type\":\"x.QuotaFailure\",\"violations\":{\"quotaId\":\"PerDay\"}}]}}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "HTTP 429: m"},
    {"a NUL in the message", 429, NONE,
     "{\"error\":{\"message\":\"no\\u0000money\",\"type\":\"insufficient_quota\",\"code\":\"insufficient_"
     "quota\"}}",
     VERDICT_PARK, "QuotaError", NONE, 0, "HTTP 429 insufficient_quota: no\xef\xbf\xbdmoney"},
    {"UTF-8 cut in a character", 400, NONE,
     "{\"error\":{\"message\":\"bad \xc3\",\"code\":\"context_length_exceeded\"}}", VERDICT_FAIL,
     "InvalidRequestError", NONE, 0, "HTTP 400 context_length_exceeded: bad ?"},
    {"lines become one", 400, NONE, "{\"error\":{\"message\":\"  a\\n\\n\\tb\\r\\n c \"}}", VERDICT_FAIL,
     "InvalidRequestError", NONE, 0, "HTTP 400: a b c"},
    {"terminal controls are escaped", 400, NONE, "{\"error\":{\"message\":\"a\\u001b[2Jb\"}}", VERDICT_FAIL,
     "InvalidRequestError", NONE, 0, "HTTP 400: a\\x1b[2Jb"},
    // ---- statuses by themselves
    {"405", 405, NONE, NULL, VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 405: the server"},
    {"407", 407, NONE, NULL, VERDICT_PARK, "AuthenticationError", NONE, 0, "HTTP 407: the server"},
    {"409", 409, NONE, NULL, VERDICT_RETRY, "ModelGenerationError", NONE, 0, "HTTP 409: the server"},
    {"415", 415, NONE, NULL, VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 415: the server"},
    {"418", 418, NONE, "I'm a teapot", VERDICT_FAIL, "InvalidRequestError", NONE, 0,
     "HTTP 418: I'm a teapot"},
    {"425", 425, NONE, NULL, VERDICT_RETRY, "ModelGenerationError", NONE, 0, "HTTP 425: the server"},
    {"451", 451, NONE, NULL, VERDICT_FAIL, "InvalidRequestError", NONE, 0, "HTTP 451: the server"},
    {"501", 501, NONE, NULL, VERDICT_RETRY, "ModelGenerationError", NONE, 0, "HTTP 501: the server"},
    {"505", 505, NONE, NULL, VERDICT_RETRY, "ModelGenerationError", NONE, 0, "HTTP 505: the server"},
    {"599", 599, NONE, NULL, VERDICT_RETRY, "ModelGenerationError", NONE, 0, "HTTP 599: the server"},
    {"a redirect: the address is wrong", 301, NONE, "<title>Moved</title>", VERDICT_PARK,
     "ConfigurationError", NONE, 0, "HTTP 301: Moved"},
    {"no status at all", 0, NONE, NULL, VERDICT_RETRY, "ModelGenerationError", NONE, 0,
     "error in the answer: the server"},
    {"a status out of range", 999, NONE, NULL, VERDICT_RETRY, "ModelGenerationError", NONE, 0,
     "HTTP 999: the server"},
    {"an overload without status", 0, NONE, "{\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}",
     VERDICT_WAIT, "RateLimitError", NONE, 0, "error 529 in the answer overloaded_error: m"},
    {"a negative status", -5, NONE, NULL, VERDICT_RETRY, "ModelGenerationError", NONE, 0,
     "error in the answer: the server"},
    {"Retry-After of now", 429, 0, NULL, VERDICT_WAIT, "RateLimitError", 0, 0, "HTTP 429: the server"},
    {"Retry-After beyond a year", 429, INT64_MAX, NULL, VERDICT_PARK, "RateLimitError", 365 * DAY, 0,
     "HTTP 429: the server"},
};

static void check(const char *what, const struct verdict *v, enum verdict_action action,
                  const char *error_type, int64_t wait_ms, int flags, const char *message) {
    if (v->action != action)
        fail_msg("%s: action %s, expected %s", what, verdict_action_name(v->action),
                 verdict_action_name(action));
    if (strcmp(v->error_type, error_type) != 0)
        fail_msg("%s: type %s, expected %s", what, v->error_type, error_type);
    if (v->wait_ms != wait_ms)
        fail_msg("%s: wait %lld, expected %lld", what, (long long)v->wait_ms, (long long)wait_ms);
    if (v->server_down != ((flags & DOWN) != 0) || v->reduce != ((flags & REDUCE) != 0))
        fail_msg("%s: server_down %d, reduce %d", what, v->server_down, v->reduce);
    if (strncmp(v->message, message, strlen(message)) != 0)
        fail_msg("%s: message '%s', expected '%s'", what, v->message, message);
}

static void judge_body(int status, const char *body, int64_t retry_after_ms, struct verdict *out) {
    struct failure failure = {.kind = FAILURE_HTTP, .http_status = status, .retry_after_ms = retry_after_ms};
    failure.body = mem_copy(body);
    classify(&failure, NULL, NOW, out);
    free(failure.body);
}

static void test_http(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof http_cases / sizeof http_cases[0]; i++) {
        const struct http_case *c = &http_cases[i];
        struct verdict v;
        judge_body(c->status, c->body, c->retry_after_ms, &v);
        check(c->what, &v, c->action, c->error_type, c->wait_ms, c->flags, c->message);
    }
}

static void test_code_and_type(void **state) {
    (void)state;
    static const struct {
        const char *body;
        const char *code;
        const char *type;
    } cases[] = {
        {"{\"error\":{\"message\":\"m\",\"type\":\"tokens\",\"code\":\"rate_limit_exceeded\"}}",
         "rate_limit_exceeded", "tokens"},
        {"[{\"error\":{\"code\":429,\"message\":\"m\",\"status\":\"RESOURCE_EXHAUSTED\"}}]", "429",
         "RESOURCE_EXHAUSTED"},
        {"{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\",\"details\":{"
         "\"error_code\":"
         "\"enforced_spend_limit_reached\"}}}",
         "enforced_spend_limit_reached", "rate_limit_error"},
        {"{\"error\":\"m\"}", "", ""},
        {"{\"error\":{\"message\":\"m\",\"type\":null,\"code\":null}}", "", ""},
        {"{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}", "503",
         "unavailable_error"},
        {"{\"error\":{\"code\":-7.6,\"type\":\"a\\nb\\u001b\"}}", "-8", "a\\nb\\x1b"},
        {"{\"error\":{\"code\":1e300}}", "0", ""},
        {"{\"error\":{\"code\":\"sk-abcdef0123456789\",\"type\":\"Bearer abc123\"}}", "sk-\xe2\x80\xa6",
         "Bearer \xe2\x80\xa6"},
        {"no json", "", ""},
    };
    struct verdict v;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        judge_body(429, cases[i].body, NONE, &v);
        assert_string_equal(v.code, cases[i].code);
        assert_string_equal(v.type, cases[i].type);
    }
    // longer than the field, with a character across its end
    char body[400] = "{\"error\":{\"code\":\"";
    for (int i = 0; i < 61; i++)
        strcat(body, "x");
    strcat(body, "\xe2\x82\xac\xe2\x82\xac\",\"type\":\"t\"}}");
    judge_body(429, body, NONE, &v);
    assert_true(strlen(v.code) < sizeof v.code && text_is_utf8(v.code, strlen(v.code)));
    assert_true(strncmp(v.code, "xxxxxxxx", 8) == 0);
}

static void test_kinds(void **state) {
    (void)state;
    static const struct {
        enum failure_kind kind;
        enum verdict_action action;
        const char *error_type;
        int flags;
    } cases[] = {
        {FAILURE_CONNECT, VERDICT_RETRY, "NetworkError", DOWN},
        {FAILURE_NETWORK, VERDICT_RETRY, "NetworkError", 0},
        {FAILURE_TIMEOUT, VERDICT_RETRY, "TimeoutError", 0},
        {FAILURE_BAD_RESPONSE, VERDICT_RETRY, "ModelGenerationError", 0},
        {FAILURE_TOO_LARGE, VERDICT_FAIL, "InvalidRequestError", 0},
        {FAILURE_REQUEST, VERDICT_FAIL, "InvalidRequestError", 0},
        {FAILURE_CONFIGURATION, VERDICT_PARK, "ConfigurationError", 0},
        {FAILURE_NONE, VERDICT_RETRY, "InternalError", 0},
    };
    char said[] = "first byte did not come within 10m\nfrom sk-abcdef123456";
    char blank[] = " \n";
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct failure failure = {.kind = cases[i].kind, .retry_after_ms = -1, .message = said};
        struct verdict v;
        classify(&failure, NULL, NOW, &v);
        check("kind", &v, cases[i].action, cases[i].error_type, NONE, cases[i].flags,
              "first byte did not come within 10m from sk-\xe2\x80\xa6");
        assert_string_equal(v.code, "");
        failure.message = NULL;
        classify(&failure, NULL, NOW, &v);
        check("kind without message", &v, cases[i].action, cases[i].error_type, NONE, cases[i].flags, "the ");
        failure.message = blank;
        classify(&failure, NULL, NOW, &v);
        check("kind with blanks", &v, cases[i].action, cases[i].error_type, NONE, cases[i].flags, "the ");
        assert_true(strlen(v.message) > 20);
    }
}

static void test_bad_response(void **state) {
    (void)state;
    char message[] = "the stream ended without finish_reason";
    char error[] = "{\"error\":{\"code\":429,\"message\":\"Rate limited\"}}";
    char half[] = "{\"id\":\"chatcmpl-1\",\"choices\":[]}";
    struct failure failure = {.kind = FAILURE_BAD_RESPONSE, .http_status = 200, .retry_after_ms = -1};
    struct verdict v;
    failure.message = message;
    failure.body = half;
    classify(&failure, NULL, NOW, &v);
    check("half a body", &v, VERDICT_RETRY, "ModelGenerationError", NONE, 0, message);
    failure.body = error; // an error is an error, whatever the provider made of it
    classify(&failure, NULL, NOW, &v);
    check("an error as body", &v, VERDICT_WAIT, "RateLimitError", NONE, 0,
          "error 429 in the answer of HTTP 200: Rate limited");
    // an answer without an error in it is no reason: the provider's words come first
    failure = (struct failure){.kind = FAILURE_HTTP, .http_status = 200, .retry_after_ms = -1};
    failure.message = message;
    failure.body = half;
    classify(&failure, NULL, NOW, &v);
    check("half an answer", &v, VERDICT_RETRY, "ModelGenerationError", NONE, 0,
          "error in the answer of HTTP 200: the stream ended without finish_reason");
    // the provider's words serve when the server has none
    char empty[] = "";
    failure = (struct failure){.kind = FAILURE_HTTP, .http_status = 500, .retry_after_ms = -1};
    failure.message = message;
    failure.body = empty;
    classify(&failure, NULL, NOW, &v);
    check("provider's words", &v, VERDICT_RETRY, "ModelGenerationError", NONE, 0,
          "HTTP 500: the stream ended without finish_reason");
}

static void test_scripted(void **state) {
    (void)state;
    static const struct {
        const char *type;
        enum verdict_action action;
    } cases[] = {
        {"RateLimitError", VERDICT_WAIT},
        {"AuthenticationError", VERDICT_PARK},
        {"QuotaError", VERDICT_PARK},
        {"ConfigurationError", VERDICT_PARK},
        {"TimeoutError", VERDICT_RETRY},
        {"NetworkError", VERDICT_RETRY},
        {"ModelGenerationError", VERDICT_RETRY},
        {"HeartbeatTimeoutError", VERDICT_RETRY},
        {"CommandError", VERDICT_RETRY},
        {"InternalError", VERDICT_RETRY},
        {"InvalidRequestError", VERDICT_FAIL},
        {"ContentFilterError", VERDICT_FAIL},
        {"RunnerCrashError", VERDICT_FAIL},
        {"CancelledError", VERDICT_FAIL},
        {"OperatorError", VERDICT_FAIL},
        {"DeadlineError", VERDICT_FAIL},
    };
    char message[] = "as the parameters say";
    struct verdict v;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct failure failure = {.kind = FAILURE_SCRIPTED, .retry_after_ms = -1, .message = message};
        failure.type = mem_copy(cases[i].type);
        classify(&failure, NULL, NOW, &v);
        check(cases[i].type, &v, cases[i].action, cases[i].type, NONE, 0, message);
        failure.retry_after_ms = 1500;
        failure.message = NULL;
        classify(&failure, NULL, NOW, &v);
        check(cases[i].type, &v, cases[i].action, cases[i].type,
              cases[i].action == VERDICT_FAIL ? NONE : 1500, 0, "the echo model was told to fail with ");
        failure.retry_after_ms = INT64_MAX;
        classify(&failure, NULL, NOW, &v);
        assert_int_equal(v.wait_ms, cases[i].action == VERDICT_FAIL ? NONE : 365 * DAY);
        free(failure.type);
    }
    char unknown[] = "FooError";
    struct failure failure = {.kind = FAILURE_SCRIPTED, .retry_after_ms = 5, .type = unknown};
    classify(&failure, NULL, NOW, &v);
    check("unknown type", &v, VERDICT_FAIL, "InvalidRequestError", NONE, 0, "the echo model was told");
    failure.type = NULL;
    classify(&failure, NULL, NOW, &v);
    check("no type", &v, VERDICT_FAIL, "InvalidRequestError", NONE, 0, "the echo model was told");
}

static void test_rules_of_the_model(void **state) {
    (void)state;
    struct model_status_rule rules[] = {{404, VERDICT_WAIT},  {429, VERDICT_FAIL}, {500, VERDICT_PARK},
                                        {401, VERDICT_RETRY}, {502, VERDICT_WAIT}, {200, VERDICT_FAIL},
                                        {403, VERDICT_PARK},  {503, VERDICT_RETRY}};
    struct model model = {.status_rules = rules, .status_rule_count = sizeof rules / sizeof rules[0]};
    static const struct {
        int status;
        int64_t retry_after_ms;
        const char *body;
        enum verdict_action action;
        const char *error_type;
        int64_t wait_ms;
    } cases[] = {
        {404, NONE, "{\"error\":\"model not found\"}", VERDICT_WAIT, "InvalidRequestError", NONE},
        {404, 5 * SECOND, "{\"error\":\"model not found\"}", VERDICT_WAIT, "InvalidRequestError", 5 * SECOND},
        {429, 5 * SECOND, "{\"error\":{\"message\":\"m\",\"code\":\"slow_down\"}}", VERDICT_FAIL,
         "RateLimitError", NONE},
        {500, NONE, NULL, VERDICT_PARK, "ModelGenerationError", NONE},
        {500, 9 * SECOND, NULL, VERDICT_PARK, "ModelGenerationError", 9 * SECOND},
        {401, NONE, NULL, VERDICT_RETRY, "AuthenticationError", NONE},
        {502, NONE, NULL, VERDICT_WAIT, "NetworkError", NONE},
        {503, 4 * SECOND, NULL, VERDICT_RETRY, "RateLimitError", 4 * SECOND},
        {403, 4 * SECOND, NULL, VERDICT_PARK, "AuthenticationError",
         NONE}, // as the table says: nothing changes
        {503, 3 * HOUR, NULL, VERDICT_RETRY, "RateLimitError", 3 * HOUR},
        {400, NONE, NULL, VERDICT_FAIL, "InvalidRequestError", NONE}, // no rule
        {200, NONE, "{\"error\":{\"code\":502,\"message\":\"m\"}}", VERDICT_WAIT, "ModelGenerationError",
         NONE},
        {200, NONE, "{\"error\":{\"code\":529,\"message\":\"m\"}}", VERDICT_FAIL, "RateLimitError", NONE},
    };
    struct verdict v;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct failure failure = {
            .kind = FAILURE_HTTP, .http_status = cases[i].status, .retry_after_ms = cases[i].retry_after_ms};
        failure.body = mem_copy(cases[i].body);
        classify(&failure, &model, NOW, &v);
        check("rule", &v, cases[i].action, cases[i].error_type, cases[i].wait_ms, 0,
              cases[i].status == 200 ? "error " : "HTTP ");
        free(failure.body);
    }
    struct failure failure = {.kind = FAILURE_BAD_RESPONSE, .http_status = 200, .retry_after_ms = -1};
    classify(&failure, &model, NOW, &v);
    check("200 as a rule", &v, VERDICT_FAIL, "ModelGenerationError", NONE, 0, "the answer");
    // a wait of hours that the user wants as a wait stays one
    struct model_status_rule wait = {429, VERDICT_WAIT};
    model = (struct model){.status_rules = &wait, .status_rule_count = 1};
    failure = (struct failure){.kind = FAILURE_HTTP, .http_status = 429, .retry_after_ms = 3 * HOUR};
    classify(&failure, &model, NOW, &v);
    check("long wait as a rule", &v, VERDICT_WAIT, "RateLimitError", 3 * HOUR, 0, "HTTP 429");
    // rules are for statuses: a dead connection has none
    struct model_status_rule zero = {0, VERDICT_FAIL};
    model.status_rules = &zero;
    failure = (struct failure){.kind = FAILURE_CONNECT, .retry_after_ms = -1};
    classify(&failure, &model, NOW, &v);
    check("no status", &v, VERDICT_RETRY, "NetworkError", NONE, DOWN, "the model's server");
}

static void test_daily_quota(void **state) {
    (void)state;
    static const char body[] =
        "{\"error\":{\"code\":429,\"message\":\"m\",\"details\":[{\"@type\":\"type.googleapis.com/"
        "google.rpc.QuotaFailure\",\"violations\":[{\"quotaId\":\"RequestsPerDay\"}]}]}}";
    static const struct {
        int64_t now;
        int64_t wait_ms;
    } cases[] = {
        {INT64_C(1767225600), 8 * HOUR},    // 16:00 standard time
        {INT64_C(1783191600), 12 * HOUR},   // 2026-07-04 12:00 daylight time
        {INT64_C(1772956800), 23 * HOUR},   // 2026-03-08 00:00: the short day begins; see below
        {INT64_C(1767254399), SECOND},      // a second before midnight
        {INT64_C(1767254400), 10 * MINUTE}, // just after it the server's clock may be behind
        {INT64_C(1767254999), 10 * MINUTE}, // 9:59 later still
        {INT64_C(1767255000) + 1, 24 * HOUR - 10 * MINUTE - SECOND},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct failure failure = {.kind = FAILURE_HTTP, .http_status = 429, .retry_after_ms = -1};
        struct verdict v;
        int64_t now_at = cases[i].now * SECOND;
        int64_t wait_ms = cases[i].wait_ms;
        if (i == 2) { // an hour after its start, past the slack
            now_at += HOUR;
            wait_ms -= HOUR;
        }
        failure.body = mem_copy(body);
        classify(&failure, NULL, now_at, &v);
        check("daily quota", &v, VERDICT_PARK, "QuotaError", wait_ms, 0, "HTTP 429");
        free(failure.body);
    }
}

static void test_message_is_cut(void **state) {
    (void)state;
    for (size_t shift = 0; shift < 4; shift++) { // a character across the cut in each position
        struct buf body;
        buf_init(&body, BUF_UNLIMITED);
        buf_text(&body, "{\"error\":{\"message\":\"");
        for (size_t i = 0; i < shift; i++)
            buf_char(&body, 'x');
        for (int i = 0; i < 3000; i++)
            buf_text(&body, "\xf0\x9f\x98\x80");
        buf_text(&body, "\"}}");
        struct verdict v;
        judge_body(400, buf_borrow(&body), NONE, &v);
        size_t length = strlen(v.message);
        assert_true(length > 2000 && length < sizeof v.message);
        assert_true(text_is_utf8(v.message, length));
        assert_true(text_ends_with(v.message, "\xe2\x80\xa6"));
        buf_free(&body);
    }
    // exactly what fits is not cut: "HTTP 400: " and 2037 characters
    char text[2039];
    memset(text, 'a', sizeof text);
    text[2037] = '\0';
    struct verdict v;
    judge_body(400, text, NONE, &v);
    assert_int_equal(strlen(v.message), 2047);
    assert_true(text_ends_with(v.message, "aaa"));
    text[2037] = 'a';
    text[2038] = '\0';
    judge_body(400, text, NONE, &v);
    assert_true(text_ends_with(v.message, "aaa\xe2\x80\xa6"));
}

static void test_hostile(void **state) {
    (void)state;
    static const struct {
        const char *head;
        const char *repeat;
        const char *tail;
    } cases[] = {
        {"", "[", ""},
        {"", "{\"error\":", ""},
        {"", "[{\"error\":", "1"},
        {"{\"error\":{\"message\":\"", "\\u0000", "\"}}"},
        {"{\"error\":{\"message\":\"", "\\\\", "\"}}"},
        {"{\"error\":{\"message\":\"", "sk-abcdefgh ", "\"}}"},
        {"", "Bearer ", ""},
        {"", "api key", ""},
        {"", "://", ""},
        {"", "://a", ""},
        {"", "limit ", ""},
        {"", "requested 1 token limit 0 ", ""},
        {"", "again in ", ""},
        {"", "<", ""},
        {"<title", "<", ""},
        {"<title>", "<title>", ""},
        {"", "\xff", ""},
        {"", "\x1b", ""},
        {"", " ", "x"},
        {"{\"error\":{\"code\":", "9", "}}"},
        {"{\"error\":{\"code\":\"", "9", "\"}}"},
        {"{\"error\":{\"details\":[", "{\"@type\":\"RetryInfo\",\"retryDelay\":\"1s\"},", "1]}}"},
        {"{\"error\":{\"message\":\"", "\xf0\x9f\x98\x80", "\"}}"},
        {"event: error", "\ndata:", ""},
        {"data:", "data:", ""},
        {"{", "\"error\":{},", "\"a\":1}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf body;
        buf_init(&body, BUF_UNLIMITED);
        buf_text(&body, cases[i].head);
        while (body.length + strlen(cases[i].repeat) + strlen(cases[i].tail) < 64 * 1024)
            buf_text(&body, cases[i].repeat);
        buf_text(&body, cases[i].tail);
        static const int statuses[] = {200, 400, 402, 403, 429, 500};
        for (size_t s = 0; s < sizeof statuses / sizeof statuses[0]; s++) {
            struct verdict v;
            judge_body(statuses[s], buf_borrow(&body), NONE, &v);
            size_t length = strlen(v.message);
            assert_true(length > 0 && length < sizeof v.message);
            assert_true(text_is_utf8(v.message, length));
            assert_null(strpbrk(v.message, "\n\r\t\x1b"));
            assert_null(strstr(v.message, "sk-abc"));
            assert_true(v.wait_ms >= -1 && v.wait_ms <= 365 * DAY);
            assert_non_null(v.error_type);
        }
        buf_free(&body);
    }
}

static void test_redact(void **state) {
    (void)state;
#define MASK "\xe2\x80\xa6"
    static const struct {
        const char *text;
        const char *expected;
    } cases[] = {
        {"", ""},
        {"nothing to hide", "nothing to hide"},
        {"key sk-abc123def456 here", "key sk-" MASK " here"},
        {"(sk-ant-api03-AAAA_bb-CC)", "(sk-" MASK ")"},
        {"sk-or-v1-0123456789abcdef.", "sk-" MASK "."},
        {"sk-abcd********wxyz", "sk-" MASK},
        {"sk-abcd...wxyz", "sk-" MASK},
        {"sk-abcd" MASK "wxyz!", "sk-" MASK "!"},
        {"task-1234567890 is no key", "task-1234567890 is no key"},
        {"AIzaSyA1234567890abcdefghijkl", "AIza" MASK},
        {"gsk_0123456789abcdef", "gsk_" MASK},
        {"xai-0123456789abcdef", "xai-" MASK},
        {"hf_0123456789abcdefgh", "hf_" MASK},
        {"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "eyJ" MASK},
        {"Authorization: Bearer abc.def", "Authorization: Bearer " MASK},
        {"authorization: Basic dXNlcjpwYXNz", "authorization: Basic " MASK},
        {"Bearer \"abc\"", "Bearer \"" MASK "\""},
        {"Bearer token is missing", "Bearer token is missing"},
        {"bearer authentication required", "bearer authentication required"},
        {"the basic plan allows less", "the basic plan allows less"},
        {"forbearer abc", "forbearer abc"},
        {"Incorrect API key provided: my-own-key. See", "Incorrect API key provided: " MASK ". See"},
        {"Invalid API key: 'changeme'", "Invalid API key: '" MASK "'"},
        {"The api_key=\"x1\" was refused", "The api_key=\"" MASK "\" was refused"},
        {"{\"api_key\":\"x1\"}", "{\"api_key\":\"" MASK "\"}"},
        {"x-api-key: abc", "x-api-key: " MASK},
        {"OPENAI_API_KEY=abc", "OPENAI_API_KEY=" MASK},
        {"invalid x-api-key", "invalid x-api-key"},
        {"You can find your API key at https://a.b/keys", "You can find your API key at https://a.b/keys"},
        {"password: hunter2", "password: " MASK},
        {"GET https://a.b/v1?key=abc&x=1", "GET https://a.b/v1?key=" MASK "&x=1"},
        {"https://user:pass@host/x", "https://" MASK "@host/x"},
        {"https://host/user@x", "https://host/user@x"},
        {"max_tokens: 5000", "max_tokens: 5000"},
        {"duplicate key: prompt", "duplicate key: prompt"},
        {"unexpected token: }", "unexpected token: }"},
        {"sk-1234567 and sk-7654321", "sk-" MASK " and sk-" MASK},
        {"Bearer", "Bearer"},
        {"Bearer ", "Bearer "},
        {"api key:", "api key:"},
        {"://@", "://@"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out;
        buf_init(&out, BUF_UNLIMITED);
        redact_append(&out, cases[i].text, strlen(cases[i].text));
        assert_string_equal(buf_borrow(&out), cases[i].expected);
        buf_free(&out);
    }
#undef MASK
}

static void test_action_names(void **state) {
    (void)state;
    static const enum verdict_action all[] = {VERDICT_FAIL, VERDICT_RETRY, VERDICT_WAIT, VERDICT_PARK};
    enum verdict_action got;
    for (size_t i = 0; i < 4; i++) {
        assert_true(verdict_action_parse(verdict_action_name(all[i]), &got));
        assert_int_equal(got, all[i]);
    }
    assert_string_equal(verdict_action_name(VERDICT_WAIT), "wait");
    assert_true(verdict_action_parse("PARK", &got));
    assert_false(verdict_action_parse("stop", &got));
    assert_false(verdict_action_parse("", &got));
    assert_false(verdict_action_parse(NULL, &got));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http),         cmocka_unit_test(test_code_and_type),
        cmocka_unit_test(test_kinds),        cmocka_unit_test(test_bad_response),
        cmocka_unit_test(test_scripted),     cmocka_unit_test(test_rules_of_the_model),
        cmocka_unit_test(test_daily_quota),  cmocka_unit_test(test_message_is_cut),
        cmocka_unit_test(test_hostile),      cmocka_unit_test(test_redact),
        cmocka_unit_test(test_action_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
