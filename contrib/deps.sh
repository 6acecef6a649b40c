#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs the Debian or Ubuntu packages of the named groups (build, run, test, clang, fuzz, lint, node, postgres, http, browser,
# container) that are missing, and says which and why. Asks for nothing; run it as root or where sudo works. On another
# system it lists what is missing under Debian's names and stops.
set -eu

# group  package  how to see that it is there  why
table() {
    cat <<'LIST'
build  gcc                   cmd:gcc         the C compiler
build  libc6-dev             file:/usr/include/stdio.h  headers of the C library
build  make                  cmd:make        runs the build
build  pkg-config            cmd:pkg-config  tells where the libraries are
build  libsqlite3-dev        pc:sqlite3      SQLite: the one file that holds everything
build  libcurl4-openssl-dev  pc:libcurl      libcurl: every outgoing HTTP request
build  libcjson-dev          pc:libcjson     cJSON: reads JSON
build  libinih-dev           pc:inih         inih: reads the configuration
build  libpq-dev             pc:libpq        libpq: the sync to Postgres; without it that is left out
build  libmicrohttpd-dev     pc:libmicrohttpd  libmicrohttpd: the HTTP server
build  libssl-dev            pc:libcrypto    libcrypto: hashes of API keys, signatures of webhooks
build  ca-certificates       file:/etc/ssl/certs/ca-certificates.crt  checks the certificates of model servers
run    libsqlite3-0          lib:libsqlite3.so.0  SQLite, for a program that is built
run    libcurl4              lib:libcurl.so.4     libcurl, likewise
run    libcjson1             lib:libcjson.so.1    cJSON, likewise
run    libinih1              lib:libinih.so.1     inih, likewise
run    libpq5                lib:libpq.so.5  libpq, likewise
run    libmicrohttpd12       lib:libmicrohttpd.so.12  libmicrohttpd, likewise
run    libssl3               lib:libcrypto.so.3   libcrypto, likewise
run    ca-certificates       file:/etc/ssl/certs/ca-certificates.crt  checks the certificates of model servers
test   libcmocka-dev         pc:cmocka       cmocka: unit tests
test   perl                  cmd:prove       has prove, which runs the tests
test   python3               cmd:python3     tests that drive the program from outside
test   sqlite3               cmd:sqlite3     the shell: tests and the demo type SQL as a person does
test   curl                  cmd:curl        types requests as a person does
test   mandoc                cmd:mandoc      reads the man pages for mistakes
test   shellcheck            cmd:shellcheck  reads the completion of bash for mistakes
test   systemd               cmd:systemd-analyze  judges the unit of the service
clang  clang                 cmd:clang       the second compiler
fuzz   clang                 cmd:clang       has libFuzzer
fuzz   libclang-rt-dev       file:/usr/share/doc/libclang-rt-dev  its libraries
lint   clang-format          cmd:clang-format  the format
lint   cppcheck              cmd:cppcheck    static analysis
lint   shellcheck            cmd:shellcheck  static analysis of shell scripts
node   nodejs                cmd:node        runs the mock model server of tests/clients
node   npm                   cmd:npm         installs it
http   wrk                   cmd:wrk         asks as fast as it can: the numbers of the server in make bench
postgres  postgresql         cmd:pg_createcluster  the server that tests/postgres syncs into
postgres  pgbouncer          cmd:pgbouncer   a pooler between: the sync through one
browser  chromium            cmd:chromium    shows the dashboard
browser  fonts-dejavu-core   file:/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf  it needs letters for that
container  debootstrap       cmd:debootstrap  makes the base of the container that tests/scenario/slow builds
container  buildah           cmd:buildah     builds it without a registry
LIST
}

present() {
    case $1 in
    cmd:*) command -v "${1#*:}" >/dev/null 2>&1 ;;
    pc:*) pkg-config --exists "${1#*:}" 2>/dev/null ;;
    lib:*) /sbin/ldconfig -p | grep -q "${1#*:} " ;;
    file:*) [ -e "${1#*:}" ] ;;
    esac
}

missing=
for group in "$@"; do
    while read -r in package probe why; do
        if [ "$in" = "$group" ] && ! present "$probe"; then
            [ -n "$missing" ] || echo "deps: missing:"
            printf '  %-22s %s\n' "$package" "$why"
            missing="$missing $package"
        fi
    done <<TABLE
$(table)
TABLE
done
if [ -z "$missing" ]; then
    echo "deps: all there ($*)"
    exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
    echo "deps: no apt-get here: install what the packages above contain with this system's own tools," >&2
    echo "deps: with headers and pkg-config files; SQLite 3.38 and libcurl 7.87 or newer" >&2
    exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "deps: neither root nor sudo: run this as root: apt-get install$missing" >&2
        exit 1
    fi
    sudo=sudo
fi
apt() {
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 "$@" </dev/null
}
echo "deps: apt-get install$missing"
apt update || echo "deps: apt-get update failed; going on with the package lists that are there" >&2
# shellcheck disable=SC2086 # a list of words
apt install --no-install-recommends $missing
echo "deps: installed$missing"
