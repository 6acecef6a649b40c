// SPDX-License-Identifier: MIT
// The list of generations, with its filter.
import {choiceField, h, link, textField} from "./dom.js";
import {badge, money, tail, time} from "./format.js";
import {List} from "./list.js";

const STATUS = [
    ["", "any"],
    ["queued", "queued"],
    ["processing", "processing"],
    ["completed", "completed"],
    ["failed", "failed"],
    ["cancelled", "cancelled"],
    ["stuck", "stuck"],
];

// A form that changes the address: fields are elements of textField() and choiceField() with names.
export function filterForm(at, fields) {
    const set = Object.values(at.filter).filter(Boolean).length;
    const apply = () =>
        at.go(Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()])));
    const form = h(
        "form",
        {
            class: "filter",
            "aria-label": "Filter",
            on: {
                change: apply,
                submit: (event) => {
                    event.preventDefault();
                    apply();
                },
            },
        },
        fields,
        set
            ? h(
                  "div",
                  {class: "field"},
                  link("#/" + at.name + (at.id ? "/" + encodeURIComponent(at.id) : ""), "Clear", {
                      class: "clear",
                  }),
              )
            : null,
    );
    const open = set > 0 || matchMedia("(min-width: 50rem)").matches;
    return h("details", {class: "filters", open}, h("summary", {}, set ? `Filter (${set})` : "Filter"), form);
}

// The first line of a prompt, which opens the generation.
export function promptLink(at, row, text) {
    return link(at.open(row), (text ?? "").slice(0, 300).trim() || "(no prompt)", {
        class: "prompt",
        data: {focus: "open-" + row.id},
    });
}

function generationColumns(at) {
    return [
        {
            label: "Status",
            class: "narrow",
            cell: (row) => badge(row.stuck ? "stuck" : row.status, row.errorMessage),
        },
        {
            label: "Prompt",
            class: "wide",
            head: true,
            cell: (row) => [
                promptLink(at, row, row.prompt),
                row.errorMessage ? h("span", {class: "below bad"}, row.errorMessage) : null,
            ],
        },
        {label: "Model", class: "medium", cell: (row) => row.modelId},
        ...(at.person.admin ? [{label: "User", class: "medium some", cell: (row) => row.userId}] : []),
        {label: "Tries", class: "number some", cell: (row) => (row.starts > 1 ? row.starts : "")},
        {label: "Cost", class: "number some", cell: (row) => money(row.cost)},
        {label: "Created", class: "narrow age", cell: (row) => time(row.createdAt)},
        {label: "Id", class: "narrow some", cell: (row) => h("code", {title: row.id}, tail(row.id))},
    ];
}

export function generationsView(at) {
    const {status, model, user, session, batch} = at.filter;
    const list = new List({
        path: "/api/generations",
        filter: {status, model, user, session, batch},
        columns: generationColumns(at),
        key: (row) => row.id,
        empty: Object.values(at.filter).some(Boolean)
            ? "Nothing fits the filter."
            : "No generation yet: submit one under New.",
        open: at.open,
        caption: "Generations",
    });
    const element = h(
        "section",
        {"aria-labelledby": "title"},
        h("h2", {id: "title"}, "Generations"),
        filterForm(at, [
            choiceField("Status", STATUS, {name: "status", value: status}),
            textField("Model", {name: "model", value: model}),
            at.person.admin ? textField("User", {name: "user", value: user}) : null,
            textField("Session", {name: "session", value: session}),
            textField("Batch", {name: "batch", value: batch}),
        ]),
        list.element,
    );
    return {element, refresh: () => list.refresh(), close: () => list.close(), mark: (id) => list.mark(id)};
}
