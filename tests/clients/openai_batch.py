#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The official clients of OpenAI, three majors, and genrun as their Files and Batch API, in front of a model server that
is not ours (npm @copilotkit/aimock): from the upload to the results, every refusal as the client's own error, and what
no client can tell from a quiet moment: kill -9 of genrun, an answer that is lost on the way, batches created while they
are listed. What a client does stands in openai_client.mjs.
"""
import http.client
import json
import os
import re
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import aimock
import tap
from genrun import ROOT, Place, wait_until
from server import Server
from web import SECRET, Web

CLIENTS = [("openai7", "openai", "7.57.0"), ("openai6", "openai", "6.49.0"), ("openai4", "openai", "4.104.0")]
NAMES = [name for name, _, _ in CLIENTS]
CONCURRENCY = 8
ITEMS = 240  # of the batch in which genrun is killed
KILLED_AT = (40, 120)  # completed items
BIG_BYTES = 200 << 20
BIG_MEMORY_KB = 100 << 10

CONFIG = """\
[genrun]
database = test.db
data_dir = data

[scheduler]
concurrency = %d
max_crashes = 1000

[model mock]
provider = openai
base_url = http://127.0.0.1:%d/v1
"""

aimock.install(CLIENTS)


def item(number):
    return f"item-{number:04d}."


def fixtures():
    found = [{"match": {"userMessage": item(n)}, "response": {"content": f"the answer to {item(n)} in a few words"},
              "latency": 10, "chunkSize": 7} for n in range(ITEMS)]
    return found + [{"match": {"userMessage": "refuse"}, "response": {
        "error": {"message": "This is refused.", "type": "invalid_request_error", "code": "refused_here"}, "status": 400}}]


def line(custom_id, prompt, **more):
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions",
                       "body": {"model": "mock", "messages": [{"role": "user", "content": prompt}]}, **more}) + "\n"


class Genrun(Web):
    """`genrun run` with HTTP, in front of a model server (None: of none), on one port through all its lives."""

    def __init__(self, place, model):
        os.makedirs(place.path("data"), exist_ok=True)
        place.configure(CONFIG % (CONCURRENCY, model.port if model else 9))
        super().__init__(place)
        self.start()

    @property
    def v1(self):
        return self.url + "/v1"

    def kill(self):
        self.process.kill()

    def user_key(self, user):
        r = self.place.run("key", "add", "--user", user)
        tap.result(r, 0, f"a key of {user}")
        return r.lines[-1].strip()


class Client:
    """A run of openai_client.mjs; what it has said so far by `said`."""

    def __init__(self, place, name, url, scenario, *words, key=SECRET):
        self.name, self.place = name, place
        self.out, self.err = (place.path(f"client-{place.next_number()}.{end}") for end in ("out", "err"))
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                ["node", os.path.join(ROOT, "tests", "clients", "openai_client.mjs"), aimock.NPM, name, url, scenario, *words],
                cwd=place.folder, env=dict(place.env, KEY=key), stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def lines(self):
        with open(self.out, encoding="utf-8") as f:
            return [json.loads(said) for said in f.read().split("\n")[:-1]]

    def said(self, what):
        """The only thing of this name that it said; None when it did not."""
        found = [said for said in self.lines() if said["what"] == what]
        return found[0] if found else None

    def ends(self, what, timeout_s=60):
        try:
            code = self.process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = "no end"
        with open(self.err, encoding="utf-8") as f:
            return tap.ok(code == 0, f"{self.name}: {what}", lambda e=f.read(): f"{code}: {e}\n{self.lines()[-3:]}")


def results(text):
    return {result["custom_id"]: result for result in map(json.loads, text.splitlines())}


# ---- the acceptance script ----------------------------------------------------------------


REFUSALS = {  # call: class, status, code, type, param
    "cancel an ended batch": ("ConflictError", 409, None, "invalid_request_error", None),
    "an unknown batch": ("NotFoundError", 404, None, "invalid_request_error", None),
    "cancel an unknown batch": ("NotFoundError", 404, None, "invalid_request_error", None),
    "an unknown file": ("NotFoundError", 404, None, "invalid_request_error", None),
    "content of an unknown file": ("NotFoundError", 404, None, "invalid_request_error", None),
    "a deleted file": ("NotFoundError", 404, None, "invalid_request_error", None),
    "a bad endpoint": ("BadRequestError", 400, "invalid_value", "invalid_request_error", "endpoint"),
    "a bad window": ("BadRequestError", 400, "invalid_value", "invalid_request_error", "completion_window"),
    "metadata that is no text": ("BadRequestError", 400, "invalid_type", "invalid_request_error", "metadata.tags"),
    "a bad purpose": ("BadRequestError", 400, "invalid_value", "invalid_request_error", "purpose"),
    "a key that is not known": ("AuthenticationError", 401, None, None, None),
}


def check_refusals(client):
    said = {r["call"]: r for r in client.lines() if r["what"] == "refused"}
    tap.equal(set(said), set(REFUSALS), f"{client.name}: every refusal was tried")
    for call, (kind, status, code, type_, param) in REFUSALS.items():
        r = said[call]
        got = tuple(r.get(k) for k in ("error", "status", "code", "type", "param"))
        # Where no code is promised, any will do.
        expected = (kind, status, code or r.get("code"), type_ or r.get("type"), param or r.get("param"))
        tap.equal(got, expected, f"{client.name}: {call}: {kind}")
        tap.ok(r.get("requestID") and r.get("message"), f"{client.name}: {call}: a message and the id of the request", repr(r))


def check_whole(client, text):
    file, created, ended = client.said("file")["file"], client.said("created")["batch"], client.said("ended")
    batch = ended["batch"]
    tap.equal({k: file[k] for k in ("object", "bytes", "filename", "purpose", "status")},
              {"object": "file", "bytes": len(text), "filename": "in.jsonl", "purpose": "batch", "status": "processed"},
              f"{client.name}: the file")
    tap.equal(client.said("file again")["file"], file, f"{client.name}: is found again")
    tap.equal(client.said("content")["text"], text, f"{client.name}: byte for byte")
    tap.equal((created["object"], created["endpoint"], created["input_file_id"], created["metadata"]),
              ("batch", "/v1/chat/completions", file["id"], {"a": "b"}), f"{client.name}: the batch")
    order = ["validating", "in_progress", "finalizing", "completed"]
    tap.ok(sorted(ended["statuses"], key=order.index) == ended["statuses"], f"{client.name}: its states in order", repr(ended))
    tap.equal((batch["status"], batch["request_counts"]), ("completed", {"total": 6, "completed": 5, "failed": 1}),
              f"{client.name}: its counts")
    tap.ok(all(isinstance(batch[k], int) for k in ("created_at", "in_progress_at", "completed_at", "expires_at")),
           f"{client.name}: times are seconds", repr(batch))
    good, bad = results(client.said("output_file_id")["text"]), results(client.said("error_file_id")["text"])
    tap.equal((sorted(good), sorted(bad)), ([f"r{n}" for n in range(5)], ["refused"]), f"{client.name}: who succeeded, who failed")
    tap.equal({k: (v["response"]["status_code"], v["response"]["body"]["choices"][0]["message"]["content"], v["error"])
               for k, v in good.items()},
              {f"r{n}": (200, f"the answer to {item(n)} in a few words", None) for n in range(5)}, f"{client.name}: the answers")
    refusal = bad["refused"]["response"]
    tap.equal((refusal["status_code"], refusal["body"]["error"]["code"], bad["refused"]["error"]), (400, "refused_here", None),
              f"{client.name}: the refusal of the model server as it came")
    pages = {said["limit"]: said["ids"] for said in client.lines() if said["what"] == "list"}
    tap.ok(len(pages[1]) == len(set(pages[1])) == 5 and pages[1][-1] == batch["id"] and pages[1] == pages[2] == pages[100],
           f"{client.name}: lists are whole at any size of a page, newest first", repr(pages))
    tap.contains(client.said("files")["ids"], file["id"], f"{client.name}: the list of files")
    sized = client.said("sized")
    tap.equal((sized["file"]["bytes"], sized["text"]), (len(text), text), f"{client.name}: an upload that tells its length")
    tap.equal(client.said("deleted")["answer"], {"id": sized["file"]["id"], "object": "file", "deleted": True}, f"{client.name}: a file is deleted")
    tap.ok({"mock", "echo"} <= set(client.said("models")["ids"]), f"{client.name}: the models", repr(client.said("models")))


def test_acceptance(place):
    text = "".join(line(f"r{n}", f"Please answer {item(n)}") for n in range(5)) + line("refused", "refuse")
    place.write("in.jsonl", text)
    with aimock.Server(place, fixtures()) as model:
        genrun = Genrun(place, model)
        clients = [Client(place, name, genrun.v1, "whole", "in.jsonl", key=genrun.user_key(name)) for name in NAMES]
        for client in clients:  # side by side: each is a user that sees its own only
            if client.ends("it goes through"):
                check_whole(client, text)
                check_refusals(client)
        batch = clients[0].said("created")["batch"]["id"]
        tap.equal(genrun.get(f"/v1/batches/{batch}").json["status"], "completed", "the admin sees the batch of a user")
        r = place.run("batch", "list", "--json")
        tap.equal(len(r.jsonl), 5 * len(NAMES), "for genrun they are batch jobs like others")
        tap.equal(genrun.process.stop(), 0, "genrun ends well")


def test_mistakes(place):
    good = line("good", "hello")
    mistakes = [("unparseable", good + "{nonsense\n", "invalid_json_line", None, 2),
                ("wrong url", line("a", "x", url="/v1/embeddings"), "invalid_url", "url", 1),
                ("twice", good + good, "duplicate_custom_id", "custom_id", 2)]
    genrun = Genrun(place, None)
    clients = [(Client(place, NAMES[n % len(NAMES)], genrun.v1, "mistakes", place.write(f"{n}.jsonl", text)), *rest)
               for n, (_, text, *rest) in enumerate(mistakes)]
    for (client, code, param, number), (what, *_) in zip(clients, mistakes):
        if client.ends(f"{what}: the batch comes to its end"):
            batch = client.said("ended")["batch"]
            first = (batch["errors"] or {"data": [None]})["data"][0]
            tap.equal((batch["status"], first and (first["code"], first["param"], first["line"])), ("failed", (code, param, number)),
                      f"{what}: it failed, and says why")
            tap.equal(batch["output_file_id"], None, f"{what}: nothing ran")


def test_cancel(place):
    place.write("in.jsonl", "".join(line(item(n), f"Please answer {item(n)}") for n in range(ITEMS)))
    with aimock.Server(place, fixtures()) as model:
        genrun = Genrun(place, model)
        client = Client(place, "openai7", genrun.v1, "cancel", "in.jsonl")
        if not client.ends("a batch is cancelled"):
            return
        answered, last = client.said("answered")["batch"], client.said("ended")
        tap.ok(answered["status"] in ("cancelling", "cancelled"), "the answer says so", answered["status"])
        tap.equal((last["batch"]["status"], last["again"]["status"]), ("cancelled", "cancelled"), "once more is fine")
        counts = last["batch"]["request_counts"]
        tap.ok(0 < counts["completed"] < ITEMS, "in the middle", repr(counts))
        tap.equal(len(results(client.said("output_file_id")["text"])), counts["completed"], "what was done can be read")


# ---- accidents -------------------------------------------------------------------------------


def kill_in_mid_batch(place, model, name):
    place.write("in.jsonl", "".join(line(item(n), f"Please answer {item(n)}") for n in range(ITEMS)))
    genrun = Genrun(place, model)
    client = Client(place, name, genrun.v1, "wait", "in.jsonl")
    batch = wait_until(lambda: client.said("created"), 20, "the batch")["batch"]["id"]
    kills = []
    for completed in KILLED_AT:
        wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE status = 'completed'") >= completed,
                   30, f"{completed} completed items")
        genrun.kill()
        kills.append((model.requests_so_far(), {row[0] for row in place.sql(
            "SELECT custom_id FROM generations WHERE status = 'completed'")},
            place.value("SELECT count(*) FROM generations WHERE status = 'processing'")))
        genrun.start()
    if not client.ends("its poll goes on through two kills"):
        return
    ended = client.said("ended")["batch"]
    tap.equal((ended["id"], ended["status"], ended["request_counts"]),
              (batch, "completed", {"total": ITEMS, "completed": ITEMS, "failed": 0}), f"{name}: the batch is completed")
    tap.equal(sorted(results(client.said("output_file_id")["text"])), [item(n) for n in range(ITEMS)], f"{name}: one result each")
    asked, statuses = model.journal()
    asked = [re.search(r"item-\d+\.", message).group(0) for message in asked]
    tap.equal(statuses, {200}, f"{name}: the model server refused nothing")
    again = [one for sent, done, _ in kills for one in asked[sent:] if one in done]
    tap.equal(again, [], f"{name}: nothing was sent again whose result had been committed")
    tap.ok(all(0 < len(done) < ITEMS for _, done, _ in kills), f"{name}: both kills hit the middle")
    in_flight = sum(flying for _, _, flying in kills)
    tap.ok(len(asked) - ITEMS <= in_flight, f"{name}: only what was in flight was sent again",
           f"{len(asked)} requests for {ITEMS} items, {in_flight} in flight at the kills")


def test_killed():
    for name in NAMES:
        with Place() as place, aimock.Server(place, fixtures()) as model:
            kill_in_mid_batch(place, model, name)


class Accident:
    """Stands between a client and genrun, and passes requests on. At the first POST of a batch genrun is killed and started
    again, with its answer read (`late`: it was committed) or not waited for, and the client gets none."""

    def __init__(self, genrun, late):
        self.genrun, self.late, self.done = genrun, late, False
        self.lock = threading.Lock()
        self.lost = None  # what the client never saw
        self.retries = []

    def __call__(self, exchange):
        if exchange.method == "POST" and exchange.path.endswith("/batches"):
            self.retries.append(exchange.header("x-stainless-retry-count"))
        with self.lock:
            connection = http.client.HTTPConnection("127.0.0.1", self.genrun.port, timeout=30)
            connection.request(exchange.method, exchange.path, exchange.body, {
                name: value for name, value in exchange.headers.items() if name not in ("host", "connection", "content-length")})
            if not self.done and exchange.method == "POST":
                self.done = True
                if self.late:
                    self.lost = json.loads(connection.getresponse().read())
                self.genrun.kill()
                self.genrun.start()
                return  # without an answer: the connection is closed
            answer = connection.getresponse()
            body = answer.read()
        exchange.answer(answer.status, body, {"x-request-id": answer.getheader("x-request-id") or ""})


def test_lost_answer(place):
    place.write("in.jsonl", line("only", "hello", body={"model": "echo", "messages": [{"role": "user", "content": "hello"}]}))
    genrun = Genrun(place, None)
    for name in NAMES:
        for late in (True, False):
            upload = Client(place, name, genrun.v1, "upload", "in.jsonl")
            if not upload.ends("the file is uploaded"):
                continue
            file = upload.said("file")["file"]["id"]
            accident = Accident(genrun, late)
            with Server(accident) as between:
                client = Client(place, name, between.url, "create", file)
                if not client.ends("the client tries again by itself"):
                    continue
            what = f"{name}, killed {'after' if late else 'at'} the commit"
            tap.equal((accident.retries[:2], between.failures), (["0", "1"], []), f"{what}: it did send it twice")
            mine = [b["id"] for b in genrun.get("/v1/batches?limit=100").json["data"] if b["input_file_id"] == file]
            tap.equal(mine, [client.said("created")["batch"]["id"]], f"{what}: there is exactly one batch, the one it was told")
            if late:
                tap.equal(mine, [accident.lost["id"]], f"{what}: the one whose answer was lost")


def test_pages_while_batches_come(place):
    place.write("in.jsonl", line("only", "hello", body={"model": "echo", "messages": [{"role": "user", "content": "hello"}]}))
    genrun = Genrun(place, None)
    for name in NAMES:
        upload = Client(place, name, genrun.v1, "upload", "in.jsonl")
        if not upload.ends("the file is uploaded"):
            continue
        client = Client(place, name, genrun.v1, "paging", upload.said("file")["file"]["id"])
        if not client.ends("pages of one to the end"):
            continue
        paged = client.said("paged")
        tap.ok(len(paged["during"]) > 1, f"{name}: batches came meanwhile", repr(paged["during"]))
        tap.equal(len(paged["ids"]), len(set(paged["ids"])), f"{name}: none is there twice")
        kept = set(paged["before"])
        tap.equal([id for id in paged["ids"] if id in kept], paged["before"][::-1], f"{name}: none is left out, newest first")


# ---- size ------------------------------------------------------------------------------------


def test_big_files(place):
    part = line("x" * 40, "y" * 40000).encode()
    path = place.path("big.jsonl")
    with open(path, "wb") as f:
        for _ in range(BIG_BYTES // len(part)):
            f.write(part)
    size = os.path.getsize(path)
    genrun = Genrun(place, None)
    with open(f"/proc/{genrun.process.pid}/clear_refs", "w", encoding="ascii") as f:
        f.write("5")  # the peak of its memory begins anew
    clients = [Client(place, name, genrun.v1, "upload", path) for name in NAMES[:2]]
    for client in clients:
        if client.ends(f"{size >> 20} MB by a stream", timeout_s=120):
            tap.equal(client.said("file")["file"]["bytes"], size, f"{client.name}: all of it is there")
    header = place.write("header", f"Authorization: Bearer {SECRET}\n")
    sent = subprocess.run(["curl", "-sS", "--noproxy", "*", "-H", f"@{header}", "-F", "purpose=batch", "-F", f"file=@{path}",
                           "-w", "%{http_code} %{time_starttransfer}", f"{genrun.v1}/files"], capture_output=True, text=True, timeout=120)
    answer, _, rest = sent.stdout.rpartition("}")
    tap.ok(sent.returncode == 0 and rest.split()[0] == "200" and json.loads(answer + "}")["bytes"] == size,
           "curl, which asks before it sends (Expect)", sent.stdout + sent.stderr)
    with open(f"/proc/{genrun.process.pid}/status", encoding="ascii") as f:
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1))
    tap.ok(peak < BIG_MEMORY_KB, f"genrun needed less than {BIG_MEMORY_KB >> 10} MB for it", f"{peak} kB")


tap.main(globals())
