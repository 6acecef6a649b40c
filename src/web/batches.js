// SPDX-License-Identifier: MIT
// Batch jobs: the list, and everything about one.
import {get, path, post, query} from "./api.js";
import {choiceField, fill, h, keep, link, pairs} from "./dom.js";
import {badge, money, number, tail, time} from "./format.js";
import {filterForm} from "./generations.js";
import {List} from "./list.js";
import {Log} from "./log.js";
import {actionButton, looker} from "./say.js";

const STATUS = [
    ["", "any"],
    ["queued", "queued"],
    ["processing", "processing"],
    ["paused", "paused"],
    ["completed", "completed"],
    ["failed", "failed"],
    ["cancelled", "cancelled"],
];

// A bar of what succeeded, failed, was cancelled and runs; its text says the same.
function bar(row) {
    const total = row.totalItems || 1,
        ended = row.completedItems + row.cancelledItems;
    const parts = [
        ["completed", row.successfulItems],
        ["failed", row.failedItems],
        ["cancelled", row.cancelledItems],
        ["processing", row.processingItems],
    ];
    const element = h("div", {
        class: "progress",
        role: "progressbar",
        "aria-label": "Items at an end",
        "aria-valuemin": "0",
        "aria-valuemax": String(row.totalItems),
        "aria-valuenow": String(ended),
        title:
            parts
                .filter(([, n]) => n)
                .map(([name, n]) => `${number(n)} ${name}`)
                .join(", ") || "none started",
    });
    for (const [name, count] of parts)
        if (count > 0) {
            const part = h("span", {class: name});
            part.style.flexBasis = (100 * count) / total + "%";
            element.append(part);
        }
    return element;
}

function name(row) {
    return row.name || "batch " + tail(row.id);
}

function reason(row) {
    return row.status === "paused" ? row.pausedReason : row.statusReason;
}

function columns() {
    return [
        {label: "State", class: "narrow", cell: (row) => badge(row.status)},
        {
            label: "Name",
            class: "wide",
            head: true,
            cell: (row) => [
                link("#/batches/" + encodeURIComponent(row.id), name(row), {
                    class: "prompt",
                    data: {focus: "open-" + row.id},
                }),
                reason(row) ? h("span", {class: "below"}, reason(row)) : null,
            ],
        },
        {
            label: "Progress",
            class: "gauge",
            cell: (row) => [
                bar(row),
                h(
                    "span",
                    {class: "below"},
                    `${number(row.completedItems + row.cancelledItems)} of ${number(row.totalItems)}`,
                    row.failedItems ? h("span", {class: "bad"}, `, ${number(row.failedItems)} failed`) : null,
                ),
            ],
        },
        {label: "Cost", class: "number some", cell: (row) => money(row.actualCost)},
        {label: "By", class: "medium some", cell: (row) => row.createdBy ?? row.userId},
        {label: "Created", class: "narrow age some", cell: (row) => time(row.createdAt)},
        {label: "Id", class: "narrow some", cell: (row) => h("code", {title: row.id}, tail(row.id))},
    ];
}

export function batchesView(at) {
    const list = new List({
        path: "/api/batch-jobs",
        filter: {status: at.filter.status},
        columns: columns(),
        key: (row) => row.id,
        open: (row) => "#/batches/" + encodeURIComponent(row.id),
        empty: at.filter.status ? "Nothing fits the filter." : "No batch yet: upload one under New.",
        caption: "Batch jobs",
    });
    const element = h(
        "section",
        {"aria-labelledby": "title"},
        h("h2", {id: "title"}, "Batches"),
        filterForm(at, [choiceField("State", STATUS, {name: "status", value: at.filter.status})]),
        list.element,
    );
    return {element, refresh: () => list.refresh(), close: () => list.close()};
}

// ---- one batch job --------------------------------------------------------------------------

const ENDED = new Set(["completed", "failed", "cancelled"]);

function actions(row, refresh) {
    const act = (label, verb, question, said, properties) =>
        actionButton(
            label,
            question,
            async ({reason: why}) => {
                const answer = await post(
                    path("api", "batch-jobs", row.id, verb),
                    why ? {reason: why} : undefined,
                );
                refresh();
                return typeof said === "function" ? said(answer) : said;
            },
            {data: {focus: verb}, ...properties},
        );
    const live = !ENDED.has(row.status);
    const results = (format, errors) =>
        path("api", "batch-jobs", row.id, "results") + query({format, errors});
    return h(
        "div",
        {class: "buttons"},
        live && row.status !== "paused"
            ? act(
                  "Pause",
                  "pause",
                  {
                      title: "Pause this batch?",
                      text: "What runs is finished; nothing more starts.",
                      reason: "Reason (optional)",
                  },
                  "Paused",
              )
            : null,
        row.status === "paused" ? act("Resume", "resume", null, "It goes on", {class: "primary"}) : null,
        row.failedItems > 0 && row.status !== "cancelled"
            ? act(
                  "Retry failed",
                  "retry",
                  {
                      title: `Run ${number(row.failedItems)} failed again?`,
                      text: "They are queued with all their attempts.",
                  },
                  "Queued again",
              )
            : null,
        live && row.queuedItems > 0
            ? act(
                  "Process next",
                  "process-next",
                  {
                      title: "Run exactly one item now?",
                      text: "The next that waits, beside every limit, also when the batch is paused.",
                  },
                  (answer) =>
                      `${number(answer?.processed ?? 1)} processed, ${number(answer?.remaining ?? 0)} left`,
              )
            : null,
        live
            ? act(
                  "Cancel batch",
                  "cancel",
                  {
                      title: "Cancel this batch?",
                      text: "What runs ends at once, what waits will not run. Results so far are kept.",
                      danger: true,
                      reason: "Reason (optional)",
                  },
                  "Cancelled",
                  {class: "danger"},
              )
            : null,
        h(
            "span",
            {class: "downloads"},
            "Results: ",
            link(results("jsonl"), "JSONL", {download: true}),
            " ",
            link(results("csv"), "CSV", {download: true}),
            row.failedItems + row.cancelledItems > 0
                ? [" ", link(results("jsonl", "true"), "errors", {download: true})]
                : null,
        ),
    );
}

function facts(row, at) {
    const count = (state, value) =>
        h(
            "li",
            {class: value ? null : "none"},
            link(
                "#/batches/" +
                    encodeURIComponent(row.id) +
                    query({status: at.filter.status === state ? "" : state}),
                [h("strong", {}, number(value)), " ", badge(state)],
                {data: {focus: "items-" + state}, "aria-current": at.filter.status === state ? "true" : null},
            ),
        );
    return [
        h(
            "ul",
            {class: "counts"},
            count("queued", row.queuedItems),
            count("processing", row.processingItems),
            count("completed", row.successfulItems),
            count("failed", row.failedItems),
            count("cancelled", row.cancelledItems),
        ),
        pairs("facts", [
            ["Id", h("code", {}, row.id)],
            ["By", row.createdBy ?? row.userId],
            ["Model", row.modelId],
            ["Format", row.format],
            ["Cost", money(row.actualCost)],
            ["Estimated", money(row.estimatedCost)],
            ["At most", money(row.maxCost)],
            [
                "Tokens",
                row.inputTokens || row.outputTokens
                    ? `${number(row.inputTokens)} in, ${number(row.outputTokens)} out`
                    : null,
            ],
            ["At once", row.concurrency],
            ["Priority", row.priority || null],
            ["After an error", row.onError === "stop" ? "stop" : null],
            ["Failures allowed", row.maxFailures],
            ["Created", time(row.createdAt)],
            ["Started", time(row.startedAt)],
            ["Last activity", time(row.lastActivityAt)],
            ["Ended", time(row.completedAt)],
        ]),
    ];
}

function itemColumns(at) {
    return [
        {label: "#", class: "number short", cell: (row) => number(row.itemIndex + 1)},
        {label: "Status", class: "narrow", cell: (row) => badge(row.status)},
        {
            label: "Item",
            class: "wide",
            head: true,
            cell: (row) => [
                link(at.open(row), row.customId || row.topic || tail(row.conversationId), {
                    class: "prompt",
                    data: {focus: "open-" + row.id},
                }),
                row.errorMessage ? h("span", {class: "below bad"}, row.errorMessage) : null,
            ],
        },
        {label: "Started", class: "narrow age some", cell: (row) => time(row.startedAt)},
        {label: "Ended", class: "narrow age", cell: (row) => time(row.completedAt)},
    ];
}

export function batchView(at) {
    const url = path("api", "batch-jobs", at.id),
        abort = new AbortController();
    const parts = Object.fromEntries(
        ["title", "state", "actions", "facts"].map((part) => [part, h("div", {class: "part"})]),
    );
    const trouble = h("div", {});
    const items = new List({
        path: url + "/items",
        filter: {status: at.filter.status},
        columns: itemColumns(at),
        key: (row) => row.conversationId,
        open: at.open,
        empty: at.filter.status ? `No item is ${at.filter.status}.` : "No items.",
        caption: "Items",
    });
    const events = new Log(url + "/logs", abort.signal, {newest: true});
    const log = h(
        "details",
        {class: "log", on: {toggle: () => refresh()}},
        h("summary", {}, "Log"),
        events.element,
    );
    const element = h(
        "section",
        {"aria-labelledby": "title"},
        h("p", {class: "path"}, link("#/batches", "Batches"), " /"),
        parts.title,
        trouble,
        parts.state,
        parts.actions,
        parts.facts,
        h(
            "h3",
            {class: "items"},
            at.filter.status
                ? [
                      "Items that are " + at.filter.status + " ",
                      link("#/batches/" + encodeURIComponent(at.id), "all"),
                  ]
                : "Items",
        ),
        items.element,
        log,
    );
    let id = at.id;

    async function look() {
        const row = await get(url, {signal: abort.signal});
        id = row.id;
        fill(trouble);
        keep(parts.title, row.name ?? row.id, () => h("h2", {id: "title"}, name(row)));
        keep(parts.state, row, () => [
            h(
                "div",
                {class: "state-line"},
                badge(row.status),
                h(
                    "span",
                    {},
                    `${number(row.completedItems + row.cancelledItems)} of ${number(row.totalItems)}`,
                ),
                bar(row),
            ),
            reason(row) ? h("p", {class: "waits"}, reason(row)) : null,
        ]);
        keep(parts.actions, [row.status, row.failedItems, row.cancelledItems > 0, row.queuedItems > 0], () =>
            actions(row, refresh),
        );
        keep(parts.facts, row, () => facts(row, at));
        if (log.open) await events.refresh();
    }

    const lookAgain = looker(trouble, look);
    function refresh(changes) {
        if (changes?.batches && !changes.batches.has(id)) return;
        items.refresh();
        lookAgain();
    }

    return {
        element,
        refresh,
        mark: (key) => items.mark(key),
        close() {
            abort.abort();
            items.close();
        },
    };
}
