// SPDX-License-Identifier: MIT
// Elements, and text that is safe to show. Nothing here, or anywhere, makes markup of a text: what a server sent
// becomes text nodes, and characters that would hide or turn round what is read are shown as escapes.

const UNSEEN = new RegExp(
    "[\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u200b\\u200e\\u200f" +
        "\\u2028-\\u202e\\u2060-\\u2069\\ufeff\\ufff9-\\ufffb]",
    "g",
);
const UNSEEN_IN_LINE = new RegExp(UNSEEN.source + "|[\\t\\n\\r]", "g");
const SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"};

function escapeOne(c) {
    const code = c.charCodeAt(0);
    return (
        SHORT[c] ??
        (code < 0x100
            ? "\\x" + code.toString(16).padStart(2, "0")
            : "\\u" + code.toString(16).padStart(4, "0"))
    );
}

// Text for one line: every control character as an escape.
export function line(value) {
    return String(value ?? "").replace(UNSEEN_IN_LINE, escapeOne);
}

// Text that may have lines of its own: line ends and tabs stay.
export function lines(value) {
    return String(value ?? "")
        .replaceAll("\r\n", "\n")
        .replace(UNSEEN, escapeOne)
        .replaceAll("\r", "\\r");
}

// An element. Properties: `class`, `on` (an object of listeners), `data` (an object), else attributes; false and null
// leave one out, true sets it empty. Children: nodes, texts (escaped as one line), arrays of them, null.
export function h(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties ?? {})) {
        if (value === null || value === undefined || value === false) continue;
        if (name === "on")
            for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
        else if (name === "data") Object.assign(element.dataset, value);
        else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...nodes(children));
    return element;
}

function nodes(children) {
    return children
        .flat(Infinity)
        .filter((c) => c !== null && c !== undefined && c !== false)
        .map((c) => (c instanceof Node ? c : document.createTextNode(line(c))));
}

export function fill(element, ...children) {
    element.replaceChildren(...nodes(children));
    return element;
}

// A block of text as it came, with its lines; long ones scroll inside.
export function block(text, label) {
    const pre = h("pre", {class: "block", tabindex: "0", role: "region", "aria-label": label});
    pre.textContent = lines(text);
    return pre;
}

// Redraws `element` with draw(data) when `data` has changed since the last time; the focus stays on what has the same
// data-focus. Returns whether it was redrawn.
export function keep(element, data, draw) {
    const now = JSON.stringify(data);
    if (element.keptData === now) return false;
    const focus = element.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
    element.keptData = now;
    fill(element, draw(data));
    if (focus) [...element.querySelectorAll("[data-focus]")].find((e) => e.dataset.focus === focus)?.focus();
    return true;
}

export function button(label, onclick, properties) {
    return h("button", {type: "button", ...properties, on: {click: onclick}}, label);
}

export function link(href, label, properties) {
    return h("a", {href, ...properties}, label);
}

// Labels and what they label; those without a value are left out.
export function pairs(name, list) {
    return h(
        "dl",
        {class: name},
        list
            .filter(([, value]) => value !== null && value !== undefined && value !== "")
            .map(([label, value, properties]) =>
                h("div", properties ?? {}, h("dt", {}, label), h("dd", {}, value)),
            ),
    );
}

let fields = 0;
// A labelled control: control(id) makes it.
export function field(label, control, properties) {
    const id = "field" + ++fields;
    return h("div", {class: "field", ...properties}, h("label", {for: id}, label), control(id));
}
export function textField(label, properties) {
    return field(label, (id) => h("input", {id, type: "text", autocomplete: "off", ...properties}));
}
export function choiceField(label, choices, properties) {
    const {value, ...others} = properties ?? {};
    return field(label, (id) =>
        h(
            "select",
            {id, ...others},
            choices.map(([name, text]) => h("option", {value: name, selected: name === (value ?? "")}, text)),
        ),
    );
}
