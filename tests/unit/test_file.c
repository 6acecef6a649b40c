// SPDX-License-Identifier: MIT
// base/file: whole reads and their refusals, lines against a plain reader at every chunk
// edge, paths, and network file systems (statfs is scripted here).
#include "base/file.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static char folder[] = "/tmp/genrun-test-file-XXXXXX";
static char path[64];

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? snprintf(path, sizeof path, "%s/file", folder) <= 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void put(const char *bytes, size_t length) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, length, f), length);
    assert_int_equal(fclose(f), 0);
}

static void test_read(void **state) {
    (void)state;
    struct buf out;
    struct err e = {0};
    buf_init(&out, BUF_UNLIMITED);
    buf_text(&out, "old");
    put("a\0b\n", 4);
    assert_int_equal(file_read(path, 4, &out, &e), ERR_OK);
    assert_int_equal(out.length, 4);
    assert_memory_equal(out.data, "a\0b\n", 5);
    put("", 0);
    assert_int_equal(file_read(path, 0, &out, &e), ERR_OK);
    assert_int_equal(out.length, 0);
    size_t size = 300000; // more than one chunk
    char *big = malloc(size);
    memset(big, 'z', size);
    put(big, size);
    assert_int_equal(file_read(path, size, &out, &e), ERR_OK);
    assert_int_equal(out.length, size);
    assert_memory_equal(out.data, big, size);
    free(big);
    assert_int_equal(file_read("/proc/self/status", 1 << 20, &out, &e), ERR_OK); // says it has 0 bytes
    assert_non_null(strstr(out.data, "Name:"));
    buf_free(&out);
}

static void test_read_refusals(void **state) {
    (void)state;
    struct buf out;
    struct err e = {0};
    char expected[200];
    buf_init(&out, 100);
    put("12345", 5);
    assert_int_equal(file_read(path, 4, &out, &e), ERR_INVALID);
    snprintf(expected, sizeof expected, "%s is too large: at most 4 bytes are read", path);
    assert_string_equal(e.message, expected);
    assert_int_equal(out.length, 0);
    assert_false(out.overflow);
    char big[101] = "";
    put(big, 101);
    assert_int_equal(file_read(path, 1000, &out, &e), ERR_INVALID);
    snprintf(expected, sizeof expected, "%s is too large: at most 100 bytes are read", path);
    assert_string_equal(e.message, expected);
    put(big, 100);
    assert_int_equal(file_read(path, 1000, &out, &e), ERR_OK);
    assert_int_equal(file_read(folder, 1000, &out, &e), ERR_INVALID);
    snprintf(expected, sizeof expected, "%s is a directory: give a regular file", folder);
    assert_string_equal(e.message, expected);
    assert_int_equal(file_read("/nowhere/x", 1000, &out, &e), ERR_INVALID);
    assert_string_equal(e.message,
                        "cannot read /nowhere/x (No such file or directory): check the path and its rights");
    assert_int_equal(file_read("", 1000, &out, NULL), ERR_INVALID);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(file_read(path, 1000, &out, &e), ERR_INVALID); // and does not wait for a writer
    snprintf(expected, sizeof expected, "%s is not a regular file: give a regular file", path);
    assert_string_equal(e.message, expected);
    assert_int_equal(unlink(path), 0);
    buf_free(&out);
}

static void test_lines(void **state) {
    (void)state;
    static const char text[] = "one\ntwo\r\n\n\r\nnul\0here\nmid\rcr\r\r\nlast\r";
    static const struct {
        const char *line;
        size_t length;
    } lines[] = {{"one", 3}, {"two", 3}, {"", 0}, {"", 0}, {"nul\0here", 8}, {"mid\rcr\r", 7}, {"last\r", 5}};
    struct buf line;
    buf_init(&line, 100);
    put(text, sizeof text - 1);
    FILE *f = fopen(path, "r");
    for (size_t i = 0; i < COUNT(lines); i++) {
        assert_int_equal(file_read_line(f, &line, NULL), 1);
        assert_int_equal(line.length, lines[i].length);
        assert_memory_equal(buf_borrow(&line), lines[i].line, lines[i].length + 1);
    }
    assert_int_equal(file_read_line(f, &line, NULL), 0);
    assert_int_equal(line.length, 0);
    assert_int_equal(file_read_line(f, &line, NULL), 0);
    fclose(f);
    put("", 0);
    f = fopen(path, "r");
    assert_int_equal(file_read_line(f, &line, NULL), 0);
    fclose(f);
    f = fopen(folder, "r"); // opens, but cannot be read
    errno = 0;
    assert_int_equal(file_read_line(f, &line, NULL), -1);
    assert_int_equal(errno, EISDIR);
    assert_false(line.overflow);
    fclose(f);
    buf_free(&line);
}

// Lines whose ends fall on every place near the edges of the reader's chunks.
static void test_line_at_chunk_edges(void **state) {
    (void)state;
    static const char *const ends[] = {"\n", "\r\n", "\r\r\n", "", "\r"};
    static const char *const endings[] = {"\n", "\r\n", "\r\n", "", ""};
    char *text = malloc(20000);
    struct buf line;
    buf_init(&line, BUF_UNLIMITED);
    for (size_t round = 0; round < 3 * 20 * COUNT(ends); round++) {
        size_t length = (round / 20 % 3 + 1) * 4095 - 10 + round % 20;
        const char *end = ends[round / 60];
        size_t kept = length + (strcmp(end, "\r\r\n") == 0 || strcmp(end, "\r") == 0);
        memset(text, round % 2 ? 'x' : 0, length); // NULs too
        memcpy(text + length, end, strlen(end));
        put(text, length + strlen(end));
        FILE *f = fopen(path, "r");
        const char *ending = NULL;
        assert_int_equal(file_read_line(f, &line, &ending), 1);
        assert_string_equal(ending, endings[round / 60]);
        if (line.length != kept || memcmp(line.data, text, kept) != 0) {
            fail_msg("length %zu, end %zu: read %zu", length, round / 60, line.length);
        }
        assert_int_equal(file_read_line(f, &line, NULL), 0);
        fclose(f);
    }
    free(text);
    buf_free(&line);
}

static void test_line_maximum(void **state) {
    (void)state;
    static const size_t maximums[] = {0, 1, 5, 4093, 4094, 4095, 4096, 4097, 9000};
    static const char *const ends[] = {"\n", "\r\n", ""};
    char *text = malloc(20000);
    for (size_t i = 0; i < COUNT(maximums) * COUNT(ends); i++) {
        size_t maximum = maximums[i / 3];
        struct buf line;
        buf_init(&line, maximum);
        memset(text, 'x', 20000);
        size_t at = maximum;
        at += (size_t)sprintf(text + at, "\r\n"); // just fits, its CR is none of it
        memset(text + at, 'y', maximum + 1);
        at += maximum + 1;
        at += (size_t)sprintf(text + at, "%s", ends[i % 3]); // one too long
        put(text, at);
        FILE *f = fopen(path, "r");
        assert_int_equal(file_read_line(f, &line, NULL), 1);
        assert_int_equal(line.length, maximum);
        assert_int_equal(file_read_line(f, &line, NULL), -1);
        assert_true(line.overflow);
        fclose(f);
        buf_free(&line);
    }
    free(text);
}

static void test_random_lines(void **state) {
    (void)state;
    uint64_t seed = 99;
    char text[300];
    struct buf line;
    buf_init(&line, 20);
    for (int round = 0; round < 300; round++) {
        size_t length = (size_t)round;
        for (size_t i = 0; i < length; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            text[i] = "\n\r\0abcd\xff"[(seed >> 33) % 8];
        }
        put(text, length);
        FILE *f = fopen(path, "r");
        for (size_t at = 0; at < length;) {
            const char *lf = memchr(text + at, '\n', length - at);
            size_t end = lf ? (size_t)(lf - text) : length;
            size_t expected = end - at - (lf && end > at && text[end - 1] == '\r');
            int rc = file_read_line(f, &line, NULL);
            assert_int_equal(rc, expected <= 20 ? 1 : -1);
            if (rc == 1) {
                assert_int_equal(line.length, expected);
                assert_memory_equal(buf_borrow(&line), text + at, expected);
            }
            at = end + 1;
        }
        assert_int_equal(file_read_line(f, &line, NULL), 0);
        fclose(f);
    }
    buf_free(&line);
}

static void test_resolve(void **state) {
    (void)state;
    static const struct {
        const char *path, *base, *result;
    } cases[] = {
        {"/a/b", "/etc/genrun.ini", "/a/b"},
        {"a/b", "/etc/genrun.ini", "/etc/a/b"},
        {"a", "/genrun.ini", "/a"},
        {"a", "genrun.ini", "a"},
        {"a", "./genrun.ini", "./a"},
        {"../a", "conf/genrun.ini", "conf/../a"},
        {"a", NULL, "a"},
        {"", "/etc/genrun.ini", ""},
        {"a", "", "a"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *result = file_resolve(cases[i].path, cases[i].base);
        assert_string_equal(result, cases[i].result);
        free(result);
    }
}

static const char *there; // the one path that statfs knows
static uint32_t fs_type;
static int fs_errno;

int statfs(const char *asked, struct statfs *fs) {
    if (strcmp(asked, there) != 0) {
        errno = fs_errno;
        return -1;
    }
    memset(fs, 0, sizeof *fs);
    fs->f_type = (__typeof__(fs->f_type))fs_type;
    return 0;
}

static void test_network(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        const char *name;
    } types[] = {
        {0x6969, "NFS"},    {0xFF534D42, "CIFS"}, {0xFE534D42, "SMB2"}, {0x517B, "SMB"},
        {0x01021997, "9p"}, {0x65735546, "FUSE"}, {0x5346414F, "AFS"},  {0x00C36400, "CephFS"},
        {0xEF53, NULL},     {0x01021994, NULL},   {0x58465342, NULL},   {0x9123683E, NULL},
        {0x794C7630, NULL}, {0x2FC12FC1, NULL},   {0x01161970, NULL}, // ext4 tmpfs xfs btrfs overlay zfs gfs2
    };
    there = "/data/genrun.db";
    for (size_t i = 0; i < COUNT(types); i++) {
        const char *name = NULL;
        fs_type = types[i].type;
        assert_int_equal(file_is_on_network(there, &name), types[i].name != NULL);
        if (types[i].name) {
            assert_string_equal(name, types[i].name);
        }
    }
}

static void test_network_of_a_file_to_come(void **state) {
    (void)state;
    static const struct {
        const char *path, *there;
        int error;
        bool found;
    } cases[] = {
        {"/mnt/new.db", "/mnt", ENOENT, true},
        {"/mnt/a/b/new.db", "/mnt", ENOENT, true},
        {"/mnt/file/new.db", "/mnt", ENOTDIR, true},
        {"/new.db", "/", ENOENT, true},
        {"new.db", ".", ENOENT, true},
        {"a/new.db", ".", ENOENT, true},
        {"a/new.db", "a", ENOENT, true},
        {"", ".", ENOENT, true},
        {"/mnt/new.db", "/other", ENOENT, false}, // not even the root: ends all the same
        {"new.db", "/", ENOENT, false},
        {"/mnt/new.db", "/mnt", EACCES, false},
    };
    fs_type = 0x6969;
    for (size_t i = 0; i < COUNT(cases); i++) {
        there = cases[i].there;
        fs_errno = cases[i].error;
        assert_int_equal(file_is_on_network(cases[i].path, NULL), cases[i].found);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_read_refusals),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_line_at_chunk_edges),
        cmocka_unit_test(test_line_maximum),
        cmocka_unit_test(test_random_lines),
        cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_network),
        cmocka_unit_test(test_network_of_a_file_to_come),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
