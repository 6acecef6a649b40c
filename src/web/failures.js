// SPDX-License-Identifier: MIT
// What failed lately, counted and listed; what hangs.
import {recoverAction, retryAction} from "./actions.js";
import {get, query} from "./api.js";
import {choiceField, fill, h, keep, link, textField} from "./dom.js";
import {badge, clock, number, time} from "./format.js";
import {filterForm, promptLink} from "./generations.js";
import {List} from "./list.js";
import {looker} from "./say.js";

const WINDOWS = [
    ["1h", "last hour"],
    ["24h", "last 24 hours"],
    ["7d", "last 7 days"],
];
const GROUPS = {
    model: {
        title: "By model",
        name: (row) => row.modelId,
        filter: (row) => ({model: row.modelId}),
        more: (row) => row.affectedUsers && `${number(row.affectedUsers)} users`,
    },
    type: {
        title: "By type",
        name: (row) => row.errorType,
        filter: (row) => ({type: row.errorType}),
        more: (row) => row.affectedModels && `${number(row.affectedModels)} models`,
    },
    user: {
        title: "By user",
        name: (row) => row.userDisplayName ?? row.username ?? row.userId ?? "(nobody)",
        filter: (row) => (row.userId ? {user: row.userId} : null),
        more: (row) => row.affectedModels && `${number(row.affectedModels)} models`,
    },
    hour: {title: "By hour", name: (row) => clock(row.hourAt, "hour"), filter: () => null, more: () => null},
};
const GROUP_ROWS = 8;

function group(at, kind, rows) {
    const {title, name, filter, more} = GROUPS[kind];
    const most = Math.max(...rows.map((row) => row.failureCount), 1);
    return h(
        "section",
        {class: "card group", "aria-label": title},
        h("h3", {}, title),
        rows.length === 0
            ? h("p", {class: "quiet"}, "None.")
            : h(
                  "ul",
                  {class: "bars"},
                  rows.slice(0, GROUP_ROWS).map((row) => {
                      const narrower = filter(row);
                      const label = narrower
                          ? link("#/failures" + query({...at.filter, ...narrower}), name(row), {
                                data: {focus: kind + name(row)},
                            })
                          : h("span", {}, name(row));
                      const meter = h("span", {class: "meter", "aria-hidden": "true"});
                      meter.style.width = (100 * row.failureCount) / most + "%";
                      return h(
                          "li",
                          {title: more(row) || null},
                          label,
                          h("strong", {}, number(row.failureCount)),
                          meter,
                      );
                  }),
              ),
    );
}

function failureColumns(at, refresh) {
    return [
        {label: "Type", class: "medium", cell: (row) => row.errorType},
        {
            label: "Prompt and reason",
            class: "wide",
            head: true,
            cell: (row) => [
                promptLink(at, row, row.prompt),
                h("span", {class: "below bad"}, row.errorMessage),
            ],
        },
        {label: "Model", class: "medium", cell: (row) => row.modelId},
        {
            label: "User",
            class: "medium some",
            cell: (row) => row.userDisplayName ?? row.username ?? row.userId,
        },
        {label: "Session", class: "medium some", cell: (row) => row.sessionName ?? row.sessionId},
        {label: "Failed", class: "narrow age", cell: (row) => time(row.completedAt)},
        {
            label: "",
            class: "act",
            cell: (row) => retryAction(row.id, refresh, {class: "small", "aria-label": "Retry " + row.id}),
        },
    ];
}

export function failuresView(at) {
    const {since = "24h", model, user, type, session} = at.filter;
    const filter = {since, model, user, type, session},
        abort = new AbortController();
    const groups = h("div", {class: "groups"}),
        trouble = h("div");
    const list = new List({
        path: "/api/failures",
        filter,
        cursors: false,
        columns: failureColumns(at, () => refresh()),
        key: (row) => row.id,
        open: at.open,
        empty: "Nothing failed.",
        caption: "Failures",
    });
    const element = h(
        "section",
        {"aria-labelledby": "title"},
        h("h2", {id: "title"}, "Failures"),
        filterForm(at, [
            choiceField("When", WINDOWS, {name: "since", value: since}),
            textField("Model", {name: "model", value: model}),
            textField("Type", {name: "type", value: type}),
            at.person.admin ? textField("User", {name: "user", value: user}) : null,
            textField("Session", {name: "session", value: session}),
        ]),
        trouble,
        groups,
        list.element,
    );
    const kinds = Object.keys(GROUPS).filter((kind) => at.person.admin || kind !== "user");

    const count = looker(trouble, async () => {
        const pages = await Promise.all(
            kinds.map((by) => get("/api/failures" + query({...filter, by}), {signal: abort.signal})),
        );
        fill(trouble);
        keep(
            groups,
            pages.map((page) => page.data),
            (data) => data.map((rows, i) => group(at, kinds[i], rows)),
        );
    });
    function refresh() {
        list.refresh();
        count();
    }
    return {
        element,
        refresh,
        mark: (id) => list.mark(id),
        close() {
            abort.abort();
            list.close();
        },
    };
}

function stuckColumns(at, refresh) {
    return [
        {label: "Status", class: "narrow", cell: () => badge("stuck")},
        {
            label: "Prompt and why",
            class: "wide",
            head: true,
            cell: (row) => [
                promptLink(at, row, row.promptPreview ?? row.prompt),
                row.why ? h("span", {class: "below bad"}, row.why) : null,
            ],
        },
        {label: "Model", class: "medium", cell: (row) => row.modelId},
        {label: "User", class: "medium some", cell: (row) => row.userId},
        {label: "Last step", class: "medium some", cell: (row) => row.lastStep},
        {label: "Heartbeat", class: "narrow age some", cell: (row) => time(row.lastHeartbeat)},
        {label: "Started", class: "narrow age", cell: (row) => time(row.startedAt)},
        {
            label: "",
            class: "act",
            cell: (row) =>
                at.person.admin
                    ? recoverAction(row.id, refresh, {class: "small", "aria-label": "Recover " + row.id})
                    : null,
        },
    ];
}

export function stuckView(at) {
    // An admin's report tells why, too.
    const source = at.person.admin
        ? {path: "/api/admin/failed-generations", rows: "generations", cursors: false}
        : {path: "/api/generations"};
    const list = new List({
        ...source,
        filter: {status: "stuck"},
        columns: stuckColumns(at, () => list.refresh()),
        key: (row) => row.id,
        open: at.open,
        empty: "Nothing is stuck.",
        caption: "Stuck generations",
    });
    const element = h(
        "section",
        {"aria-labelledby": "title"},
        h("h2", {id: "title"}, "Stuck"),
        h(
            "p",
            {class: "quiet"},
            "What is processing and hangs: its runner is gone, or it shows no heartbeat or no progress. The runner repairs most of it by itself.",
        ),
        list.element,
    );
    return {element, refresh: () => list.refresh(), close: () => list.close(), mark: (id) => list.mark(id)};
}
