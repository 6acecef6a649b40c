// SPDX-License-Identifier: MIT
// A table of rows that the API lists page by page. It looks again when something changed, and then only what differs is
// drawn anew, so that a person's place, focus and selection stay.
import {get, query} from "./api.js";
import {button, fill, h, keep} from "./dom.js";
import {looker, problem} from "./say.js";

const PAGE = 50;
const LOOK_AGAIN = 200; // rows at most that are asked for again at once

export class List {
    // path: of the API; filter: its query; columns: {label, cell(row), class}; key(row); empty: what to say of nothing;
    // open(row): the address of a row's detail; paged: false where the API takes no limit; cursors: false where it gives
    // no further pages; rows: the name of the rows in the answer.
    constructor({
        path,
        filter,
        columns,
        key,
        empty,
        open,
        caption,
        paged = true,
        cursors = true,
        rows = "data",
    }) {
        Object.assign(this, {path, filter, columns, key, empty, open, caption, paged, cursors, name: rows});
        this.rows = new Map(); // key -> {row, tr}
        this.cursor = null;
        this.abort = new AbortController();
        this.body = h("tbody");
        this.table = h(
            "table",
            {class: "list", hidden: true},
            h("caption", {class: "hidden"}, caption),
            h(
                "thead",
                {},
                h(
                    "tr",
                    {},
                    columns.map((c) => h("th", {scope: "col", class: c.class}, c.label)),
                ),
            ),
            this.body,
        );
        this.state = h("div", {class: "state"}, h("p", {class: "quiet"}, "Loading …"));
        this.refresh = looker(this.state, () => this.look());
        this.more = button("More", () => this.next(), {class: "more", hidden: true});
        this.element = h("div", {class: "listing"}, this.table, this.state, this.more);
    }

    close() {
        this.abort.abort();
    }

    async page(limit, after) {
        const answer = await get(this.path + query({...this.filter, ...(this.paged ? {limit, after} : {})}), {
            signal: this.abort.signal,
        });
        return {data: answer[this.name], nextCursor: answer.nextCursor};
    }

    // At everything that is shown, or the first page.
    async look() {
        const limit = this.cursors ? Math.max(PAGE, Math.min(this.rows.size, LOOK_AGAIN)) : LOOK_AGAIN;
        const page = await this.page(limit);
        this.replace(page.data, page.nextCursor);
        fill(this.state, h("p", {class: "quiet"}, this.remark()));
    }

    remark() {
        if (this.rows.size === 0) return this.cursor ? "Nothing so far." : this.empty;
        const cut = !this.cursors && this.rows.size >= LOOK_AGAIN;
        return cut ? `These are the newest ${LOOK_AGAIN}: a filter shows others.` : null;
    }

    async next() {
        const focus = this.more === document.activeElement;
        this.more.disabled = true;
        try {
            const page = await this.page(PAGE, this.cursor);
            const first = page.data.find((row) => !this.rows.has(this.key(row)));
            for (const row of page.data) if (!this.rows.has(this.key(row))) this.put(row, null);
            this.setCursor(page.nextCursor);
            if (focus && first) this.rows.get(this.key(first)).tr.querySelector("a")?.focus();
        } catch (error) {
            if (error.name !== "AbortError") fill(this.state, problem(error));
        } finally {
            this.more.disabled = false;
        }
    }

    setCursor(cursor) {
        this.cursor = cursor ?? null;
        this.more.hidden = !this.cursor;
    }

    // The rows shown become `data`; when there are more than it has, those behind its last row stay.
    replace(data, cursor) {
        const seen = new Set(data.map((row) => this.key(row)));
        const shown = [...this.body.children];
        const last = cursor ? shown.findLastIndex((tr) => seen.has(tr.dataset.key)) : -1;
        const whole = last < 0 || last === shown.length - 1;
        for (const tr of whole ? shown : shown.slice(0, last))
            if (!seen.has(tr.dataset.key)) {
                tr.remove();
                this.rows.delete(tr.dataset.key);
            }
        let before = this.body.firstElementChild;
        for (const row of data) before = this.put(row, before).nextElementSibling;
        if (whole) this.setCursor(cursor);
        this.table.hidden = this.rows.size === 0;
    }

    // Draws one row; it stands before `before` (null: last), unless it stands there already. Returns its <tr>.
    put(row, before) {
        const key = String(this.key(row));
        let known = this.rows.get(key);
        if (!known) {
            known = {tr: h("tr", {data: {key}, "data-open": key === this.opened})};
            known.tr.addEventListener("click", (event) => this.follow(event, known));
            this.rows.set(key, known);
        }
        known.row = row;
        if (before !== known.tr) this.body.insertBefore(known.tr, before);
        keep(known.tr, row, () =>
            this.columns.map((c) =>
                h(c.head ? "th" : "td", {class: c.class, scope: c.head ? "row" : null}, c.cell(row)),
            ),
        );
        this.table.hidden = false;
        return known.tr;
    }

    // A click anywhere in a row opens it, but not one on a control in it, or the end of selecting text.
    follow(event, {row}) {
        if (this.open && !event.target.closest("a, button, input") && getSelection().isCollapsed)
            location.hash = this.open(row);
    }

    // Marks the row whose detail is open, now or when it comes.
    mark(key) {
        this.opened = key;
        for (const [own, {tr}] of this.rows) tr.toggleAttribute("data-open", own === key);
    }
}
