#!/usr/bin/env python3
"""Times `tidegate publish` as a whole process, beside a DuckDB script that does the same diff.

Usage: publish.py --tools DIR --work DIR [--python PYTHON] [--tidegate BINARY] ROW [ROW …]

Rows: raw, zst, shuffle, first, scale, incremental, twenty, counts, instructions (see benches/README.md).
DIR of --tools holds the batch generator (generate.py), the reference (duckdb_reference.py) and compare.py.
Both sides run in turn, A B A B …; what is quoted is the median of the pairwise ratios. Times are of the
whole process, memory is its peak resident size as the operating system accounts it (`/usr/bin/time -v`).
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path


def measured(command, allowed=(0,), env=None):
    """Seconds, peak MB and standard output of a command."""
    reader, writer = os.pipe()
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, env=env)
    os.close(writer)
    with os.fdopen(reader, "rb") as out:
        text = out.read()
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in allowed:
        sys.exit(f"{' '.join(map(str, command))}: exit {process.returncode}\n{errors.decode()}{text.decode()}")
    return seconds, usage.ru_maxrss / 1024, text


class Bench:
    def __init__(self, options):
        self.options = options
        self.work = options.work
        self.work.mkdir(parents=True, exist_ok=True)

    def batch(self, run, entities, compress="none", extra=(), name=""):
        """Folder of a batch; generated once."""
        root = self.work / f"batches-{entities}-{compress}{name}"
        found = sorted((root / "warehouse").glob(f"*_run-{run:04d}"))
        if found and (found[0] / "manifest.json").exists():
            return found[0]
        command = [self.options.python, self.options.tools / "generate.py", "--out", root, "--expect",
                   root / "expect", "--entities", str(entities), "--run", str(run), "--compress", compress, *extra]
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
        return sorted((root / "warehouse").glob(f"*_run-{run:04d}"))[0]

    def publish(self, data, folder, *more):
        """Publishes; guards would park what changes most of a source, which these batches do not."""
        return measured([self.options.tidegate, "--data", data, "-q", "--json", "publish", folder, *more])

    def base(self, entities, compress, name=""):
        """A data directory with run 0 published, and the reference's output for it."""
        data = self.work / f"base-{entities}-{compress}{name}"
        if not (data / "done").exists():
            shutil.rmtree(data, ignore_errors=True)
            self.publish(data, self.batch(0, entities, compress, name=name))
            (data / "done").touch()
        return data

    def reference_base(self, entities, compress, name=""):
        out = self.work / f"reference-{entities}-{compress}{name}"
        if not (out / "done").exists():
            shutil.rmtree(out, ignore_errors=True)
            self.reference("none", self.batch(0, entities, compress, name=name), out)
            (out / "done").touch()
        return out

    def reference(self, previous, folder, out):
        return measured([self.options.python, self.options.tools / "duckdb_reference.py", "--prev", previous,
                         "--batch", folder, "--out", out, "--snapshot", "full"])

    def fresh(self, data):
        """A copy of a data directory in its place of work; what was written before it is on the disk."""
        target = self.work / "data"
        shutil.rmtree(target, ignore_errors=True)
        # Catalogues have holes, which a plain copy would fill.
        subprocess.run(["cp", "-a", "--sparse=always", str(data), str(target)], check=True)
        os.sync()
        return target

    def beside(self, name, compress, extra=(), batch_name=""):
        """Run 1 on run 0, Tidegate and DuckDB in turn."""
        entities = self.options.entities
        data, reference = self.base(entities, compress), self.reference_base(entities, compress)
        folder = self.batch(1, entities, compress, extra, batch_name)
        ratios, ours, theirs, memory = [], [], [], []
        for _ in range(self.options.runs):
            seconds, peak, _ = self.publish(self.fresh(data), folder)
            out = self.work / "reference-out"
            shutil.rmtree(out, ignore_errors=True)
            os.sync()
            other, _, _ = self.reference(reference, folder, out)
            ratios.append(other / seconds)
            ours.append(seconds)
            theirs.append(other)
            memory.append(peak)
        print(f"{name}: {statistics.median(ratios):.1f} times as fast (of {len(ratios)}: "
              f"{min(ratios):.1f} to {max(ratios):.1f}); tidegate {statistics.median(ours):.2f} s, "
              f"DuckDB {statistics.median(theirs):.2f} s; peak {max(memory):.0f} MB", flush=True)

    def raw(self):
        self.beside("raw", "none")

    def zst(self):
        self.beside("zst", "zst")

    def shuffle(self):
        self.beside("shuffle", "none", ("--shuffle", "--reformat", "0.1"), "-shuffle")

    def first_of(self, entities):
        folder = self.batch(0, entities, "zst")
        manifest = json.loads((folder / "manifest.json").read_text())
        objects = sum(file["count"] for file in manifest["files"])
        seconds, memory = [], []
        for _ in range(max(1, min(3, self.options.runs))):
            data = self.work / "data"
            shutil.rmtree(data, ignore_errors=True)
            os.sync()
            took, peak, _ = self.publish(data, folder)
            seconds.append(took)
            memory.append(peak)
        return objects, statistics.median(seconds), max(memory)

    def first(self):
        objects, seconds, peak = self.first_of(self.options.entities)
        print(f"first: {objects:,} objects in {seconds:.1f} s: {objects / seconds:,.0f} a second; peak {peak:.0f} MB",
              flush=True)

    def scale(self):
        """Run 0 and run 1 of `--entities` and of `--large`."""
        small, large = self.options.entities, self.options.large
        for run in (0, 1):
            if run == 0:
                took = [self.first_of(entities) for entities in (small, large)]
            else:
                sides = [(self.base(n, "zst"), self.batch(1, n, "zst")) for n in (small, large)]
                took = [(n, 1e9, 0) for n in (small, large)]
                # In turn: a machine that changes its pace changes it for both.
                for _ in range(5):
                    for n, (data, folder) in enumerate(sides):
                        seconds, peak, _ = self.publish(self.fresh(data), folder)
                        took[n] = took[n][0], min(took[n][1], seconds), max(took[n][2], peak)
            times = took[1][1] / took[0][1] / (took[1][0] / took[0][0])
            print(f"scale, run {run}: {small:,} entities {took[0][1]:.2f} s, {large:,} {took[1][1]:.2f} s: "
                  f"{times:.2f} times linear; peak {took[1][2]:.0f} MB", flush=True)

    def incremental(self):
        """1,000 entities changed, on a small snapshot and on a large one."""
        medians = []
        for entities in (100_000, self.options.entities):
            data = self.base(entities, "zst")
            lines = self.batch(0, entities, "zst") / "entities-00000.ndjson.zst"
            text = subprocess.run(["zstd", "-dcq", str(lines)], capture_output=True, check=True).stdout
            changed = []
            for line in text.splitlines()[:: max(1, text.count(b"\n") // 1000)][:1000]:
                entity = json.loads(line)
                entity["attributes"]["owner"] = "somebody.else"
                changed.append(json.dumps(entity))
            root = self.work / "incremental"
            shutil.rmtree(root, ignore_errors=True)
            subprocess.run([self.options.tidegate, "batches", "write", "--source", "warehouse", "--run", "inc",
                            "--mode", "incremental", "--out", root, "-q"], input="\n".join(changed).encode(),
                           check=True, stdout=subprocess.DEVNULL)
            folder = next((root / "warehouse").iterdir())
            seconds = []
            for _ in range(self.options.runs):
                took, _, _ = self.publish(self.fresh(data), folder)
                seconds.append(took)
            medians.append(statistics.median(seconds))
            print(f"incremental on {entities:,}: {medians[-1] * 1000:.0f} ms", flush=True)
        print(f"incremental: {medians[1] / medians[0]:.2f} times the small one", flush=True)

    def twenty(self):
        """Twenty batches of 1 % in a row."""
        entities = self.options.entities
        data = self.fresh(self.base(entities, "zst"))
        seconds, peaks = [], []
        for run in range(1, 21):
            folder = self.batch(run, entities, "zst")
            os.sync()
            took, peak, _ = self.publish(data, folder)
            seconds.append(took)
            peaks.append(peak)
        middle = statistics.median(seconds)
        print("twenty:", " ".join(f"{s:.2f}" for s in seconds))
        print(f"twenty: median {middle:.2f} s, slowest {max(seconds):.2f} s: {max(seconds) / middle:.2f} times; "
              f"peak {max(peaks):.0f} MB", flush=True)

    def counts(self):
        """What the plan of run 1 has, against the expectation files: counts and keys."""
        for compress, extra, name in (("none", (), ""), ("none", ("--shuffle", "--reformat", "0.1"), "-shuffle"),
                                      ("zst", (), "")):
            entities = self.options.entities
            data = self.fresh(self.base(entities, compress))
            folder = self.batch(1, entities, compress, extra, name)
            _, _, text = measured([self.options.tidegate, "--data", data, "-q", "--json", "plan", folder], (2,))
            plan = json.loads(text)
            made = {"create": "created", "update": "updated", "delete": "deleted", "unchanged": "unchanged"}
            counts = {kind: {word: plan["summary"][kind][name] for name, word in made.items()}
                      for kind in ("entities", "relationships")}
            changes = self.work / "changes.ndjson"
            with open(changes, "w") as out:
                for change in plan["changes"]:
                    out.write(json.dumps({"op": change["action"], **change["key"]}) + "\n")
            found = self.work / "counts.json"
            found.write_text(json.dumps(counts))
            expected = folder.parent.parent / "expect" / "expected-1.json"
            done = subprocess.run([self.options.python, self.options.tools / "compare.py", expected, found,
                                   "--plan", changes], capture_output=True, text=True)
            print(f"counts {compress}{name}: {(done.stdout + done.stderr).strip()}", flush=True)

    def instructions(self):
        """Instructions of `publish` of run 1, counted by callgrind: what noise does not move."""
        entities = 100_000
        data = self.fresh(self.base(entities, "none"))
        folder = self.batch(1, entities, "none")
        done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                               self.options.tidegate, "--data", data, "-q", "--json", "publish", folder],
                              capture_output=True, text=True)
        found = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode != 0 or not found:
            sys.exit(done.stderr)
        count = int(found.group(1))
        lines = sum(file["count"] for file in json.loads((folder / "manifest.json").read_text())["files"])
        print(f"instructions: {count:,}, {count / entities:,.0f} an entity, {count / lines:,.0f} a line", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable, help="one with duckdb, zstandard and xxhash")
    parser.add_argument("--tidegate", default="target/release/tidegate")
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=4_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("rows", nargs="+")
    options = parser.parse_args()
    bench = Bench(options)
    for row in options.rows:
        getattr(bench, row)()


if __name__ == "__main__":
    main()
