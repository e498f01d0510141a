#!/usr/bin/env python3
"""Times `tidegate serve`: what looking into inboxes costs, how soon a batch is published, how soon pages answer.

Usage: service.py --work WORK [--tidegate BINARY] [--fill BINARY] [--batches DIR] ROW [ROW …]

Rows: discovery, discovery-s3, latency, latency-s3, pages, costs (see benches/README.md). Standard
library alone. The rows with -s3 write to and watch a bucket: TIDEGATE_S3_BUCKET at AWS_ENDPOINT_URL_S3, with
the usual AWS_… variables.
"""

import argparse
import atexit
import collections
import hashlib
import hmac
import http.client
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

SETTINGS = """
[server]
listen = "127.0.0.1:0"
[[inbox]]
url = "{inbox}"
poll = "{poll}"
rescan = "{rescan}"
"""


class Server:
    """A running service on a data directory."""

    def __init__(self, options, data, inbox="inbox", poll="1s", rescan="1h"):
        data.mkdir(parents=True, exist_ok=True)
        (data / "tidegate.toml").write_text(SETTINGS.format(inbox=inbox, poll=poll, rescan=rescan))
        log = data.parent / f"{data.name}.log"
        with open(log, "w") as out:
            self.process = subprocess.Popen([options.tidegate, "serve", "--data", data], stdout=out, stderr=out)
        # Whatever ends this script.
        atexit.register(self.process.kill)
        self.address = None
        while self.address is None:
            if self.process.poll() is not None:
                sys.exit(log.read_text())
            time.sleep(0.02)
            found = re.search(r"Tidegate serves http://(\S+)/", log.read_text())
            self.address = found and found.group(1)

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=60) as answer:
            return answer.read().decode()

    def json(self, path):
        return json.loads(self.get(path))

    def metric(self, name, **labels):
        label = ",".join(f'{key}="{value}"' for key, value in labels.items())
        text = re.escape(f"tidegate_{name}" + (f"{{{label}}}" if label else ""))
        found = re.search(rf"^{text} (\S+)$", self.get("/metrics"), re.M)
        return float(found.group(1)) if found else 0.0

    def ended(self, status="COMPLETE"):
        return int(self.metric("batches", status=status))

    def wait(self, batch, status=("COMPLETE", "FAILED")):
        while True:
            try:
                state = self.json(f"/api/v1/publish-states/{urllib.parse.quote(batch)}")
                if state["status"] in status:
                    return state
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        if self.process.wait() != 0:
            sys.exit(f"the server ended with {self.process.returncode}")


class Folder:
    """An inbox that is a local folder."""

    def __init__(self, root):
        self.root = root
        self.url = str(root)
        root.mkdir(parents=True, exist_ok=True)

    def put(self, name, content):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside the inbox, so that no listing shows a file that is not whole.
        part = self.root.parent / f".{path.parent.name}.part"
        part.write_bytes(content)
        part.rename(path)


class Bucket:
    """An inbox that is an empty prefix of a bucket; requests are signed as AWS Signature Version 4 has it."""

    def __init__(self, name):
        self.bucket = os.environ["TIDEGATE_S3_BUCKET"]
        self.prefix = f"{name}-{time.time_ns()}/"
        self.url = f"s3://{self.bucket}/{self.prefix}"
        self.server = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL_S3"]).netloc
        self.connection = http.client.HTTPConnection(self.server)

    def put(self, name, content):
        now = datetime.now(timezone.utc)
        region = os.environ.get("AWS_REGION", "us-east-1")
        path = urllib.parse.quote(f"/{self.bucket}/{self.prefix}{name}")
        headers = {"host": self.server, "x-amz-content-sha256": hashlib.sha256(content).hexdigest(),
                   "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}"}
        signed = ";".join(headers)
        request = "\n".join(["PUT", path, "", *(f"{key}:{value}" for key, value in headers.items()), "", signed,
                             headers["x-amz-content-sha256"]])
        scope = f"{now:%Y%m%d}/{region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope,
                          hashlib.sha256(request.encode()).hexdigest()])
        key = f"AWS4{os.environ['AWS_SECRET_ACCESS_KEY']}".encode()
        for part in (*scope.split("/"), text):
            key = hmac.digest(key, part.encode(), "sha256")
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, "
                                    f"SignedHeaders={signed}, Signature={key.hex()}")
        self.connection.request("PUT", path, content, headers)
        answer = self.connection.getresponse()
        told = answer.read()
        if answer.status != 200:
            sys.exit(f"{path}: {answer.status} {told.decode()}")


def write_batch(inbox, source, at, run, lines, mode="incremental"):
    """A batch folder but for its manifest; returns its id and what makes it appear."""
    folder = f"{at:%Y%m%dT%H%M%SZ}_{run}"
    inbox.put(f"{source}/{folder}/entities-00000.ndjson", "".join(json.dumps(line) + "\n" for line in lines).encode())
    stamp = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    manifest = {"format": "tidegate.batch/1", "source_id": source, "run_id": run, "workflow": "bench", "mode": mode,
                "source_timestamp": stamp, "processing_timestamp": stamp,
                "files": [{"path": "entities-00000.ndjson", "kind": "entities", "count": len(lines)}]}

    def appear():
        before = time.time()
        inbox.put(f"{source}/{folder}/manifest.json", json.dumps(manifest).encode())
        return before

    return f"{source}:{folder}", appear


def tables(source, names, value):
    return [{"type": "table", "qualified_name": f"{source}.public.table_{name}",
             "attributes": {"owner": f"team {value}", "description": f"Rows of {name}, one for each day and region"}}
            for name in names]


def share(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


class Bench:
    def __init__(self, options):
        self.options = options

    def fresh(self, name):
        data = self.options.work / name
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True)
        return data

    def looks(self, name, inbox_of):
        """What a poll costs with few and with many batches that have ended, published one and all."""
        costs = {}
        for finished in (10, self.options.finished):
            data = self.fresh(f"{name}-{finished}")
            inbox = inbox_of(data)
            first = datetime(2026, 1, 1, tzinfo=timezone.utc)
            sources = [f"source-{n}" for n in range(4)]
            for n in range(finished):
                source = sources[n % len(sources)]
                _, appear = write_batch(inbox, source, first + timedelta(seconds=n), f"run-{n:06}",
                                        tables(source, [n % 50], n))
                appear()
            began = time.monotonic()
            server = Server(self.options, data, inbox.url, poll="200ms", rescan="2s")
            while server.ended() < finished:
                time.sleep(0.2)
            took = time.monotonic() - began
            if server.ended("FAILED"):
                sys.exit("a batch failed")
            # Batches are compared with their folders until they have ended; that is over with the next poll.
            time.sleep(3)
            before, rounds = {}, []
            for turn in range(9):
                now = {kind: (server.metric("inbox_looks_total", kind=kind),
                              server.metric("inbox_listings_total", kind=kind),
                              server.metric("inbox_look_seconds_total", kind=kind)) for kind in ("poll", "rescan")}
                if before:
                    rounds.append({kind: [after - old for after, old in zip(now[kind], before[kind])]
                                   for kind in now})
                before = now
                time.sleep(4)
            costs[finished] = {}
            for kind in ("poll", "rescan"):
                looks = [of[kind] for of in rounds if of[kind][0]]
                calls = statistics.median(of[1] / of[0] for of in looks)
                ms = statistics.median(of[2] / of[0] * 1000 for of in looks)
                costs[finished][kind] = ms
                print(f"{name}: {kind} with {finished:,} finished batches of {len(sources)} sources: "
                      f"{calls:.1f} listing calls, {ms:.2f} ms", flush=True)
            print(f"{name}: {finished:,} tiny batches published in {took:.1f} s", flush=True)
            server.stop()
        print(f"{name}: a poll costs {costs[self.options.finished]['poll'] / costs[10]['poll']:.2f} times as much",
              flush=True)

    def discovery(self):
        self.looks("discovery", lambda data: Folder(data / "inbox"))

    def discovery_s3(self):
        self.looks("discovery-s3", lambda _: Bucket("discovery"))

    def soon(self, name, inbox_of, poll, bar):
        """From the appearance of a manifest to COMPLETE, seen from outside and by the service's own time."""
        data = self.fresh(name)
        inbox = inbox_of(data)
        server = Server(self.options, data, inbox.url, poll=poll)
        dice = random.Random(7)
        at = datetime.now(timezone.utc) - timedelta(hours=2)
        seen, own = [], []
        for n in range(self.options.count + 5):
            names = dice.sample(range(1000), 50)
            batch, appear = write_batch(inbox, "source", at + timedelta(seconds=n), f"run-{n:06}",
                                        tables("source", names, n))
            # At any moment between two polls.
            time.sleep(dice.uniform(0.3, 1.3))
            follower = http.client.HTTPConnection(server.address)
            follower.request("GET", "/api/v1/events")
            events = follower.getresponse()
            began = appear()
            state = None
            while state is None or state["status"] != "COMPLETE":
                if not events.readline().startswith(b"data:"):
                    continue
                try:
                    state = server.json(f"/api/v1/publish-states/{urllib.parse.quote(batch)}")
                except urllib.error.HTTPError:
                    continue
                if state["status"] == "FAILED":
                    sys.exit(f"{batch}: {state['failure_details']}")
            done = time.time()
            follower.close()
            end = datetime.fromisoformat(re.sub(r"\.(\d{6})\d*Z", r".\1+00:00", state["publish_end_timestamp"]))
            if n >= 5:
                seen.append((done - began) * 1000)
                own.append((end.timestamp() - began) * 1000)
        server.stop()
        print(f"{name}: the slowest {' '.join(f'{ms:.0f}' for ms in sorted(own)[-6:])}")
        print(f"{name}: {len(seen)} batches of 50 entities, COMPLETE after p50 {share(own, 50):.0f} ms, "
              f"p99 {share(own, 99):.0f} ms; as a client sees it p50 {share(seen, 50):.0f} ms, "
              f"p99 {share(seen, 99):.0f} ms, at most {max(seen):.0f} ms (bar: p99 under {bar} ms)", flush=True)

    def latency(self):
        self.soon("latency", lambda data: Folder(data / "inbox"), "30s", 250)

    def latency_s3(self):
        self.soon("latency-s3", lambda _: Bucket("latency"), "1s", 1100)

    def prepared(self):
        """A data directory with 100,000 batches that have ended, and some real ones of every kind."""
        data = self.options.work / f"pages-base-{self.options.stored}"
        if (data / "done").exists():
            return data
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True)
        # cargo adds `--bench` to what it runs itself.
        subprocess.run([self.options.fill, data, str(self.options.stored)], check=True)
        inbox = Folder(data / "inbox")
        server = Server(self.options, data)
        at = datetime.now(timezone.utc) - timedelta(hours=1)
        last = []
        for n in range(3):
            for source in range(20):
                name = f"source-{source:03}"
                # Few enough changes that no guard minds.
                lines = tables(name, range(90), 0) + tables(name, range(90, 100 - n), n)
                batch, appear = write_batch(inbox, name, at + timedelta(minutes=n), f"real-{n}", lines, "full")
                appear()
                last.append(batch)
        # Dead letters.
        bad, appear = write_batch(inbox, "source-005", at + timedelta(minutes=9), "bad",
                                  tables("source-005", range(95, 98), 3) + [{"type": "table", "qualified_name": f"bad {n}"}
                                                                       for n in range(5)], "incremental")
        appear()
        last.append(bad)
        # One that a guard parks: most of it is gone.
        parked, appear = write_batch(inbox, "source-003", at + timedelta(minutes=9), "gone",
                                     tables("source-003", range(9), 1), "full")
        appear()
        for batch in last:
            if server.wait(batch)["status"] != "COMPLETE":
                sys.exit(f"{batch} was not published")
        server.wait(parked, ("PLAN_COMPLETE",))
        server.stop()
        (data / "done").touch()
        return data

    def routes(self, server):
        """Every page and every route of the API that reads, with filters; paths by their route."""
        document = server.json("/api/openapi.json")
        quote = urllib.parse.quote
        batches = server.json("/api/v1/batches?status=COMPLETE&limit=20&source_id=source-003")["items"]
        real = next(b["publish_state"]["batch_id"] for b in batches if b["plan"])
        parked = server.json("/api/v1/batches?status=PLAN_COMPLETE")["items"][0]["publish_state"]["batch_id"]
        old = f"source-007:{server.json('/api/v1/batches?order=oldest&limit=50&source_id=source-007')['items'][5]['publish_state']['batch_id'].split(':')[1]}"
        snapshots = [s["snapshot_id"] for s in server.json("/api/v1/snapshots?source_id=source-003")["items"]]
        entity = "source-003.public.table_4"
        ids = [real, parked, old]
        letter = str(server.json("/api/v1/dlq")["items"][0]["id"])
        filled = {"{batch_id}": [quote(i) for i in ids], "{source_id}": ["source-003", "source-011"],
                  "{snapshot_id}": [snapshots[0]], "{before}": [snapshots[1]], "{target}": ["catalogue"],
                  "{type}": ["table"], "{name}": [entity], "{id}": [letter]}
        queries = {
            "/api/v1/batches": ["", "?limit=500", "?source_id=source-007", "?status=FAILED", "?status=COMPLETE&limit=200",
                                "?source_id=source-007&status=FAILED", "?since=2026-01-02T00:00:00Z&until=2026-01-03T00:00:00Z",
                                "?order=oldest", "?order=oldest&status=FAILED&limit=100"],
            "/api/v1/publish-states": ["", "?limit=500", "?source_id=source-007", "?status=FAILED",
                                       "?since=2026-01-02T00:00:00Z&order=oldest"],
            "/api/v1/batches/{batch_id}/plan": ["", "?action=update", "?kind=entity", "?type=table", "?text=4"],
            "/api/v1/entities": ["?q=rows", "?q=table_4", "?q=day+region", "?type=table", "?prefix=source-0", "?q=public&type=table"],
            "/api/v1/search": ["", "?q=rows", "?q=table_4", "?q=day+region&type=table", "?q=regoin", "?order=newest"],
            "/api/v1/dlq": ["", "?state=open&source_id=source-005", "?limit=500"],
            "/api/v1/entities/{type}/{name}": ["", "?relationships=10"],
            "/api/v1/snapshots": ["", "?source_id=source-003", "?limit=500", "?order=oldest&since=2026-01-02T00:00:00Z"],
        }
        found = []
        for route, methods in document["paths"].items():
            # What is sent without an end, or is the whole catalogue, is no answer that someone waits for.
            if "get" not in methods or route in ("/api/v1/events", "/api/v1/export", "/api/v1/plans/{plan_id}"):
                continue
            paths = [route]
            for name, values in filled.items():
                paths = [path.replace(name, value) for path in paths for value in (values if name in path else [""])]
            for path in paths:
                # Plans of old batches are gone.
                if "/plan" in route and quote(old) in path:
                    continue
                found += [(route, path + query) for query in queries.get(route, [""])]
        pages = ["/", "/batches", "/batches?status=FAILED", "/batches?source=source-007", "/batches?order=oldest",
                 "/batches?since=2026-01-02&until=2026-01-03", *[f"/batches/{quote(i)}" for i in ids],
                 f"/batches/{quote(real)}?action=update", "/queue", "/sources", "/sources/source-003", "/sources/source-011",
                 f"/snapshots/{snapshots[0]}", "/catalogue", "/targets", "/dlq", f"/dlq/{letter}", "/catalogue?q=rows", "/catalogue?q=table_4&type=table",
                 f"/catalogue/entity?type=table&name={entity}", f"/why?type=table&name={entity}", "/why", "/inbox", "/status"]
        found += [(f"page {path.split('?')[0] if not path.startswith(('/batches/', '/snapshots/', '/sources/', '/dlq/')) else '/' + path.split('/')[1] + '/{id}'}", path)
                  for path in pages]
        for _, path in found:
            try:
                server.get(path)
            except urllib.error.HTTPError as error:
                sys.exit(f"{path}: {error}")
        return found

    def costs(self):
        """Processor time that each address costs the server, one after the other, with nothing beside it."""
        data = self.options.work / "costs"
        shutil.rmtree(data, ignore_errors=True)
        subprocess.run(["cp", "-a", "--sparse=always", self.prepared(), data], check=True)
        for path in data.glob("*.pid"):
            path.unlink()
        server = Server(self.options, data)
        found = self.routes(server)

        def spent():
            fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

        connection = http.client.HTTPConnection(server.address, timeout=60)
        costs = []
        for _, path in found:
            before, began, asked = spent(), time.monotonic(), 0
            while asked < 3 or asked < 50 and time.monotonic() - began < 3:
                connection.request("GET", path)
                size = len(connection.getresponse().read())
                asked += 1
            costs.append(((spent() - before) / asked, (time.monotonic() - began) * 1000 / asked, size, path))
        server.stop()
        print(f"costs: {sum(cost[0] for cost in costs) / len(costs):.2f} ms of processor time on average over "
              f"{len(costs)} addresses with {self.options.stored:,} batches")
        for cost, took, size, path in sorted(costs, reverse=True)[:20]:
            print(f"    {cost:7.2f} ms of processor time, {took:7.2f} ms, {size:9,} bytes: {path}", flush=True)

    def load(self, server, found, ended, results):
        """Four clients that send 20 requests a second in all, over all routes in turn."""
        order = found[:]
        random.Random(7).shuffle(order)
        lock, turn = threading.Lock(), [0]

        def client(number):
            connection = http.client.HTTPConnection(server.address, timeout=60)
            due = time.monotonic() + number * 0.05
            while not ended.wait(max(0, due - time.monotonic())):
                with lock:
                    route, path = order[turn[0] % len(order)]
                    turn[0] += 1
                began = time.monotonic()
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                took = (time.monotonic() - began) * 1000
                if answer.status != 200:
                    results.append((began, route, path, float("inf")))
                results.append((began, route, path, took))
                due = max(due + 0.2, time.monotonic())

        clients = [threading.Thread(target=client, args=(n,)) for n in range(4)]
        for thread in clients:
            thread.start()
        return clients

    def pages(self):
        base = self.prepared()
        all_times, times, seconds = [], [], {True: [], False: []}
        slow = collections.defaultdict(list)
        for turn in range(self.options.runs * 2):
            loaded = turn % 2 == 0
            data = self.options.work / "pages"
            shutil.rmtree(data, ignore_errors=True)
            subprocess.run(["cp", "-a", "--sparse=always", base, data], check=True)
            for path in data.glob("*.pid"):
                path.unlink()
            os.sync()
            server = Server(self.options, data)
            found = self.routes(server)
            ended, results = threading.Event(), []
            folders = sorted((self.options.batches / "warehouse").glob("*_run-*"))
            names = [folder.name for folder in folders]
            for folder in folders:
                target = data / "inbox" / "warehouse" / folder.name
                target.parent.mkdir(exist_ok=True)
                shutil.copytree(folder, target, ignore=shutil.ignore_patterns("manifest.json"))
            os.sync()
            clients = self.load(server, found, ended, results) if loaded else []
            began = time.monotonic()
            for n, name in enumerate(names if loaded else names[:1]):
                shutil.copy(folders[n] / "manifest.json", data / "inbox" / "warehouse" / name / ".manifest.part")
                (data / "inbox" / "warehouse" / name / ".manifest.part").rename(
                    data / "inbox" / "warehouse" / name / "manifest.json")
                state = server.wait(f"warehouse:{name}")
                if n == 0:
                    own = [datetime.fromisoformat(re.sub(r"\.(\d{6})\d*Z", r".\1+00:00", state[f"publish_{end}_timestamp"]))
                           for end in ("start", "end")]
                    seconds[loaded].append((own[1] - own[0]).total_seconds())
                    published = time.monotonic()
            if loaded:
                while time.monotonic() < began + 60:
                    time.sleep(0.1)
            ended.set()
            for thread in clients:
                thread.join()
            print(f"pages: run {turn + 1}, {'with' if loaded else 'without'} load: {state['status']}, "
                  f"{seconds[loaded][-1]:.1f} s", end="")
            if loaded:
                during = [took for at, _, _, took in results if at < published]
                every = [took for _, _, _, took in results]
                print(f"; {len(every)} answers, p50 {share(every, 50):.1f} ms, p99 {share(every, 99):.1f} ms; "
                      f"during the first publish {len(during)}, p99 {share(during, 99):.1f} ms", end="")
                all_times += every
                times += during
                for _, route, path, took in results:
                    slow[path].append(took)
            print(flush=True)
            server.stop()
        slower = statistics.median(seconds[True]) / statistics.median(seconds[False])
        print(f"pages: {len(all_times)} answers over {len(found)} addresses with {self.options.stored:,} batches: "
              f"p50 {share(all_times, 50):.1f} ms, p99 {share(all_times, 99):.1f} ms; during the publish of all entities "
              f"p99 {share(times, 99):.1f} ms (bar: 50 ms)")
        print(f"pages: that publish takes {slower:.2f} times as long with them (bar: 1.10): "
              f"{statistics.median(seconds[True]):.1f} s against {statistics.median(seconds[False]):.1f} s")
        for path, took in sorted(slow.items(), key=lambda item: -max(item[1]))[:12]:
            print(f"    {max(took):7.1f} ms, median {statistics.median(took):6.1f}: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tidegate", default="target/release/tidegate")
    parser.add_argument("--fill", help="the binary of the bench `fill`")
    parser.add_argument("--batches", type=Path, help="folder with run 0 and run 1 of a large source (generate.py)")
    parser.add_argument("--finished", type=int, default=10_000)
    parser.add_argument("--stored", type=int, default=100_000)
    parser.add_argument("--count", type=int, default=100, help="batches of the rows latency")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("rows", nargs="+")
    options = parser.parse_args()
    bench = Bench(options)
    for row in options.rows:
        getattr(bench, row.replace("-", "_"))()


if __name__ == "__main__":
    main()
