"""Forecasts each function's response time one interval ahead by exponential smoothing.

A level follows the values with the weight `alpha`. With `--season=hour`, each hour of the day also
has a deviation from the level, which follows with the weight `gamma` (additive Holt-Winters without
a trend). The first 40 % of the time only warm up the state, the next 40 % give the error that a
tuner minimises, and the last 20 % a test that no choice was made on.
"""

import argparse
import csv
import json
import math
import os

DAY = 86_400
WARM_UP, TEST = 0.4, 0.8
STEPS = 10


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "forecast", "metrics"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--season", choices=("none", "hour"), required=True)
    parser.add_argument("--alpha", type=float, required=True)
    parser.add_argument("--gamma", type=float, required=True)
    options = parser.parse_args()

    rows = read(options.data)
    forecasts = forecast(rows, options)
    write(options.forecast, forecasts)
    metrics = score(forecasts)
    with open(options.metrics, "w") as file:
        json.dump(metrics, file, indent=2)
    print(f"{len(rows)} rows, {metrics}")


def read(path):
    """Gives (time, function, value) in order of time."""
    with open(path, newline="") as file:
        table = csv.DictReader(file)
        rows = [
            (int(row["Timestamp"]), row["FunctionID"], float(row["ResponseTime"]))
            for row in table
        ]
    return sorted(rows)


def forecast(rows, options):
    """Gives (time, function, part, actual, forecast, last value) of each row but a function's first."""
    slots = 24 if options.season == "hour" else 1
    first, last = rows[0][0], rows[-1][0]
    levels, seasons, previous = {}, {}, {}
    done = []
    progress = Progress()
    for time, function, value in rows:
        share = (time - first) / (last - first)
        part = "warm_up" if share < WARM_UP else "tune" if share < TEST else "test"
        slot = time % DAY * slots // DAY
        season = seasons.setdefault(function, [0.0] * slots)
        if function in levels:
            level = levels[function]
            predicted = level + season[slot]
            done.append((time, function, part, value, predicted, previous[function]))
            if part == "tune":
                progress.see((share - WARM_UP) / (TEST - WARM_UP), value - predicted)
            levels[function] = level + options.alpha * (value - season[slot] - level)
            if slots > 1:
                season[slot] += options.gamma * (value - levels[function] - season[slot])
        else:
            levels[function] = value
        previous[function] = value
    progress.finish()
    return done


class Progress:
    """Reports the error so far at each tenth of the tuned part, so that a tuner can stop early."""

    def __init__(self):
        # Absent where the script is run by hand.
        self.path = os.environ.get("RUNNER_METRICS", os.devnull)
        self.step, self.count, self.squares = 0, 0, 0.0

    def see(self, share, error):
        while self.step < int(share * STEPS):
            self.report()
        self.count += 1
        self.squares += error * error

    def report(self):
        self.step += 1
        if self.count:
            line = {"step": self.step, "rmse": math.sqrt(self.squares / self.count)}
            with open(self.path, "a") as file:
                file.write(json.dumps(line) + "\n")

    def finish(self):
        while self.step < STEPS:
            self.report()


def score(forecasts):
    """Gives the error of the tuned part, and of the test beside that of repeating the last value."""
    tuned = [row[3] - row[4] for row in forecasts if row[2] == "tune"]
    test = [row[3] - row[4] for row in forecasts if row[2] == "test"]
    naive = [row[3] - row[5] for row in forecasts if row[2] == "test"]
    return {"rmse": rmse(tuned), "test_rmse": rmse(test), "naive_test_rmse": rmse(naive)}


def rmse(errors):
    return math.sqrt(sum(error * error for error in errors) / len(errors))


def write(path, forecasts):
    with open(path, "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["FunctionID", "Timestamp", "Part", "ResponseTime", "Forecast"])
        for time, function, part, value, predicted, _ in forecasts:
            table.writerow([function, time, part, f"{value:.6f}", f"{predicted:.6f}"])


if __name__ == "__main__":
    main()
