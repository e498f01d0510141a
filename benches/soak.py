#!/usr/bin/env python3
"""Runs `tidegate serve` for an hour with batches arriving, and watches its memory and its files.

Usage: soak.py --work WORK [--tidegate BINARY] [--minutes 60] [--every 2]

WORK/data is made anew. Batches of four sources, full and incremental, are delivered to its inbox, a folder
every `--every` seconds; folders are removed again when they are old, as a bucket's lifecycle rule would.
Somebody looks at a page every few seconds and follows the events. Standard library alone.
"""

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

SOURCES = ("warehouse", "crm", "lake", "billing")
SETTINGS = """
[server]
listen = "127.0.0.1:0"
[retention]
grace = "{grace}"
[[inbox]]
url = "inbox"
[targets.catalogue]
kind = "embedded"
{cache}
"""
LOOKED_AT = ("/", "/batches", "/batches?status=COMPLETE", "/queue", "/sources", "/sources/crm", "/catalogue?q=table",
             "/inbox", "/api/v1/overview", "/api/v1/batches?limit=500", "/api/v1/entities?q=owner", "/api/v1/snapshots",
             "/metrics")


class Source:
    """A system whose tables and columns change a little all the time."""

    def __init__(self, name, entities, seed):
        self.name = name
        self.random = random.Random(seed)
        self.next = 0
        self.tables = {}
        self.delivered = 0
        self.changed, self.gone = set(), set()
        while len(self.tables) < entities:
            self.create()

    def create(self):
        key = f"{self.name}.schema_{self.next % 7}.table_{self.next}"
        self.next += 1
        self.tables[key] = {"owner": f"owner {self.random.randrange(40)}", "rows": self.random.randrange(10**9),
                            "description": " ".join(self.random.choice(WORDS) for _ in range(12))}
        self.changed.add(key)

    def move_on(self):
        for _ in range(4):
            self.create()
        # As many are gone as came; fewer than a guard would look at.
        for _ in range(4):
            key = self.random.choice(sorted(self.tables))
            del self.tables[key]
            self.changed.discard(key)
            self.gone.add(key)
        for key in self.random.sample(sorted(self.tables), len(self.tables) // 20):
            self.tables[key]["rows"] = self.random.randrange(10**9)
            self.changed.add(key)

    def deliver(self, inbox):
        """Writes the next batch: every tenth is a full one."""
        full = self.delivered % 10 == 0
        self.delivered += 1
        self.move_on()
        now = datetime.now(timezone.utc).replace(microsecond=0)
        run = f"run-{self.delivered:05}"
        folder = inbox / self.name / f"{now:%Y%m%dT%H%M%SZ}_{run}"
        folder.mkdir(parents=True)
        lines = []
        for key in sorted(self.tables) if full else sorted(self.changed):
            lines.append({"type": "table", "qualified_name": key, "attributes": self.tables[key]})
        if not full:
            for key in sorted(self.gone):
                lines.append({"type": "table", "qualified_name": key, "deleted": True})
        links = []
        for line in lines:
            if "attributes" in line:
                key = line["qualified_name"]
                schema = {"type": "schema", "qualified_name": key.rsplit(".", 1)[0]}
                links.append({"type": "schema_tables", "from": schema,
                              "to": {"type": "table", "qualified_name": key}})
        schemas = {link["from"]["qualified_name"] for link in links}
        lines += [{"type": "schema", "qualified_name": name, "attributes": {}} for name in sorted(schemas)]
        for name, content in (("entities-00000.ndjson", lines), ("relationships-00000.ndjson", links)):
            (folder / name).write_text("".join(json.dumps(line) + "\n" for line in content))
        stamp = f"{now:%Y-%m-%dT%H:%M:%SZ}"
        manifest = {"format": "tidegate.batch/1", "source_id": self.name, "run_id": run, "workflow": "soak",
                    "mode": "full" if full else "incremental", "source_timestamp": stamp,
                    "processing_timestamp": stamp,
                    "files": [{"path": "entities-00000.ndjson", "kind": "entities", "count": len(lines)},
                              {"path": "relationships-00000.ndjson", "kind": "relationships", "count": len(links)}]}
        part = folder / ".manifest.json.part"
        part.write_text(json.dumps(manifest))
        part.rename(folder / "manifest.json")
        self.changed, self.gone = set(), set()


WORDS = "orders customers daily ledger sums of all regions net gross late early cleaned raw joined by key and day".split()


def size(path):
    """Bytes on the disk and number of files of a file or folder."""
    if path.is_file():
        return path.stat().st_blocks * 512, 1
    total, files = 0, 0
    for below in path.rglob("*"):
        try:
            if below.is_file():
                total, files = total + below.stat().st_blocks * 512, files + 1
        except FileNotFoundError:
            pass  # Collected in between.
    return total, files


def memory(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return {name: int(re.search(rf"{name}:\s+(\d+)", text).group(1)) / 1024
            for name in ("VmRSS", "VmHWM", "RssAnon", "Threads")}


def get(url, path):
    with urllib.request.urlopen(url + path.lstrip("/"), timeout=30) as answer:
        return answer.read().decode()


def statuses(url):
    return {status: int(count) for status, count in
            re.findall(r'^tidegate_batches\{status="(\w+)"\} (\d+)', get(url, "/metrics"), re.M)}


def look(url, ended, troubles):
    """Somebody looks at a page every few seconds."""
    turn = 0
    while not ended.wait(3):
        try:
            get(url, LOOKED_AT[turn % len(LOOKED_AT)])
        except OSError as error:
            troubles.append(f"{LOOKED_AT[turn % len(LOOKED_AT)]}: {error}")
        turn += 1


def follow(url, ended):
    """Somebody follows the events."""
    while not ended.is_set():
        try:
            with urllib.request.urlopen(url + "api/v1/events", timeout=60) as answer:
                while not ended.is_set() and answer.readline():
                    pass
        except OSError:
            ended.wait(1)


def deliver(inbox, options, ended):
    sources = [Source(name, options.entities, name) for name in SOURCES]
    turn = 0
    due = time.monotonic()
    while not ended.wait(max(0, due - time.monotonic())):
        due += options.every
        sources[turn % len(sources)].deliver(inbox)
        turn += 1
        for folder in inbox.glob("*/*"):
            if time.time() - folder.stat().st_mtime > options.keep * 60:
                shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tidegate", default="target/release/tidegate")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--every", type=float, default=2, help="seconds between two batches")
    parser.add_argument("--entities", type=int, default=500, help="tables of each source")
    parser.add_argument("--keep", type=float, default=10, help="minutes that a delivered folder is kept")
    parser.add_argument("--grace", default="2m", help="the setting retention.grace")
    parser.add_argument("--cache", help="the setting targets.catalogue.cache_memory; its default without it")
    options = parser.parse_args()

    cache = f'cache_memory = "{options.cache}"' if options.cache else ""
    data = options.work / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    (data / "tidegate.toml").write_text(SETTINGS.format(grace=options.grace, cache=cache))
    with open(options.work / "serve.log", "w") as log:
        server = subprocess.Popen([options.tidegate, "serve", "--data", data], stderr=log)
    url = None
    while url is None:
        if server.poll() is not None:
            sys.exit((options.work / "serve.log").read_text())
        time.sleep(0.1)
        found = re.search(r"Tidegate serves (\S+)", (options.work / "serve.log").read_text())
        url = found and found.group(1)
    ended, troubles = threading.Event(), []
    threads = [threading.Thread(target=look, args=(url, ended, troubles), daemon=True),
               threading.Thread(target=follow, args=(url, ended), daemon=True),
               threading.Thread(target=deliver, args=(data / "inbox", options, ended), daemon=True)]
    for thread in threads:
        thread.start()
    print(f"{'min':>4} {'RSS':>7} {'anon':>7} {'peak':>7} {'threads':>7} {'store':>8} {'catalogue':>9} "
          f"{'state':>8} {'packs':>8} {'files':>6} {'search':>8} {'files':>6} {'log':>6} {'complete':>8} others   (MB)", flush=True)
    started = time.monotonic()
    resident = {}
    try:
        for minute in range(1, options.minutes + 1):
            time.sleep(max(0, started + minute * 60 - time.monotonic()))
            if server.poll() is not None:
                sys.exit(f"the server ended: {server.returncode}")
            of, counts = memory(server.pid), statuses(url)
            store, _ = size(data / "tidegate.redb")
            catalogue, _ = size(data / "catalogue.redb")
            state, state_files = size(data / "state")
            packs = sum(size(path)[0] for path in data.glob("state/*/packs"))
            log_size = (options.work / "serve.log").stat().st_size
            search = [size(path) for path in data.glob("catalogue*search*")]
            resident[minute] = of["VmRSS"]
            complete = counts.pop("COMPLETE", 0)
            mb = 1 << 20
            print(f"{minute:4} {of['VmRSS']:7.1f} {of['RssAnon']:7.1f} {of['VmHWM']:7.1f} "
                  f"{of['Threads'] * 1024:7.0f} {store / mb:8.1f} {catalogue / mb:9.1f} {state / mb:8.1f} "
                  f"{packs / mb:8.1f} {state_files:6} {sum(s for s, _ in search) / mb:8.1f} "
                  f"{sum(n for _, n in search):6} {log_size / mb:6.1f} {complete:8} {' '.join(f'{k}={v}' for k, v in counts.items() if v)}", flush=True)
        early = min(10, options.minutes)
        print(f"RSS at the end is {resident[options.minutes] / resident[early]:.2f} times that at {early} minutes; "
              f"requests that failed: {len(troubles)} {troubles[:3]}")
    finally:
        ended.set()
        server.terminate()
        started = time.monotonic()
        server.wait()
        print(f"ended {server.returncode} in {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
