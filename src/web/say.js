// SPDX-License-Identifier: MIT
// What the page says by itself: notices, and questions before something is changed.
import {button, field, fill, h, line} from "./dom.js";

const NOTICE_MS = 6000;

function notice(kind, text) {
    const area = document.getElementById("notices");
    const item = h(
        "div",
        {class: "notice " + kind, role: kind === "bad" ? "alert" : null},
        h("span", {}, text),
    );
    item.append(button("Close", () => item.remove(), {class: "small"}));
    area.append(item);
    while (area.children.length > 4) area.firstElementChild.remove();
    if (kind !== "bad") setTimeout(() => item.remove(), NOTICE_MS);
}

export function done(text) {
    notice("good", text);
}

// An error of a call, in one line. Those of calls that were given up are not worth a word.
export function failed(error) {
    if (error.name === "AbortError" || error.status === 401) return;
    notice("bad", line(error.message));
}

// A place for an error beside what it belongs to.
export function problem(error) {
    return h("p", {class: "problem", role: "alert"}, error.message);
}

// Asks before a change. `reason`: the label of a text that may be given with it. Returns null (no), or {reason}.
function ask({title, text, yes, danger, reason}) {
    return new Promise((resolve) => {
        const input = reason
            ? field(reason, (id) => h("input", {id, type: "text", maxlength: "500", autocomplete: "off"}))
            : null;
        const dialog = h(
            "dialog",
            {class: "ask", "aria-labelledby": "ask-title"},
            h(
                "form",
                {method: "dialog"},
                h("h2", {id: "ask-title"}, title),
                text && h("p", {}, text),
                input,
                h(
                    "div",
                    {class: "buttons"},
                    h(
                        "button",
                        {value: "no", formnovalidate: true, autofocus: danger && !reason},
                        "Keep as it is",
                    ),
                    h(
                        "button",
                        {value: "yes", class: danger ? "danger" : "primary", autofocus: !danger && !reason},
                        yes,
                    ),
                ),
            ),
        );
        // Enter in the text is a yes; the first button of a form would take it else.
        input?.querySelector("input").addEventListener("keydown", (event) => {
            if (event.key === "Enter") {
                event.preventDefault();
                dialog.close("yes");
            }
        });
        dialog.addEventListener("close", () => {
            dialog.remove();
            resolve(
                dialog.returnValue === "yes"
                    ? {reason: input?.querySelector("input").value || undefined}
                    : null,
            );
        });
        document.body.append(dialog);
        dialog.showModal();
    });
}

// A button that asks, does, says so, and reports an error: `act` gets {reason} and returns what to say.
export function actionButton(label, question, act, properties) {
    const element = button(
        label,
        async () => {
            const answer = question ? await ask({yes: label, ...question}) : {};
            if (answer === null) return;
            element.disabled = true;
            try {
                done(await act(answer));
            } catch (error) {
                failed(error);
            } finally {
                element.disabled = false;
            }
        },
        properties,
    );
    return element;
}

// For what is looked at again and again: the function returned runs `look` one at a time, and once more when it was
// asked for meanwhile. Of an error `area` tells, until a look (which sees to that) goes well.
export function looker(area, look) {
    let looking = false,
        again = false;
    return async () => {
        again = true;
        if (looking) return;
        looking = true;
        while (again) {
            again = false;
            try {
                await look();
            } catch (error) {
                if (error.name !== "AbortError") fill(area, problem(error));
            }
        }
        looking = false;
    };
}
