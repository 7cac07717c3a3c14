"""Writes a short report on the best forecast and the trials that led to it."""

import csv
import json
import math
import os
from collections import defaultdict

BEST = 5


def main():
    path = {
        name: os.environ[f"RUNNER_INPUT_{name.upper()}"] for name in ("forecast", "metrics", "trials")
    }
    lines = ["# Forecast of the response time", ""]
    with open(path["metrics"]) as file:
        lines += verdict(json.load(file))
    with open(path["forecast"], newline="") as file:
        lines += functions(csv.DictReader(file))
    with open(path["trials"], newline="") as file:
        lines += trials(csv.DictReader(file))
    with open(os.environ["RUNNER_OUTPUT_REPORT"], "w") as file:
        file.write("\n".join(lines) + "\n")


def verdict(metrics):
    smooth, naive = metrics["test_rmse"], metrics["naive_test_rmse"]
    word = "beats" if smooth < naive else "does not beat"
    return [
        f"On the last fifth of the time, smoothing {word} repeating the last value: "
        f"an RMSE of {smooth:.4f} s against {naive:.4f} s.",
        "",
    ]


def functions(rows):
    squares = defaultdict(list)
    for row in rows:
        if row["Part"] == "test":
            error = float(row["ResponseTime"]) - float(row["Forecast"])
            squares[row["FunctionID"]].append(error * error)
    table = [
        [function, len(errors), f"{math.sqrt(sum(errors) / len(errors)):.4f}"]
        for function, errors in sorted(squares.items())
    ]
    return ["## Test error of each function", "", *markdown(["function", "rows", "rmse"], table), ""]


def trials(rows):
    """Lists the best complete trials; what else was tried is only counted."""
    states = defaultdict(int)
    complete = []
    for row in rows:
        states[row["state"]] += 1
        if row["value"] and row["state"] == "complete":
            complete.append(row)
    complete.sort(key=lambda row: (float(row["value"]), int(row["number"])))
    names = [name for name in (complete or [{}])[0] if name.startswith("with.")]
    table = [
        [row["number"], f"{float(row['value']):.4f}", *(short(row[name]) for name in names)]
        for row in complete[:BEST]
    ]
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    header = ["trial", "rmse", *(name.removeprefix("with.") for name in names)]
    return ["## The best trials", "", *markdown(header, table), "", f"Trials: {counts}."]


def short(value):
    try:
        return f"{float(value):.3f}"
    except ValueError:
        return value


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


if __name__ == "__main__":
    main()
