// SPDX-License-Identifier: MIT
// What this build is made of.
#include "base/digest.h"
#include "genrun.h"
#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>

static char text[512];

static void make_text(void) {
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    snprintf(text, sizeof text,
             "genrun %s\nSQLite %s\nlibcurl %s (%s)\ncJSON %s\nlibcrypto %s\nPostgres sync: not built in\n",
             GENRUN_VERSION, sqlite3_libversion(), curl->version,
             curl->ssl_version ? curl->ssl_version : "no TLS", cJSON_Version(), digest_version());
}

const char *genrun_versions(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_text);
    return text;
}
