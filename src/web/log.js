// SPDX-License-Identifier: MIT
// What happened to a generation, the oldest first, or to a batch job, the newest first. Only what is new is asked for.
import {get, query} from "./api.js";
import {button, fill, h, line} from "./dom.js";
import {clock} from "./format.js";
import {looker} from "./say.js";

const PAGE = 200;
const LOOKS = 20; // a page may be empty and not the last
const END = Number.MAX_SAFE_INTEGER; // behind every row
const LEVELS = ["debug", "info", "warn", "error"];

function entry(event) {
    return h(
        "li",
        {class: "level-" + (LEVELS.includes(event.level) ? event.level : "info")},
        clock(event.createdAt),
        " ",
        h("strong", {}, line(event.event).replace(/^(generation|batch)\./, "")),
        event.attempt ? h("span", {class: "quiet"}, ` try ${event.attempt}`) : null,
        event.message ? h("p", {}, event.message) : null,
        event.data?.waitMs
            ? h("p", {class: "quiet"}, `again after ${(event.data.waitMs / 1000).toFixed(1)} s`)
            : null,
    );
}

export class Log {
    constructor(url, signal, {newest = false} = {}) {
        // after: rows up to it were seen; before: those from it on (null: all of them)
        Object.assign(this, {url, signal, newest, after: 0, before: END});
        this.list = h("ol", {class: "timeline"});
        this.state = h("div", {});
        const looked = looker(this.state, () => (this.newest ? this.lookNewest() : this.look()));
        this.page = looked;
        this.more = button("More", newest ? looker(this.state, () => this.older()) : looked, {
            class: "small",
            hidden: true,
        });
        this.element = h("div", {}, this.list, this.state, this.more);
    }

    // Looks for new ones, unless there are older ones still to be asked for.
    async refresh() {
        if (this.newest || this.more.hidden) await this.page();
    }

    async rows(values) {
        return get(this.url + query({...values, limit: PAGE}), {signal: this.signal});
    }

    async look() {
        const page = await this.rows({after: this.after});
        this.list.append(...page.data.map(entry));
        this.after = page.nextCursor ?? page.data.at(-1)?.id ?? this.after;
        this.more.hidden = page.data.length < PAGE;
        fill(this.state);
    }

    // What came since; where that is much, the newest anew.
    async lookNewest() {
        if (this.before === END) return this.older();
        let page;
        for (let i = 0; i < LOOKS && (i === 0 || page.nextCursor !== null); i++) {
            page = await this.rows({after: this.after});
            if (page.data.length >= PAGE) {
                Object.assign(this, {after: 0, before: END});
                fill(this.list);
                return this.older();
            }
            this.list.prepend(...page.data.reverse().map(entry));
            this.after = page.nextCursor ?? page.data[0]?.id ?? this.after;
        }
        fill(this.state);
    }

    // The next page towards the beginning.
    async older() {
        let page;
        for (let i = 0; i < LOOKS && this.before !== null && !page?.data.length; i++) {
            page = await this.rows({before: this.before});
            this.after = Math.max(this.after, page.data[0]?.id ?? 0);
            this.list.append(...page.data.map(entry));
            this.before = page.nextCursor === null ? null : Number(page.nextCursor);
        }
        this.more.hidden = this.before === null;
        fill(this.state);
    }
}
