// SPDX-License-Identifier: MIT
// What an application does with the official client of OpenAI, one scenario a run; openai_batch.py says which, and judges what
// is printed, one JSON object a line:
//     node openai_client.mjs PACKAGES CLIENT BASE_URL SCENARIO [ARGUMENT…]      the key in $KEY
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const [packages, name, baseURL, scenario, ...words] = process.argv.slice(2);
const module = createRequire(path.join(packages, 'none.js'))(name);
const OpenAI = module.default ?? module;
const client = new OpenAI({ apiKey: process.env.KEY, baseURL });
const say = (what, more) => console.log(JSON.stringify({ what, ...more }));
const ended = (batch) => ['completed', 'failed', 'expired', 'cancelled'].includes(batch.status);
const pause = (ms) => new Promise((go) => setTimeout(go, ms));

function create(file, more) {
    return client.batches.create({ input_file_id: file, endpoint: '/v1/chat/completions', completion_window: '24h', ...more });
}

async function poll(batch) {
    const statuses = [batch.status];
    for (; !ended(batch); await pause(20)) {
        batch = await client.batches.retrieve(batch.id);
        if (statuses.at(-1) !== batch.status) statuses.push(batch.status);
    }
    return { batch, statuses };
}

// The error that a call ends with, as an application sees it.
async function refused(what, call) {
    try {
        const value = await call();
        say('refused', { call: what, error: null, value });
    } catch (e) {
        say('refused', { call: what, error: e.constructor.name, status: e.status ?? null, code: e.code ?? null, type: e.type ?? null,
            param: e.param ?? null, message: e.message, requestID: e.requestID ?? e.request_id ?? e.headers?.['x-request-id'] ?? null });
    }
}

const scenarios = {
    // Everything that an application does with a batch, from its file to its results.
    async whole(input) {
        const file = await client.files.create({ file: fs.createReadStream(input), purpose: 'batch' });
        say('file', { file });
        say('file again', { file: await client.files.retrieve(file.id) });
        say('content', { text: await (await client.files.content(file.id)).text() });
        const created = await create(file.id, { metadata: { a: 'b' } });
        say('created', { batch: created });
        const { batch, statuses } = await poll(created);
        say('ended', { batch, statuses });
        for (const which of ['output_file_id', 'error_file_id'])
            if (batch[which]) say(which, { text: await (await client.files.content(batch[which])).text() });
        for (let n = 0; n < 4; n++) await create(file.id, { metadata: { n: String(n) } });
        for (const limit of [1, 2, 100]) {
            const ids = [];
            for await (const one of client.batches.list({ limit })) ids.push(one.id);
            say('list', { limit, ids });
        }
        const files = [];
        for await (const one of client.files.list({ limit: 2, purpose: 'batch' })) files.push(one.id);
        say('files', { ids: files });
        const bytes = fs.readFileSync(input);
        await refused('cancel an ended batch', () => client.batches.cancel(batch.id));
        await refused('an unknown batch', () => client.batches.retrieve('batch_nope'));
        await refused('cancel an unknown batch', () => client.batches.cancel('batch_nope'));
        await refused('an unknown file', () => client.files.retrieve('file-nope'));
        await refused('content of an unknown file', () => client.files.content('file-nope'));
        await refused('a bad endpoint', () => create(file.id, { endpoint: '/v1/bad' }));
        await refused('a bad window', () => create(file.id, { completion_window: 'soon' }));
        await refused('metadata that is no text', () => create(file.id, { metadata: { tags: ['a'] } }));
        await refused('a bad purpose', async () => client.files.create({ file: await module.toFile(bytes, 'in.jsonl'), purpose: 'nope' }));
        const other = new OpenAI({ apiKey: 'no-such-key', baseURL });
        await refused('a key that is not known', () => other.batches.list());
        const sized = await client.files.create({ file: await module.toFile(bytes, 'sized.jsonl'), purpose: 'batch' });
        say('sized', { file: sized, text: await (await client.files.content(sized.id)).text() });
        const remove = client.files.delete ?? client.files.del;
        say('deleted', { answer: await remove.call(client.files, sized.id) });
        await refused('a deleted file', () => client.files.retrieve(sized.id));
        const models = [];
        for await (const one of client.models.list()) models.push(one.id);
        say('models', { ids: models });
    },
    // A batch whose file has mistakes fails as a whole, with its errors.
    async mistakes(input) {
        const file = await client.files.create({ file: fs.createReadStream(input), purpose: 'batch' });
        const { batch } = await poll(await create(file.id));
        say('ended', { batch });
    },
    // A batch that is cancelled: `cancelling` until what runs has ended, then `cancelled`.
    async cancel(input) {
        const file = await client.files.create({ file: fs.createReadStream(input), purpose: 'batch' });
        let batch = await create(file.id);
        while (batch.request_counts.completed < 1) batch = await client.batches.retrieve(batch.id);
        const answered = await client.batches.cancel(batch.id);
        say('answered', { batch: answered });
        const { batch: last } = await poll(answered);
        say('ended', { batch: last, again: await client.batches.cancel(last.id) });
        if (last.output_file_id) say('output_file_id', { text: await (await client.files.content(last.output_file_id)).text() });
    },
    // Waits for a batch while its server dies and comes back: nothing but the client's own retries helps.
    async wait(input) {
        const file = await client.files.create({ file: fs.createReadStream(input), purpose: 'batch' });
        const created = await create(file.id);
        say('created', { batch: created });
        const { batch, statuses } = await poll(created);
        say('ended', { batch, statuses });
        say('output_file_id', { text: await (await client.files.content(batch.output_file_id)).text() });
    },
    async upload(input) {
        say('file', { file: await client.files.create({ file: fs.createReadStream(input), purpose: 'batch' }) });
    },
    // One batch, whose answer may be lost on the way.
    async create(file) {
        say('created', { batch: await create(file, { metadata: { lost: 'answer' } }) });
    },
    // Pages of one while batches are created.
    async paging(file) {
        const before = [];
        for (let n = 0; n < 12; n++) before.push((await create(file, { metadata: { n: String(n) } })).id);
        let creating = true;
        const creator = (async () => {
            const made = [];
            while (creating) made.push((await create(file, { metadata: { during: String(made.length) } })).id);
            return made;
        })();
        const ids = [];
        for await (const one of client.batches.list({ limit: 1 })) ids.push(one.id);
        creating = false;
        say('paged', { before, ids, during: await creator });
    },
};

await scenarios[scenario](...words);
