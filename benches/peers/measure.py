"""Measures `runner` beside its peers and prints a table; `run.sh` starts it and says how."""

import argparse
import os
import platform
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import works
from programs import Failed

CORES = 2
VERSIONS = ["torch", "keras", "tensorflow-cpu", "keras-tuner", "optuna"]


def main():
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    hold_cores()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    machine = describe()
    rows, failures = [], []
    binary = arguments.runner.resolve()
    for name in arguments.work or works.ALL:
        try:
            rows += works.ALL[name](binary, arguments.quick, arguments.rounds, failures)
        except Failed as failure:
            failures.append(f"{name}, `runner` before the first round: {failure}")
    print(machine)
    print()
    print("| work | `runner` | | beside | | `runner` / it | lowest to highest |")
    print("|---|---|---:|---|---:|---:|---:|")
    for row in rows:
        print(line(row))
    for failure in failures:
        print(f"\nfailed: {failure}")
    return 1 if failures else 0


def parse():
    parser = argparse.ArgumentParser(prog="benches/peers/run.sh")
    parser.add_argument("work", nargs="*", metavar="lstm|tune|job")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--runner", type=Path, required=True)
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.work) - set(works.ALL))
    if unknown:
        parser.error(f"there is no work `{unknown[0]}`, only {', '.join(works.ALL)}")
    return arguments


def hold_cores():
    """Keeps this program and all that it starts on two cores, so that machines compare."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def describe():
    """Says what the figures are from."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":")[1].strip() for line in info.open() if line.startswith("model name")
        ]
        model = (names or [model])[0]
    cores = f"{min(CORES, os.cpu_count() or 1)} of {os.cpu_count()} cores"
    system = f"{platform.system()}, {cores}, load {os.getloadavg()[0]:.1f} at the start"
    peers = ", ".join(f"{name} {installed(name)}" for name in VERSIONS)
    return f"{model}, {system}; Python {platform.python_version()}, {peers}."


def installed(name):
    """Gives a package's version."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not there)"


def line(row):
    """Gives a row of the table; the ratio is the median of the ratios within a round."""

    def middle(values):
        return figure(median(values)) if values else "failed"

    cells = [row.work, row.ours, middle(row.our_figures), row.peer, middle(row.peer_figures)]
    # What is cheap is measured more often than what is not: the last figure then stands for all.
    peers = row.peer_figures + row.peer_figures[-1:] * len(row.our_figures)
    ratios = [ours / peer for ours, peer in zip(row.our_figures, peers, strict=False)]
    if ratios:
        cells += [f"**{middle(ratios)}**", f"{figure(min(ratios))} to {figure(max(ratios))}"]
    else:
        cells += ["", ""]
    return f"| {' | '.join(cells)} |"


def figure(value):
    """Writes a number with three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


if __name__ == "__main__":
    sys.exit(main())
