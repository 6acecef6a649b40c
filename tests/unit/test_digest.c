// SPDX-License-Identifier: MIT
// Digests against the vectors of FIPS 180-4 and RFC 4231, the alphabet of keys, and addresses.
#include "base/address.h"
#include "base/base64.h"
#include "base/digest.h"
#include "base/id.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
// cmocka needs the above
#include <cmocka.h>

static void test_sha256(void **state) {
    (void)state;
    char hex[DIGEST_HEX_SIZE];
    digest_text(hex, "abc");
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest_text(hex, "");
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void test_hmac(void **state) {
    (void)state;
    unsigned char digest[DIGEST_SIZE];
    char hex[DIGEST_HEX_SIZE];
    const char *data = "what do ya want for nothing?";
    digest_hmac_sha256(digest, "Jefe", 4, data, strlen(data));
    digest_hex(hex, digest);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

static void test_equal(void **state) {
    (void)state;
    assert_true(digest_equal("abc", "abd", 2));
    assert_false(digest_equal("abc", "abd", 3));
    assert_true(digest_equal("", "", 0));
}

static void test_base64_url(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        const char *text;
    } cases[] = {{"", 0, ""},
                 {"f", 1, "Zg"},
                 {"fo", 2, "Zm8"},
                 {"foo", 3, "Zm9v"},
                 {"foob", 4, "Zm9vYg"},
                 {"\xfb\xff\xbf", 3, "-_-_"},
                 {"\0\0\0\0", 4, "AAAAAA"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        buf_init(&out, BUF_UNLIMITED);
        base64_url(&out, cases[i].bytes, cases[i].length);
        assert_string_equal(buf_borrow(&out), cases[i].text);
        buf_free(&out);
    }
}

static void test_random(void **state) {
    (void)state;
    unsigned char a[300] = {0}, b[300] = {0};
    id_random_bytes(a, sizeof a);
    id_random_bytes(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a + 268, b + 268, 32); // beyond the pool, too
}

static void test_address(void **state) {
    (void)state;
    static const struct {
        const char *text, *written, *host; // NULL: refused
        bool loopback;
    } cases[] = {
        {"127.0.0.1:8787", "127.0.0.1:8787", "127.0.0.1", true},
        {"127.9.9.9:0", "127.9.9.9:0", "127.9.9.9", true},
        {"localhost:1", "127.0.0.1:1", "127.0.0.1", true},
        {"0.0.0.0:80", "0.0.0.0:80", "0.0.0.0", false},
        {"10.0.0.1:65535", "10.0.0.1:65535", "10.0.0.1", false},
        {"[::1]:8787", "[::1]:8787", "::1", true},
        {"[::]:8787", "[::]:8787", "::", false},
        {"[2001:DB8::1]:5", "[2001:db8::1]:5", "2001:db8::1", false},
        {"[::ffff:127.0.0.1]:5", "127.0.0.1:5", "127.0.0.1", true},
        {"[::ffff:10.0.0.1]:5", "10.0.0.1:5", "10.0.0.1", false},
        {"", NULL, NULL, false},
        {"8787", NULL, NULL, false},
        {":8787", NULL, NULL, false},
        {"127.0.0.1", NULL, NULL, false},
        {"127.0.0.1:", NULL, NULL, false},
        {"127.0.0.1:65536", NULL, NULL, false},
        {"127.0.0.1:100000", NULL, NULL, false},
        {"127.0.0.1:-1", NULL, NULL, false},
        {"127.0.0.1:+1", NULL, NULL, false},
        {"127.0.0.1: 1", NULL, NULL, false},
        {"127.0.0.1:80x", NULL, NULL, false},
        {"127.1:80", NULL, NULL, false},
        {"example.org:80", NULL, NULL, false},
        {"*:80", NULL, NULL, false},
        {"::1:80", NULL, NULL, false},
        {"[::1]", NULL, NULL, false},
        {"[::1]80", NULL, NULL, false},
        {"[::1", NULL, NULL, false},
        {"[127.0.0.1]:80", NULL, NULL, false},
        {"[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:80", NULL, NULL, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct address address;
        struct buf text;
        buf_init(&text, BUF_UNLIMITED);
        if (address_parse(&address, cases[i].text) != (cases[i].written != NULL))
            fail_msg("%s", cases[i].text);
        if (cases[i].written) {
            const struct sockaddr *socket = (const struct sockaddr *)&address.socket;
            address_write(&text, socket, true);
            assert_string_equal(buf_borrow(&text), cases[i].written);
            buf_clear(&text);
            address_write(&text, socket, false);
            assert_string_equal(buf_borrow(&text), cases[i].host);
            assert_int_equal(address_is_loopback(socket), cases[i].loopback);
        }
        buf_free(&text);
    }
    assert_false(address_is_loopback(NULL));
}

static struct address_network network(const char *text) {
    struct address address;
    assert_true(address_parse(&address, text));
    return address_network((const struct sockaddr *)&address.socket);
}

static bool is_same(const char *a, const char *b) {
    struct address_network x = network(a), y = network(b);
    return x.high == y.high && x.low == y.low;
}

static void test_network(void **state) {
    (void)state;
    assert_true(is_same("10.0.0.1:1", "10.0.0.1:2"));
    assert_true(is_same("10.0.0.1:1", "[::ffff:10.0.0.1]:2"));
    assert_false(is_same("10.0.0.1:1", "10.0.0.2:1"));
    assert_true(is_same("[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff::9]:1"));
    assert_false(is_same("[2001:db8:1:2::1]:1", "[2001:db8:1:3::1]:1"));
    assert_false(is_same("[::]:1", "0.0.0.0:1"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),  cmocka_unit_test(test_hmac),    cmocka_unit_test(test_equal),
        cmocka_unit_test(test_random),  cmocka_unit_test(test_address), cmocka_unit_test(test_base64_url),
        cmocka_unit_test(test_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
