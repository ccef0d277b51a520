"""sdpipe against PyTorch eager and torch.compile: same network, same weights, same batch, same number of threads.

Every contestant is a process of its own that computes only when it is asked to; within a round each is asked in turn,
so that whatever else the machine does meets all of them. A ratio is a contestant's time divided by sdpipe's in the same
round. Before anything is timed, outputs and gradients of both sides are compared. Called by script/benchmark.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib

import report

HERE = pathlib.Path(__file__).resolve().parent
NETWORKS = ["unet6m", "ncsnpp", "quickstart"]
UNITS = ["train", "infer", "sample"]
CHANNELS_LAST = "eager+channels_last"
BLOCK_SECONDS = 1.5
# Rounds: the most where they are short, the least (of --quick: all) where a row takes longer than ROW_SECONDS; odd.
LEAST_ROUNDS, MOST_ROUNDS, ROW_SECONDS = 5, 11, 150
# What keep_freed_memory() of core/base/memory.hpp sets for sdpipe; 2**62: never.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(2**62)}


def say(text):
    print(f"benchmark: {text}", file=sys.stderr, flush=True)


class Contestant:
    """A process that does units of work on demand: bench.cpp or torch_worker.py."""

    def __init__(self, name, command, clock):
        self.name, self.clock = name, clock
        start = time.perf_counter()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.run(1)
        self.seconds_to_first = time.perf_counter() - start
        self.seconds_warm = self.run(1)

    def run(self, n):
        """Seconds for n units."""
        self.process.stdin.write(f"{n}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"benchmark: {self.name} ended; its message is above")
        seconds, peak, cpu = line.split()
        self.peak_mib = int(peak) / 1024
        return float(cpu if self.clock == "cpu" else seconds)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Case:
    """One network: its pipeline with the number of threads, its weights, and a run folder of sdpipe's for each precision."""

    def __init__(self, name, options, folder):
        self.name, self.options = name, options
        self.folder = folder / name
        self.folder.mkdir()
        self.weights = self.folder / "weights.safetensors"
        text = (HERE / f"{name}.toml").read_text()
        self.settings = tomllib.loads(text)
        for precision in options.precisions:
            run = f'\n[run]\nname = "{name}"\nthreads = {options.threads}\nprecision = "{precision}"\n'
            self.pipeline(precision).write_text(text + run)

    def pipeline(self, precision):
        return self.folder / f"{precision}.toml"

    def ours(self, verb, precision, *files):
        return [self.options.program, verb, self.pipeline(precision), self.folder / precision, *files]

    def begin(self):
        """Makes weights and sdpipe's runs; returns how far both sides differ in each precision. Ends where that is too far."""
        import comparison

        given, found = self.folder / "given.safetensors", self.folder / "found.safetensors"
        comparison.write_weights(self.settings, self.weights)
        comparison.write_inputs(self.settings, given)
        differences = {}
        for precision in self.options.precisions:
            subprocess.run(self.ours("begin", precision, self.weights), check=True)
            subprocess.run(self.ours("check", precision, given, found), check=True)
            its = differences[precision] = comparison.differences(self.settings, self.weights, given, found)
            say(f"{self.name} {precision}: " + ", ".join(f"{what} {value:.1e}" for what, value in its.items()))
            if not comparison.agree(its, precision):
                bounds = ", ".join(f"{what} {bound:.0e}" for what, bound in comparison.BOUNDS[precision].items())
                raise SystemExit(f"benchmark: {self.name} differs from its twin by more than {bounds}: nothing is timed")
        return differences

    def contestants(self, unit):
        """Names and commands; the one that the others are compared with first."""
        commands = {"sdpipe" if p == "float32" else f"sdpipe+{p}": self.ours(unit, p) for p in self.options.precisions}
        for mode in self.options.modes:
            if mode == CHANNELS_LAST and unit == "sample":
                continue
            worker = [sys.executable, HERE / "torch_worker.py", mode, unit, self.pipeline("float32"), self.weights]
            commands[mode] = worker
        return commands


def enough(rounds, seconds, options):
    """Whether a row that took so long has been measured; with --rounds, its number alone counts."""
    if options.rounds:
        return rounds >= options.rounds
    if options.quick:
        return rounds >= LEAST_ROUNDS
    return rounds >= MOST_ROUNDS or (rounds >= LEAST_ROUNDS and rounds % 2 == 1 and seconds > ROW_SECONDS)


def measure(case, unit, options):
    """The row's seconds of every contestant, round by round."""
    contestants = [Contestant(name, command, options.clock) for name, command in case.contestants(unit).items()]
    try:
        n = max(1, round(BLOCK_SECONDS / contestants[0].seconds_warm))
        rounds = {c.name: [] for c in contestants}
        number, start = 0, time.perf_counter()
        while not enough(number, time.perf_counter() - start, options):
            for c in contestants if number % 2 == 0 else reversed(contestants):
                rounds[c.name].append(c.run(n) / n)
            number += 1
        return {
            "seconds": rounds,
            "first": {c.name: c.seconds_to_first for c in contestants},
            "peak_mib": {c.name: c.peak_mib for c in contestants},
        }
    finally:
        for c in contestants:
            c.close()


def run_row(case, unit, options):
    say(f"{case.name} {unit}")
    row = measure(case, unit, options)
    row.update(batch=case.settings["sample"]["count"] if unit == "sample" else case.settings["train"]["batch"],
               steps=case.settings["sample"]["steps"], threads=options.threads, clock=options.clock)
    for name, seconds in row["seconds"].items():
        if name != report.ours(row):
            print(f"  {report.ratio_text(row, name)}  {name}", file=sys.stderr, flush=True)
    return row


def start_up(options):
    """Median seconds of starting either side and doing nothing."""
    commands = {
        "sdpipe": [options.program.parent / "sdpipe", "--version"],
        "pytorch": [sys.executable, "-c", "import torch"],
    }
    seconds = {name: [] for name in commands}
    for _ in range(5):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine():
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    import torch

    vector = torch.backends.cpu.get_cpu_capability()
    if {"avx512_bf16", "amx_bf16", "bf16"} & set(cpuinfo.split()):  # as core/base/cpu.cpp
        vector += " with products in bfloat16"
    return {"cpu": models[0] if models else platform.processor(), "cores": os.cpu_count(), "torch": torch.__version__,
            "python": platform.python_version(), "vector": vector}


def commit():
    """Of the tree; with + where it is changed, the report itself aside."""
    def git(*words):
        return subprocess.run(["git", "-C", HERE, *words], check=True, capture_output=True, text=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ":/", ":(top,exclude)docs/PERFORMANCE.md")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def comparable(rows, options):
    """Those that were measured with this number of threads and this clock; says which were not."""
    kept = {}
    for name, row in rows.items():
        if (row["threads"], row.get("clock")) == (options.threads, options.clock):
            kept[name] = row
        else:
            say(f"{name} is left out of the report: it was measured with another number of threads or another clock")
    return kept


def parse(arguments):
    rows = [f"{network}.{unit}" for network in NETWORKS for unit in UNITS]
    parser = argparse.ArgumentParser(prog="script/benchmark", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", default=",".join(rows), help="NETWORK.UNIT or NETWORK, separated by commas; of " + ", ".join(rows))
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile, whose figures of these rows are dropped")
    parser.add_argument("--quick", action="store_true", help="without torch.compile, which compiles for minutes, and few rounds")
    parser.add_argument("--rounds", type=int, help=f"default {MOST_ROUNDS}, fewer where a row takes more than {ROW_SECONDS} s, "
                        f"at least {LEAST_ROUNDS}; with --quick {LEAST_ROUNDS}")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall",
                        help="cpu: the CPU's seconds, for a busy machine; with --threads 1, for waiting threads count too")
    parser.add_argument("--bfloat16", action="store_true", help="the rows in bfloat16; in float32 they stay as they are")
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE",
                        help="the report, with what was measured before; default docs/PERFORMANCE.md, with --quick none")
    parser.add_argument("--results", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--program", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not options.quick:
        options.write = options.write or HERE.parent / "docs/PERFORMANCE.md"
    options.modes = ["eager"] if options.quick or options.no_compile else ["eager", "compile"]
    if options.bfloat16:
        options.precisions = ["bfloat16", "float32"]
        options.modes = [mode + "+bfloat16" for mode in options.modes]
    else:
        options.precisions = ["float32"]
        options.modes.append(CHANNELS_LAST)
    wanted = options.rows.split(",")
    options.rows = [row for row in rows if row in wanted or row.split(".")[0] in wanted]
    known = rows + NETWORKS
    for word in wanted:
        if word not in known:
            parser.error(f"unknown row {word}; known: {', '.join(known)}")
    return options


def main():
    options = parse(sys.argv[1:])
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.update(ALLOCATOR)
    measured = {"commit": commit(), "date": datetime.date.today().isoformat()}
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    here = machine()
    if results.get("machine") != here:
        results = {"machine": here}
    for group in report.GROUPS:
        results.setdefault(group, {})
    group = "bfloat16" if options.bfloat16 else "rows"
    results["start_up"] = start_up(options)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sdpipe-bench-"))
    try:
        for network in NETWORKS:
            rows = [row for row in options.rows if row.startswith(network + ".")]
            if not rows:
                continue
            case = Case(network, options, folder)
            differences = case.begin()
            for row in rows:
                results[group][row] = run_row(case, row.split(".")[1], options) | measured | {"differences": differences}
                if not options.quick:
                    options.results.write_text(json.dumps(results, indent=1))
            shutil.rmtree(case.folder)
    finally:
        shutil.rmtree(folder)
    if options.write:
        kept = {group: comparable(results[group], options) for group in report.GROUPS}
        options.write.write_text(report.document(results | kept))
        say(f"written: {options.write}")


if __name__ == "__main__":
    main()
