// SPDX-License-Identifier: MIT
#include "queue/audit.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>

#define SHOWN 100 // problems of one rule

struct rule {
    const char *check;
    const char *advice;
    const char *sql; // a row for each problem: its text
};

#define MENDED "'genrun job cleanup_stuck_generation' puts it right"
#define RESTORE "restore a backup; 'genrun show ID' tells what is left of it"
#define ORPHAN "delete it with the sqlite3 shell: nothing refers to it"

// Counts of the rows that stand in `source`, in the order of the counters.
#define COUNTED                                                                                              \
    "sum(status='queued') AS q, sum(status='processing') AS p, sum(status='completed') AS s,"                \
    " sum(status='failed') AS f, sum(status='cancelled') AS x"
#define KEPT "queued_items, c.processing_items, c.successful_items, c.failed_items, c.cancelled_items"
#define FIVE(a, b, c, d, e)                                                                                  \
    a " || ' queued, ' || " b " || ' processing, ' || " c " || ' completed, ' || " d " || ' failed, ' || " e \
      " || ' cancelled'"

static const struct rule rules[] = {
    {"counters", MENDED,
     "WITH n AS (SELECT batch_seq, " COUNTED
     " FROM generation WHERE batch_seq IS NOT NULL GROUP BY batch_seq)"
     " SELECT 'the counters of batch job ' || b.id || ' say ' || " FIVE(
         "c.queued_items", "c.processing_items", "c.successful_items", "c.failed_items",
         "c.cancelled_items") " || '; its items are ' || " FIVE("coalesce(q, 0)", "coalesce(p, 0)",
                                                                "coalesce(s, 0)", "coalesce(f, 0)",
                                                                "coalesce(x, 0)") " FROM batch_job b JOIN "
                                                                                  "batch_count c ON "
                                                                                  "c.batch_seq = b.seq LEFT "
                                                                                  "JOIN n ON n.batch_seq = "
                                                                                  "b.seq"
                                                                                  " WHERE (c." KEPT
                                                                                  ") IS NOT (coalesce(q, 0), "
                                                                                  "coalesce(p, 0), "
                                                                                  "coalesce(s, 0), "
                                                                                  "coalesce(f, 0), "
                                                                                  "coalesce(x, 0))"},
    {"counters", MENDED,
     "WITH n AS (SELECT " COUNTED " FROM generation g WHERE NOT EXISTS"
     " (SELECT 1 FROM batch_job b WHERE b.seq = g.batch_seq AND b.opened_at IS NULL))"
     " SELECT 'the counters of everything say ' || " FIVE(
         "c.queued_items", "c.processing_items", "c.successful_items", "c.failed_items",
         "c.cancelled_items") " || '; there are ' || " FIVE("coalesce(q, 0)", "coalesce(p, 0)",
                                                            "coalesce(s, 0)", "coalesce(f, 0)",
                                                            "coalesce(x, 0)") " FROM batch_count c, n WHERE "
                                                                              "c.batch_seq = 0"
                                                                              " AND (c." KEPT
                                                                              ") IS NOT (coalesce(q, 0), "
                                                                              "coalesce(p, 0), coalesce(s, "
                                                                              "0), coalesce(f, 0), "
                                                                              "coalesce(x, 0))"},
    // Deleted items leave their cost and tokens behind, so only too little is wrong.
    {"counters", MENDED,
     "WITH n AS (SELECT batch_seq, total(cost) AS cost, total(input_tokens) AS i, total(output_tokens) AS o"
     " FROM generation WHERE batch_seq IS NOT NULL GROUP BY batch_seq)"
     " SELECT 'batch job ' || b.id || ' cost ' || c.actual_cost || ' with ' || c.input_tokens || ' and ' || "
     "c.output_tokens"
     " || ' tokens; its items cost ' || n.cost || ' with ' || CAST(i AS INTEGER) || ' and ' || CAST(o AS "
     "INTEGER)"
     " FROM n JOIN batch_job b ON b.seq = n.batch_seq JOIN batch_count c ON c.batch_seq = n.batch_seq"
     " WHERE n.cost > c.actual_cost + 1e-6 * (1 + n.cost) OR i > c.input_tokens OR o > c.output_tokens"},
    {"counters", MENDED,
     "SELECT 'batch job ' || b.id || ' has no counters' FROM batch_job b LEFT JOIN batch_count c ON "
     "c.batch_seq = b.seq"
     " WHERE c.batch_seq IS NULL UNION ALL SELECT 'there are no counters of everything'"
     " WHERE NOT EXISTS (SELECT 1 FROM batch_count WHERE batch_seq = 0)"},
    {"batch jobs", MENDED,
     "SELECT 'batch job ' || b.id || ' is ' || b.status || '; by its items it is ' || d.derived"
     " FROM batch_job b JOIN batch_derived d ON d.seq = b.seq WHERE b.status <> d.derived"},
    {"batch jobs", MENDED,
     "SELECT 'batch job ' || id || ' is ' || status || ' and has ' || CASE WHEN completed_at IS NULL THEN "
     "'no ' ELSE 'a ' END"
     " || 'time of its end' FROM batch_job"
     " WHERE (completed_at IS NULL) = (status='completed' OR status='failed' OR status='cancelled')"},
    {"generations", RESTORE,
     "SELECT 'generation ' || id || ' is ' || status || ' ' || CASE"
     " WHEN (claim_token IS NOT NULL) <> (status='processing') THEN 'and its claim token does not fit'"
     " WHEN (completed_at IS NOT NULL) <> (status='completed' OR status='failed' OR status='cancelled')"
     " THEN 'and the time of its end does not fit'"
     " WHEN status='failed' THEN 'without an error' WHEN status='cancelled' THEN 'without a reason'"
     " ELSE 'and has the reason of a cancelled one' END FROM generation"
     " WHERE (claim_token IS NOT NULL) <> (status='processing')"
     " OR (completed_at IS NOT NULL) <> (status='completed' OR status='failed' OR status='cancelled')"
     " OR (status='failed' AND (error_type IS NULL OR error_message IS NULL))"
     " OR (status='cancelled' AND cancel_reason IS NULL) OR (status='queued' AND cancel_reason IS NOT NULL)"},
    {"generations", RESTORE,
     "SELECT 'generation ' || g.id || ' (' || g.status || ') has lost what was asked' FROM generation g"
     " LEFT JOIN generation_input i ON i.seq = g.seq WHERE i.seq IS NULL"},
    {"generations", RESTORE,
     "SELECT 'generation ' || g.id || ' belongs to batch job number ' || g.batch_seq || ', which is not "
     "there'"
     " FROM generation g LEFT JOIN batch_job b ON b.seq = g.batch_seq WHERE g.batch_seq IS NOT NULL AND "
     "b.seq IS NULL"},
    {"lanes",
     "restore a backup, or give it its lane again: UPDATE generations SET priority = priority + 1, and back",
     "SELECT 'generation ' || g.id || ' stands in lane ' || g.lane || ', which is ' ||"
     " CASE WHEN l.id IS NULL THEN 'not there' ELSE 'not its own' END"
     " FROM generation g LEFT JOIN lane l ON l.id = g.lane WHERE l.id IS NULL OR (l.model_id, l.user_id, "
     "l.batch_seq, l.priority)"
     " IS NOT (g.model_id, coalesce(g.user_id, ''), coalesce(g.batch_seq, 0), g.priority)"},
    {"lanes", MENDED,
     "SELECT 'lane ' || l.id || ' of model ' || l.model_id || ' is marked as empty, and generations wait in "
     "it'"
     " FROM lane l WHERE l.ready = 0 AND EXISTS (SELECT 1 FROM generation g WHERE g.lane = l.id AND "
     "g.status='queued'"
     " AND g.run_after IS NULL AND g.suspect = 0)"},
    {"lanes", MENDED,
     "SELECT 'lane ' || l.id || ' of ' || CASE WHEN b.seq IS NULL THEN 'no batch job' ELSE 'batch job ' || "
     "b.id END"
     " || ' is blocked with ' || l.blocked || ' where it should be ' || coalesce(b.blocked, 0)"
     " FROM lane l LEFT JOIN batch_job b ON b.seq = l.batch_seq WHERE l.blocked <> coalesce(b.blocked, 0)"},
    {"orphans", ORPHAN,
     "SELECT 'lane ' || l.id || ' is of batch job number ' || l.batch_seq || ', which is not there' FROM "
     "lane l"
     " LEFT JOIN batch_job b ON b.seq = l.batch_seq WHERE l.batch_seq <> 0 AND b.seq IS NULL"},
    {"orphans", ORPHAN,
     "SELECT 'row ' || t.batch_seq || ' of batch_count is of no batch job' FROM batch_count t"
     " LEFT JOIN batch_job b ON b.seq = t.batch_seq WHERE t.batch_seq <> 0 AND b.seq IS NULL"},
    {"orphans", ORPHAN,
     "SELECT 'row ' || t.seq || ' of generation_input is of no generation' FROM generation_input t"
     " LEFT JOIN generation g ON g.seq = t.seq WHERE g.seq IS NULL"},
    {"orphans", ORPHAN,
     "SELECT 'row ' || t.seq || ' of generation_live is of no generation that runs' FROM generation_live t"
     " LEFT JOIN generation g ON g.seq = t.seq WHERE g.seq IS NULL OR g.status <> 'processing'"},
    {"orphans", ORPHAN,
     "SELECT 'row ' || t.seq || ' of response is of no generation' FROM response t"
     " LEFT JOIN generation g ON g.seq = t.seq WHERE g.seq IS NULL"},
    {"orphans", ORPHAN,
     "SELECT 'row ' || t.key || ' of output is of no generation' FROM output t"
     " LEFT JOIN generation g ON g.seq = t.key / 1024 WHERE g.seq IS NULL"},
    {"orphans", ORPHAN,
     "SELECT 'event ' || t.id || ' is of a generation that nothing is known of' FROM event t"
     " LEFT JOIN generation g ON g.seq = t.generation_seq LEFT JOIN generation_tombstone d ON d.seq = "
     "t.generation_seq"
     " WHERE t.generation_seq IS NOT NULL AND g.seq IS NULL AND d.seq IS NULL"},
};

static int tell_more(const struct rule *rule, check_each each, void *payload) {
    char text[80];
    snprintf(text, sizeof text, "there are more than %d problems of this kind", SHOWN);
    return check_tell(each, payload, rule->check, text, "mend these and check again");
}

static int apply(struct db *db, const struct rule *rule, int *end, check_each each, void *payload,
                 struct err *e) {
    int more = 0, shown = 0;
    sqlite3_stmt *s = db_ask(db, e, rule->sql, "");
    if (!s)
        return (int)e->code;
    while (*end == 0 && (more = db_next(db, s, e)) == 1) {
        if (shown++ == SHOWN) {
            *end = tell_more(rule, each, payload);
            break;
        }
        // What makes its text NULL is itself what is wrong.
        const char *problem = db_text(s, 0) ? db_text(s, 0) : "a row has NULL where that cannot be";
        *end = check_tell(each, payload, rule->check, problem, rule->advice);
    }
    db_done(db, s);
    return more < 0 ? (int)e->code : 0;
}

int audit_rows(struct db *db, check_each each, void *payload, struct err *e) {
    int result = 0, end = 0;
    for (size_t i = 0; !result && end == 0 && i < sizeof rules / sizeof *rules; i++)
        result = apply(db, &rules[i], &end, each, payload, e);
    return result;
}
