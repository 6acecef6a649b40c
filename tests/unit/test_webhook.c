// SPDX-License-Identifier: MIT
// Webhooks, the pure parts: signature, schedule, filters, formats, and which addresses are public.
#include "base/address.h"
#include "base/mem.h"

#include "run/webhook.h"
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// after those
#include <cmocka.h>

// Agreed by npm's standardwebhooks and a plain HMAC.
static void test_signature(void **state) {
    (void)state;
    static const char body[] = "{\"type\":\"batch.completed\",\"id\":\"evt_1\",\"object\":\"event\","
                               "\"created_at\":1700000000,\"data\":{\"id\":\"batch_1\"}}";
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    assert_true(webhook_sign(&out, "whsec_Z2VucnVuLXRlc3Qtc2VjcmV0LTAxMjM0NTY3ODlhYg==", "msg_genrun_0001",
                             1700000000, body));
    assert_string_equal(buf_borrow(&out), "v1,uCruLYe9UP3/RaKzFkDTa2z7VlbYtmoRbrtJZYb1phY=");
    buf_clear(&out);
    // The same key as plain text.
    assert_true(webhook_sign(&out, "genrun-test-secret-0123456789ab", "msg_genrun_0001", 1700000000, body));
    assert_string_equal(buf_borrow(&out), "v1,uCruLYe9UP3/RaKzFkDTa2z7VlbYtmoRbrtJZYb1phY=");
    buf_clear(&out);
    assert_false(webhook_sign(&out, "whsec_not base64", "msg_1", 1, body));
    assert_int_equal(out.length, 0);
    buf_free(&out);
}

static void test_schedule(void **state) {
    (void)state;
    static const int64_t seconds[] = {5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400};
    for (int i = 0; i < 9; i++)
        assert_int_equal(webhook_pause_ms(i + 1), seconds[i] * 1000);
    assert_int_equal(webhook_pause_ms(WEBHOOK_ATTEMPTS), 0);
    assert_int_equal(webhook_pause_ms(1000), 0);
}

static char *batch[] = {(char *)"batch.*", (char *)"generation.failed", NULL};
static char *dotted[] = {(char *)"alert.", NULL};
static char *all[] = {(char *)"*", NULL};

static void test_filters(void **state) {
    (void)state;
    const struct webhook_endpoint usual = {0}, some = {.events = batch}, any = {.events = all},
                                  openai = {.format = WEBHOOK_OPENAI};
    static const struct {
        const char *event;
        bool usual, some, any, openai;
    } cases[] = {
        {"generation.failed", true, true, true, false},
        {"generation.completed", false, false, true, false},
        {"generation.failed_x", false, false, true, false},
        {"batch.completed", true, true, true, true},
        {"batch.created", false, true, true, true},
        {"batch", false, false, true, false},
        {"alert.stuck", true, false, true, false},
        {"alert.stuck_over", true, false, true, false},
        {"webhook.failed", false, false, false, false},
        {"webhook.away", false, false, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(webhook_wants(&usual, cases[i].event), cases[i].usual);
        assert_int_equal(webhook_wants(&some, cases[i].event), cases[i].some);
        assert_int_equal(webhook_wants(&any, cases[i].event), cases[i].any);
        assert_int_equal(webhook_wants(&openai, cases[i].event), cases[i].openai);
    }
}

// "alert." is all that begin so, too: as an exact name it would be none.
static void test_filters_with_a_dot(void **state) {
    (void)state;
    const struct webhook_endpoint some = {.events = dotted};
    assert_true(webhook_wants(&some, "alert.stuck") && webhook_wants(&some, "alert.stuck_over"));
    assert_false(webhook_wants(&some, "alert") || webhook_wants(&some, "alerts.x"));
}

static void test_ends(void **state) {
    (void)state;
    static const struct {
        struct webhook_result result;
        enum webhook_end end;
    } cases[] = {
        {{.connected = true, .status = 200}, WEBHOOK_TAKEN},
        {{.connected = true, .status = 204}, WEBHOOK_TAKEN},
        {{.connected = true, .error = "no answer"}, WEBHOOK_FAILED},
        {{.connected = true, .status = 302, .error = "x"}, WEBHOOK_FAILED},
        {{.connected = true, .status = 404, .error = "x"}, WEBHOOK_FAILED},
        {{.connected = true, .status = 410, .error = "x"}, WEBHOOK_GONE},
        {{.connected = true, .status = 429, .error = "x"}, WEBHOOK_HELD_OFF},
        {{.connected = true, .status = 500, .error = "x"}, WEBHOOK_FAILED},
        {{.connected = true, .status = 501, .error = "x"}, WEBHOOK_FAILED},
        {{.connected = true, .status = 502, .error = "x"}, WEBHOOK_HELD_OFF},
        {{.connected = true, .status = 503, .error = "x"}, WEBHOOK_HELD_OFF},
        {{.connected = true, .status = 504, .error = "x"}, WEBHOOK_HELD_OFF},
        {{.connected = true, .status = 505, .error = "x"}, WEBHOOK_FAILED},
        {{.error = "no such name"}, WEBHOOK_UNREACHABLE},
        {{.refused = true, .error = "x"}, WEBHOOK_BLOCKED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(webhook_end(&cases[i].result), cases[i].end);
}

static char *write_body(int format, const char *event, const char *message, struct row *row,
                        const char *status) {
    const struct webhook_endpoint endpoint = {.format = format};
    struct webhook_subject subject = {.row = row};
    struct delivery_event e = {.id = 7,
                               .created_at = 1700000000123,
                               .event = mem_copy(event),
                               .level = mem_copy("info"),
                               .message = mem_copy(message)};
    struct buf body;
    char type[64];
    buf_init(&body, BUF_UNLIMITED);
    if (status != NULL) {
        snprintf(subject.openai_id, sizeof subject.openai_id, "batch_1");
        snprintf(subject.openai_status, sizeof subject.openai_status, "%s", status);
    }
    bool sent = webhook_write_body(&endpoint, &e, &subject, type, &body);
    delivery_event_clear(&e);
    if (sent)
        return buf_take(&body);
    buf_free(&body);
    return NULL;
}

static void expect_body(int format, const char *event, const char *message, struct row *row,
                        const char *status, const char *expected) {
    char *body = write_body(format, event, message, row, status);
    if (expected == NULL)
        assert_null(body);
    else
        assert_string_equal(body, expected);
    free(body);
}

static void test_formats(void **state) {
    (void)state;
    struct row *row = row_new();
    row_add_text(row, "id", "0190-12345678");
    row_add_text(row, "model_id", "a<b>&c");
    expect_body(WEBHOOK_STANDARD, "generation.failed", "why", row, NULL,
                "{\"type\":\"generation.failed\",\"timestamp\":\"2023-11-14T22:13:20.123Z\",\"data\":{"
                "\"id\":\"0190-12345678\",\"modelId\":\"a<b>&c\",\"log\":{\"id\":7,\"level\":\"info\","
                "\"message\":\"why\",\"data\":null}}}");
    expect_body(WEBHOOK_SLACK, "generation.failed", "<!channel> & \n x", row, NULL,
                "*generation.failed* `12345678` model a&lt;b&gt;&amp;c: &lt;!channel&gt; &amp; \\n x");
    static const struct {
        const char *event, *status, *type;
    } ends[] = {{"batch.completed", "completed", "batch.completed"},
                {"batch.failed", "completed", "batch.completed"},
                {"batch.refused", "failed", "batch.failed"},
                {"batch.cancelled", "cancelling", "batch.cancelled"},
                {"batch.cancelled", "finalizing", "batch.expired"},
                {"batch.created", "in_progress", NULL},
                {"batch.completed", "in_progress", NULL},
                {"batch.completed", NULL, NULL}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char *body = ends[i].type == NULL
                         ? NULL
                         : mem_format("{\"id\":\"evt_7\",\"object\":\"event\",\"created_at\":1700000000,"
                                      "\"type\":\"%s\",\"data\":{\"id\":\"batch_1\"}}",
                                      ends[i].type);
        expect_body(WEBHOOK_OPENAI, ends[i].event, NULL, NULL, ends[i].status, body);
        free(body);
    }
    row_free(row);
}

static void test_large_bodies_are_thin(void **state) {
    (void)state;
    struct row *row = row_new();
    char *large = mem_alloc(30000, 1);
    memset(large, 'x', 29999);
    row_add_text(row, "id", "a");
    row_add_text(row, "error_message", large);
    char *body = write_body(WEBHOOK_STANDARD, "generation.failed", "why", row, NULL);
    assert_true(strlen(body) < WEBHOOK_BODY_MAXIMUM);
    assert_non_null(strstr(body, "\"data\":{\"id\":\"a\""));
    free(body);
    free(large);
    row_free(row);
}

static void test_a_burst_is_one_message(void **state) {
    (void)state;
    struct delivery lines[25];
    struct buf out;
    buf_init(&out, BUF_UNLIMITED);
    for (size_t i = 0; i < 25; i++)
        lines[i] = (struct delivery){.body = (char *)"a \"b\""};
    webhook_write_slack(&out, lines, 2);
    assert_string_equal(buf_borrow(&out), "{\"text\":\"a \\\"b\\\"\\na \\\"b\\\"\"}");
    buf_clear(&out);
    webhook_write_slack(&out, lines, 25);
    assert_non_null(strstr(buf_borrow(&out), "and 5 more"));
    // Among many failures the end of the batch is seen, in its place.
    for (size_t i = 0; i < 25; i++)
        lines[i].body = (char *)(i == 24 ? "*batch.failed* b" : "*generation.failed* g");
    buf_clear(&out);
    webhook_write_slack(&out, lines, 25);
    assert_non_null(strstr(buf_borrow(&out), "*generation.failed* g\\n*batch.failed* b\\n\u2026 and 5 more"));
    buf_free(&out);
}

static enum address_kind kind_of(const char *text) {
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return address_kind((const struct sockaddr *)(const void *)&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return address_kind((const struct sockaddr *)(const void *)&v6);
}

static void test_addresses(void **state) {
    (void)state;
    static const struct {
        const char *address;
        enum address_kind kind;
    } cases[] = {
        {"8.8.8.8", ADDRESS_PUBLIC},
        {"127.0.0.1", ADDRESS_LOOPBACK},
        {"127.255.0.9", ADDRESS_LOOPBACK},
        {"169.254.169.254", ADDRESS_LINK_LOCAL},
        {"0.0.0.0", ADDRESS_PRIVATE},
        {"10.1.2.3", ADDRESS_PRIVATE},
        {"172.15.0.1", ADDRESS_PUBLIC},
        {"172.16.0.1", ADDRESS_PRIVATE},
        {"172.31.255.255", ADDRESS_PRIVATE},
        {"172.32.0.1", ADDRESS_PUBLIC},
        {"192.168.0.1", ADDRESS_PRIVATE},
        {"192.169.0.1", ADDRESS_PUBLIC},
        {"100.64.0.1", ADDRESS_PRIVATE},
        {"100.128.0.1", ADDRESS_PUBLIC},
        {"198.18.0.1", ADDRESS_PRIVATE},
        {"224.0.0.1", ADDRESS_PRIVATE},
        {"255.255.255.255", ADDRESS_PRIVATE},
        {"::", ADDRESS_PRIVATE},
        {"::1", ADDRESS_LOOPBACK},
        {"fe80::1", ADDRESS_LINK_LOCAL},
        {"febf::1", ADDRESS_LINK_LOCAL},
        {"fc00::1", ADDRESS_PRIVATE},
        {"fd12::1", ADDRESS_PRIVATE},
        {"ff02::1", ADDRESS_PRIVATE},
        {"2606:4700::1111", ADDRESS_PUBLIC},
        {"::ffff:10.0.0.1", ADDRESS_PRIVATE},
        {"::ffff:8.8.8.8", ADDRESS_PUBLIC},
        {"::ffff:169.254.169.254", ADDRESS_LINK_LOCAL},
        {"64:ff9b::7f00:1", ADDRESS_LOOPBACK},
        {"64:ff9b::a9fe:a9fe", ADDRESS_LINK_LOCAL},
        {"2002:a00:1::", ADDRESS_PRIVATE},
        {"2002:808:808::", ADDRESS_PUBLIC},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (kind_of(cases[i].address) != cases[i].kind)
            fail_msg("%s is %d", cases[i].address, kind_of(cases[i].address));
    assert_int_equal(address_kind(NULL), ADDRESS_PRIVATE);
    assert_true(address_is_literal("127.0.0.1") && address_is_literal("[::1]") &&
                address_is_literal("localhost"));
    assert_true(address_is_literal("[fe80::1%25eth0]"));
    assert_false(address_is_literal("a.localhost") || address_is_literal("example.org") ||
                 address_is_literal(""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signature),
        cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_filters_with_a_dot),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_large_bodies_are_thin),
        cmocka_unit_test(test_a_burst_is_one_message),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
