"""Runs `runner` and ninja in turns on the same DAG, and prints medians, ratios and peak memory."""

import argparse
import array
import fcntl
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

WIDTH = 100
JOBS = "2"

# Linux's numbers for the attributes of a file, and for that of a folder whose folders lie far apart.
GET_FLAGS, SET_FLAGS, TOP_OF_A_TREE = 0x80086601, 0x40086602, 0x00020000


def spread(folder):
    """Has what is made in a folder lie far from what was removed there, where the file system can.

    ext4 without a journal gives the inodes of removed files to nobody for minutes, and looks past each of
    them whenever it makes a file nearby: a second measurement would be one of the first one's removal.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flags = array.array("L", [0])
        fcntl.ioctl(descriptor, GET_FLAGS, flags, True)
        flags[0] |= TOP_OF_A_TREE
        fcntl.ioctl(descriptor, SET_FLAGS, flags, True)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def layered(stages):
    """Gives each stage the two stages of the layer before that it reads."""
    generator = random.Random(0)
    for stage in range(stages):
        layer = stage // WIDTH
        before = range((layer - 1) * WIDTH, layer * WIDTH)
        yield stage, sorted(generator.sample(before, 2)) if layer else []


def ninja_file(stages):
    lines = ["rule echo", "  command = echo $i > $out"]
    for stage, needs in layered(stages):
        inputs = " ".join(f"out/f{need}" for need in needs)
        lines += [f"build out/f{stage}: echo {inputs}", f"  i = {stage}"]
    return "\n".join(lines) + "\n"


def runner_file(stages):
    lines = ["name: dag", "stages:"]
    for stage, needs in layered(stages):
        lines += [f"  s{stage}:", "    kind: command"]
        if needs:
            inputs = ", ".join(f"{name}: s{need}.f" for name, need in zip("ab", needs))
            lines.append(f"    inputs: {{{inputs}}}")
        lines.append(f'    params: {{run: "echo {stage} > ${{outputs.f}}", outputs: {{f: f.txt}}}}')
    return "\n".join(lines) + "\n"


class Program:
    """One of the two, with how it is started in the folder of its DAG."""

    def __init__(self, name, command, file, text):
        self.name, self.command, self.file, self.text = name, command, file, text

    def prepare(self, folder, stages):
        # With a store of its own: `runner` would go by that of a folder above.
        (folder / ".runner").mkdir(parents=True)
        (folder / self.file).write_text(self.text(stages))
        return folder

    def run(self, folder):
        """Gives the seconds that it takes, those of CPU, and its own peak of memory in MiB."""
        began = time.perf_counter()
        child = os.fork()
        if child == 0:
            os.chdir(folder)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.execv(self.command[0], self.command)
        _, status, usage = os.wait4(child, 0)
        seconds = time.perf_counter() - began
        if status != 0:
            sys.exit(f"measure.py: `{' '.join(self.command)}` failed in `{folder}`")
        return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def table(header, rows):
    print("| " + " | ".join(header) + " |")
    print("|" + "|".join([" --- "] + [" ---: "] * (len(header) - 1)) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def span(seconds):
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def row(title, runner, ninja):
    """Compares medians: `runner` and `ninja` are lists of what `Program.run` gave."""
    wall = [statistics.median(one[0] for one in of) for of in (runner, ninja)]
    cpu = [statistics.median(one[1] for one in of) for of in (runner, ninja)]
    return [title, span(wall[0]), span(wall[1]), f"{wall[0] / wall[1]:.1f}", f"{cpu[0] / cpu[1]:.1f}"]


def compared(runner, ninja, sizes, rounds, folder):
    rows = []
    for stages in sizes:
        cold, idle = ([], []), ([], [])
        # A cold run takes long, and a new folder each time: deleted files slow the next ones down.
        for turn in range(max(1, rounds // 2) if stages <= 1000 else 1):
            for program, times in zip((runner, ninja), cold):
                place = program.prepare(folder / f"{program.name}-{stages}-{turn}", stages)
                times.append(program.run(place))
        for turn in range(rounds + 1):
            for program, times in zip((runner, ninja), idle):
                took = program.run(folder / f"{program.name}-{stages}-0")
                # The first no-op after a cold run settles what was too young to be trusted.
                if turn > 0:
                    times.append(took)
        rows.append(row(f"{stages:,} stages, cold", *cold))
        rows.append(row(f"{stages:,} stages, nothing to do", *idle))
    table(["DAG", "runner", "ninja", "ratio", "ratio of CPU"], rows)


def grown(runner, sizes, rounds, folder):
    rows = []
    for stages in sizes:
        place = runner.prepare(folder / f"runner-{stages}", stages)
        cold = runner.run(place)
        runner.run(place)
        idle = [runner.run(place) for _ in range(rounds)]
        seconds = statistics.median(one[0] for one in idle)
        rows.append([
            f"{stages:,}", span(cold[0]), f"{cold[2]:.0f} MiB", span(seconds),
            f"{seconds / stages * 1e6:.0f} µs", f"{max(one[2] for one in idle):.0f} MiB",
        ])
    table(["stages", "cold", "peak", "nothing to do", "a stage", "peak"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runner", type=Path, required=True)
    parser.add_argument("--ninja", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("target/dag"))
    arguments = parser.parse_args()
    program = str(arguments.runner.resolve())
    runner = Program("runner", [program, "run", "--jobs", JOBS, "dag.yaml"], "dag.yaml", runner_file)
    # What a link in a virtual environment points to is another program than the link.
    ninja = [str(arguments.ninja.absolute()), f"-j{JOBS}"]
    ninja = Program("ninja", ninja, "build.ninja", ninja_file)
    rounds = min(arguments.rounds, 3) if arguments.quick else arguments.rounds
    arguments.folder.mkdir(parents=True, exist_ok=True)
    spread(arguments.folder)
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        compared(runner, ninja, [1000] if arguments.quick else [1000, 10_000], rounds, folder)
        if not arguments.quick:
            print()
            grown(runner, [25_000, 50_000, 100_000], 3, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
