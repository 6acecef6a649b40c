// SPDX-License-Identifier: MIT
// What happened to a generation or a batch job, the oldest first. Only what is new is asked for.
import {get, query} from "./api.js";
import {button, fill, h, line} from "./dom.js";
import {clock} from "./format.js";
import {looker} from "./say.js";

const PAGE = 200;
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
    constructor(url, signal) {
        Object.assign(this, {url, signal, last: 0, full: true});
        this.list = h("ol", {class: "timeline"});
        this.state = h("div", {});
        this.page = looker(this.state, () => this.look());
        this.more = button("More", this.page, {class: "small", hidden: true});
        this.element = h("div", {}, this.list, this.state, this.more);
    }

    // Looks for new ones, unless there are older ones still to be asked for.
    async refresh() {
        if (this.full) await this.page();
    }

    async look() {
        const page = await get(this.url + query({after: this.last, limit: PAGE}), {signal: this.signal});
        this.list.append(...page.data.map(entry));
        this.last = page.data.at(-1)?.id ?? this.last;
        this.full = page.data.length < PAGE;
        this.more.hidden = this.full;
        fill(this.state);
    }
}
