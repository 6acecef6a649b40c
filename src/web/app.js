// SPDX-License-Identifier: MIT
// The page: signing in, the address (#/view/id?filter&show=generation), and which view stands where.
import {get, health, post, remove, session} from "./api.js";
import {batchView, batchesView} from "./batches.js";
import {createView} from "./create.js";
import {button, field, fill, h, link} from "./dom.js";
import {failuresView, stuckView} from "./failures.js";
import {Generation} from "./generation.js";
import {generationsView} from "./generations.js";
import {live, liveState, startLive, stopLive} from "./live.js";
import {failed, problem} from "./say.js";
import {Summary} from "./summary.js";
import {jobsView, locksView, modelsView, webhooksView} from "./upkeep.js";

// Name in the address: title, for admins only, how it is made, whether what it shows changes without an event. A view has `element`, refresh(changes) and close().
const VIEWS = {
    generations: {title: "Generations", make: generationsView},
    batches: {title: "Batches", make: (at) => (at.id ? batchView(at) : batchesView(at))},
    failures: {title: "Failures", make: failuresView},
    stuck: {title: "Stuck", quiet: true, make: stuckView},
    models: {title: "Models", admin: true, quiet: true, make: modelsView},
    locks: {title: "Locks", admin: true, quiet: true, make: locksView},
    jobs: {title: "Jobs", admin: true, quiet: true, make: jobsView},
    webhooks: {title: "Webhooks", admin: true, quiet: true, make: webhooksView},
    new: {title: "New", make: createView},
};
const LOOK_MS = 5000; // between looks of such a view
const ANYTHING = {generations: null, batches: null};
const byId = (id) => document.getElementById(id);
const page = {view: null, place: null, filter: null, detail: null, person: null, summary: null};

// ---- the address --------------------------------------------------------------------------

function readAddress() {
    const [path, filter] = location.hash.replace(/^#\/?/, "").split("?");
    let [name, id] = path.split("/").map((part) => {
        try {
            return decodeURIComponent(part);
        } catch {
            return "";
        }
    });
    if (!Object.hasOwn(VIEWS, name) || (VIEWS[name].admin && !page.person.admin)) name = "generations";
    const parameters = Object.fromEntries(new URLSearchParams(filter ?? ""));
    const {show, ...rest} = parameters;
    return {name, id: id ?? "", filter: rest, show, person: page.person};
}

// An address: of a view, with a filter and the generation that stands beside it.
function address(name, id, filter, show) {
    const given = Object.entries({...filter, show}).filter(([, value]) => value);
    return (
        "#/" +
        name +
        (id ? "/" + encodeURIComponent(id) : "") +
        (given.length ? "?" + new URLSearchParams(given) : "")
    );
}

function navigate() {
    if (!page.person) return;
    const at = readAddress();
    const place = JSON.stringify([at.name, at.id]),
        filter = JSON.stringify(at.filter);
    if (place !== page.place || filter !== page.filter) showView(at, place, filter);
    document.title = VIEWS[at.name].title + " – genrun";
    markView(at.name);
    showDetail(at);
}

function showView(at, place, filter) {
    const main = byId("main"),
        first = page.view === null,
        moved = place !== page.place;
    const field = main.contains(document.activeElement) ? document.activeElement.name : undefined;
    page.view?.close();
    at.open = (row) => address(at.name, at.id, at.filter, row.conversationId ?? row.id);
    at.go = (given) => (location.hash = address(at.name, at.id, given, readAddress().show));
    Object.assign(page, {place, filter, view: VIEWS[at.name].make(at)});
    fill(main, page.view.element);
    page.view.mark?.(page.detail?.id);
    page.view.refresh(ANYTHING);
    if (moved && !first) {
        scrollTo(0, 0);
        main.focus({preventScroll: true});
    } else if (field) {
        main.querySelector(`[name="${field}"]`)?.focus(); // one goes on in the filter that was just changed
    }
}

function markView(name) {
    const views = byId("views");
    for (const a of views.querySelectorAll("a")) {
        if (a.dataset.view !== name) {
            a.removeAttribute("aria-current");
            continue;
        }
        a.setAttribute("aria-current", "page");
        // On a phone not all of them fit.
        views.scrollLeft = a.offsetLeft - (views.clientWidth - a.clientWidth) / 2;
    }
}

function showDetail(at) {
    const side = byId("side");
    if (page.detail?.id === at.show) return;
    const before = page.detail?.id;
    page.detail?.close();
    page.detail = null;
    fill(side);
    side.hidden = !at.show;
    byId("body").toggleAttribute("data-detail", Boolean(at.show));
    page.view.mark?.(at.show);
    if (at.show) {
        page.detail = new Generation(at.show, {
            person: page.person,
            onClose: () => (location.hash = address(at.name, at.id, at.filter)),
            changed: () => page.view.refresh(ANYTHING),
        });
        fill(side, page.detail.element);
        side.scrollTop = 0;
        page.detail.refresh();
        page.detail.element.focus({preventScroll: true});
        if (matchMedia("(max-width: 70rem)").matches) scrollTo(0, 0);
    } else if (before) {
        const row = [...document.querySelectorAll("tr[data-key]")].find((tr) => tr.dataset.key === before);
        (row?.querySelector("a") ?? byId("main")).focus();
    }
}

// ---- signing in and out ---------------------------------------------------------------------

// Who this is: {admin, user}; null when nobody is signed in.
async function whoIsIt() {
    try {
        const answer = await get("/session", {quiet: true});
        return {admin: answer.role === "admin", user: answer.user};
    } catch (error) {
        if (error.status === 401) return null;
        throw error;
    }
}

function showLogin(why) {
    stopLive();
    page.view?.close();
    page.detail?.close();
    page.summary?.close();
    Object.assign(page, {view: null, place: null, detail: null, person: null, summary: null});
    for (const id of ["summary", "parked", "views", "side"]) byId(id).hidden = true;
    byId("body").removeAttribute("data-detail");
    fill(byId("signs"));
    fill(byId("who"));
    document.title = "Sign in – genrun";
    const state = h("div", {}, why && problem(why));
    const input = field("Key", (id) =>
        h("input", {
            id,
            type: "password",
            name: "key",
            required: true,
            autocomplete: "current-password",
            spellcheck: "false",
        }),
    );
    const submit = h("button", {type: "submit", class: "primary"}, "Sign in");
    const form = h(
        "form",
        {
            class: "card login",
            on: {
                submit: async (event) => {
                    event.preventDefault();
                    submit.disabled = true;
                    try {
                        await post(
                            "/session",
                            {key: input.querySelector("input").value.trim()},
                            {quiet: true},
                        );
                        await start();
                    } catch (error) {
                        fill(state, problem(error));
                        submit.disabled = false;
                        input.querySelector("input").select();
                    }
                },
            },
        },
        h("h2", {}, "Sign in"),
        h(
            "p",
            {class: "quiet"},
            "With a key of ",
            h("code", {}, "genrun key add"),
            ", the admin secret, or the token that the runner printed at its start.",
        ),
        input,
        state,
        submit,
    );
    fill(byId("main"), form);
    input.querySelector("input").focus();
}

async function signOut() {
    try {
        await remove("/session", {quiet: true});
        showLogin();
    } catch (error) {
        failed(error);
    }
}

// ---- the frame ------------------------------------------------------------------------------

function showLive() {
    const words = {
        live: ["live", "The page follows the server's events."],
        polling: ["polling", "The event stream is refused or broken: the page looks every few seconds."],
        paused: ["paused", "The page is not seen."],
        off: ["off", ""],
    };
    const [text, title] = words[liveState()];
    const sign = byId("live");
    if (sign) fill(sign, text).title = title;
}

function showFrame() {
    const {admin, user} = page.person;
    fill(
        byId("who"),
        h("span", {id: "live", class: "quiet"}),
        h("span", {class: "quiet name"}, admin ? "admin" : user),
        button("Sign out", signOut, {class: "small"}),
    );
    fill(
        byId("views"),
        Object.entries(VIEWS)
            .filter(([, v]) => admin || !v.admin)
            .map(([name, v]) =>
                link("#/" + name, v.title, {data: {view: name}, class: name === "new" ? "new" : null}),
            ),
    );
    byId("views").hidden = false;
    page.summary = new Summary({
        admin,
        signs: byId("signs"),
        counts: byId("summary"),
        parked: byId("parked"),
        health,
    });
    showLive();
}

async function start() {
    try {
        page.person = await whoIsIt();
    } catch (error) {
        showLogin(error);
        return;
    }
    if (!page.person) {
        showLogin();
        return;
    }
    showFrame();
    page.summary.refresh();
    navigate();
    startLive();
}

session.addEventListener(
    "signed-out",
    () => page.person && showLogin(new Error("You were signed out: sign in again.")),
);
live.addEventListener("state", showLive);
live.addEventListener("change", ({detail}) => {
    page.summary?.refresh(true);
    page.view?.refresh(detail);
    page.detail?.refresh(detail);
});
setInterval(
    () => page.view && !document.hidden && VIEWS[readAddress().name].quiet && page.view.refresh(ANYTHING),
    LOOK_MS,
);
addEventListener("hashchange", navigate);
addEventListener("keydown", (event) => {
    if (event.key === "Escape" && page.detail && !document.querySelector("dialog[open]"))
        page.detail.onClose();
});
byId("skip").addEventListener("click", () => byId("main").focus());
start();
