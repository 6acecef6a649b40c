// SPDX-License-Identifier: MIT
// For admins: models, locks, periodic jobs, webhooks.
import {enableWebhookAction, redeliverAction, resumeModelAction, testWebhookAction} from "./actions.js";
import {path, post} from "./api.js";
import {h} from "./dom.js";
import {badge, duration, number, time} from "./format.js";
import {List} from "./list.js";
import {actionButton} from "./say.js";

function simpleView(title, intro, options) {
    const list = new List({
        filter: {},
        paged: false,
        caption: title,
        ...options,
        columns: options.columns(() => list.refresh()),
    });
    const element = h(
        "section",
        {"aria-labelledby": "title"},
        h("h2", {id: "title"}, title),
        intro ? h("p", {class: "quiet"}, intro) : null,
        list.element,
    );
    return {element, refresh: () => list.refresh(), close: () => list.close()};
}

const NAME = {
    label: "Name",
    class: "wide",
    head: true,
    cell: (row) => [row.name, row.reason ? h("span", {class: "below bad"}, row.reason) : null],
};

export function modelsView() {
    return simpleView("Models", "", {
        path: "/api/models",
        key: (row) => row.name,
        empty: "No models.",
        columns: (refresh) => [
            {label: "State", class: "narrow", cell: (row) => badge(row.state)},
            NAME,
            {label: "Provider", class: "medium some", cell: (row) => row.provider},
            {label: "Running", class: "number", cell: (row) => number(row.running)},
            {label: "Queued", class: "number", cell: (row) => number(row.queued)},
            {label: "Since", class: "narrow age some", cell: (row) => time(row.since)},
            {label: "Until", class: "narrow age some", cell: (row) => time(row.until)},
            {
                label: "",
                class: "act",
                cell: (row) => (row.state === "ok" ? null : resumeModelAction(row.name, refresh)),
            },
        ],
    });
}

export function locksView() {
    return simpleView(
        "Locks",
        "One for each account that is generating and for each periodic job at work. They end by themselves.",
        {
            path: "/api/locks",
            key: (row) => row.name,
            empty: "No locks are held.",
            columns: (refresh) => [
                {
                    label: "Name",
                    class: "wide",
                    head: true,
                    cell: (row) => [row.name, row.reason ? h("span", {class: "below"}, row.reason) : null],
                },
                {label: "Account", class: "medium some", cell: (row) => row.userId},
                {
                    label: "Owner",
                    class: "medium",
                    cell: (row) => [
                        row.owner,
                        row.live ? null : h("span", {class: "below bad"}, "not at work"),
                    ],
                },
                {label: "Taken", class: "narrow age some", cell: (row) => time(row.acquiredAt)},
                {label: "Ends", class: "narrow age", cell: (row) => time(row.expiresAt)},
                {
                    label: "",
                    class: "act",
                    cell: (row) =>
                        actionButton(
                            "Release",
                            {
                                title: `Release ${row.name}?`,
                                text: row.live
                                    ? "Its owner is at work, and goes on without it: another may start beside it."
                                    : "Its owner is not at work.",
                                danger: row.live,
                            },
                            async () => {
                                await post(path("api", "locks", row.name, "release"));
                                refresh();
                                return "Released";
                            },
                            {class: "small", data: {focus: "release-" + row.name}},
                        ),
                },
            ],
        },
    );
}

function jobSaid(row, answer) {
    const found = answer?.found,
        fixed = answer?.fixed;
    const counts =
        found === undefined || found === null ? "" : `: ${number(found)} found, ${number(fixed ?? 0)} fixed`;
    return `${row.name}${answer?.dryRun ? ", dry run" : ""}${counts}${answer?.note ? ": " + answer.note : ""}`;
}

export function jobsView() {
    const run = (label, row, dryRun, refresh) =>
        actionButton(
            label,
            dryRun ? null : {title: `Run ${row.name} now?`, text: row.summary},
            async () => {
                const answer = await post(path("api", "admin", "jobs", row.name), {dryRun});
                refresh();
                return jobSaid(row, answer);
            },
            {class: "small", "aria-label": label + " " + row.name, data: {focus: label + row.name}},
        );
    return simpleView("Jobs", "The runner starts them by itself, on their schedule.", {
        path: "/api/jobs",
        key: (row) => row.name,
        empty: "No jobs.",
        columns: (refresh) => [
            {
                label: "Name",
                class: "wide",
                head: true,
                cell: (row) => [row.name, h("span", {class: "below"}, row.summary)],
            },
            {
                label: "Every",
                class: "medium some",
                cell: (row) => (row.everyMs ? duration(row.everyMs) : "by hand"),
            },
            {
                label: "Last run",
                class: "narrow age",
                cell: (row) => [
                    row.lockedBy ? badge("processing") : (time(row.endedAt ?? row.startedAt) ?? "–"),
                ],
            },
            {
                label: "Outcome",
                class: "medium some",
                cell: (row) => [
                    row.outcome ? badge(row.outcome) : null,
                    row.found === null
                        ? null
                        : h(
                              "span",
                              {class: "below"},
                              `${number(row.found)} found, ${number(row.fixed)} fixed`,
                          ),
                    row.message ? h("span", {class: "below"}, row.message) : null,
                ],
            },
            {
                label: "",
                class: "act acts",
                cell: (row) => [run("Dry run", row, true, refresh), " ", run("Run now", row, false, refresh)],
            },
        ],
    });
}

export function webhooksView() {
    return simpleView("Webhooks", "Receivers of events. Each gets what happens until it has taken it.", {
        path: "/api/webhooks",
        key: (row) => row.name,
        empty: "No webhook is configured: a section [webhook NAME] of genrun.ini makes one.",
        columns: (refresh) => [
            {label: "State", class: "narrow", cell: (row) => badge(row.state)},
            NAME,
            {label: "Format", class: "medium some", cell: (row) => row.format},
            {
                label: "Pending",
                class: "number",
                cell: (row) => [
                    number(row.pending),
                    row.oldestAt ? h("span", {class: "below"}, time(row.oldestAt)) : null,
                ],
            },
            {label: "Failed", class: "number", cell: (row) => number(row.failed)},
            {label: "Dropped", class: "number some", cell: (row) => number(row.dropped)},
            {label: "Last taken", class: "narrow age some", cell: (row) => time(row.lastAt) ?? "–"},
            {
                label: "",
                class: "act acts",
                cell: (row) => [
                    row.state === "disabled" ? [enableWebhookAction(row.name, refresh), " "] : null,
                    row.failed + row.dropped > 0
                        ? [redeliverAction(row.name, row.failed + row.dropped, refresh), " "]
                        : null,
                    testWebhookAction(row.name, refresh),
                ],
            },
        ],
    });
}
