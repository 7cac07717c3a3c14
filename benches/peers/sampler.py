"""Compares the samplers of `runner` with Optuna 5's default sampler, by regret.

Each objective is a `command` stage: awk computes it from the stage's parameters and writes the metric.
A pipeline file tunes it once a seed, the real binary runs that file, and the regrets are read from the
tables of trials that it leaves. The base's own parameters lie outside the space, so no sampler is given
a first trial. Optuna optimises the same functions, written in Python, in the same run.

    python benches/peers/sampler.py --seeds 200 --jobs 2

needs optuna (5 or later), numpy and pyarrow, and a release build of `runner`.
"""

import argparse
import json
import math
import multiprocessing
import subprocess
import tempfile
import time
from pathlib import Path

import numpy
import pyarrow.parquet

HARTMANN_A = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14],
              [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
HARTMANN_P = [[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
              [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]]
HARTMANN_C = [1.0, 1.2, 3.0, 3.2]


def branin(p):
    bent = p["y"] - 5.1 / (4 * math.pi ** 2) * p["x"] ** 2 + 5 / math.pi * p["x"] - 6
    return bent ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(p["x"]) + 10


def hartmann(p):
    total = 0.0
    for a, q, c in zip(HARTMANN_A, HARTMANN_P, HARTMANN_C):
        total -= c * math.exp(-sum(a[i] * (p[f"x{i + 1}"] - q[i] * 1e-4) ** 2 for i in range(6)))
    return total


def mixed(p):
    """Its least value, 0, lies where `kind` is `deep`, which switches `a` and `b` on."""
    value = 0.1 * (math.log(p["rate"]) / math.log(10) + 2) ** 2 + 0.01 * (p["width"] - 11) ** 2
    if p["kind"] == "flat":
        return value + 0.3
    return value + 2 * (p["a"] - 0.7) ** 2 + 2 * (p["b"] - 0.1) ** 2


def awk_list(name, values):
    return f'split("{" ".join(map(str, values))}", {name}, " "); '


FUNCTIONS = {
    "branin": {
        "optimum": 0.397887357729739,
        "python": branin,
        "space": {"x": {"float": [-5.0, 10.0]}, "y": {"float": [0.0, 15.0]}},
        "awk": "pi = atan2(0, -1); bent = y - 5.1 / (4 * pi ^ 2) * x ^ 2 + 5 / pi * x - 6; "
               "value = bent ^ 2 + 10 * (1 - 1 / (8 * pi)) * cos(x) + 10; ",
    },
    "hartmann": {
        "optimum": -3.322368011415515,
        "python": hartmann,
        "space": {f"x{i}": {"float": [0.0, 1.0]} for i in range(1, 7)},
        "awk": awk_list("a", sum(HARTMANN_A, [])) + awk_list("p", sum(HARTMANN_P, []))
               + awk_list("c", HARTMANN_C)
               + "x[1] = x1; x[2] = x2; x[3] = x3; x[4] = x4; x[5] = x5; x[6] = x6; "
                 "for (i = 0; i < 4; i++) { sum = 0; for (j = 1; j <= 6; j++) "
                 "sum += a[6 * i + j] * (x[j] - p[6 * i + j] * 0.0001) ^ 2; "
                 "value -= c[i + 1] * exp(-sum) } ",
    },
    "mixed": {
        "optimum": 0.0,
        "python": mixed,
        "space": {
            "kind": {"choice": ["flat", "deep"]},
            "rate": {"log_float": [1e-4, 1.0]},
            "width": {"int": [1, 16]},
            "a": {"float": [0.0, 1.0], "when": {"kind": ["deep"]}},
            "b": {"float": [0.0, 1.0], "when": {"kind": ["deep"]}},
        },
        "awk": "value = 0.1 * (log(rate) / log(10) + 2) ^ 2 + 0.01 * (width - 11) ^ 2; "
               'value += kind == "flat" ? 0.3 : 2 * (a - 0.7) ^ 2 + 2 * (b - 0.1) ^ 2; ',
    },
}


def base_stage(function):
    """A command whose own parameters lie outside the space."""
    names = list(function["space"])
    read = "".join(f"{name} = ARGV[{place}]; " for place, name in enumerate(names, 1))
    program = "BEGIN { " + read + function["awk"] \
        + f'printf "{{\\"value\\": %.17g}}\\n", value > ARGV[{len(names) + 1}] }}'
    outside = {name: "none" if "choice" in param else 1000 if "int" in param else 1000.5
               for name, param in function["space"].items()}
    arguments = ["${with." + name + "}" for name in names]
    return {
        "kind": "command",
        "params": {
            "run": ["awk", program, *arguments, "${outputs.metrics}"],
            "with": outside,
            "outputs": {"metrics": "metrics.json"},
            "metrics": "metrics",
        },
    }


def tune_stage(function, sampler, seed, options):
    search = {f"with.{name}": dict(param) for name, param in function["space"].items()}
    for param in search.values():
        if "when" in param:
            param["when"] = {f"with.{parent}": allowed for parent, allowed in param["when"].items()}
    return {
        "kind": "tune",
        "params": {
            "stage": "objective",
            "search": search,
            "sampler": {"kind": sampler, "seed": seed},
            "objective": {"minimize": "value"},
            "trials": options.trials,
            "parallel": options.parallel,
        },
    }


def seeds(options):
    return range(options.first_seed, options.first_seed + options.seeds)


def run_ours(name, sampler, options):
    """Gives each seed's regret, and the seconds that a trial took."""
    started = time.monotonic()
    all_seeds = seeds(options)
    # The end of a study looks through its whole store, so a store holds a few studies only.
    parts = [all_seeds[start:start + 20] for start in range(0, len(all_seeds), 20)]
    regrets = [regret for part in parts for regret in run_studies(name, sampler, part, options)]
    seconds = time.monotonic() - started
    return numpy.array(regrets), seconds / (options.seeds * options.trials)


def run_studies(name, sampler, part, options):
    """Runs the studies of some seeds as one pipeline; gives their regrets."""
    function = FUNCTIONS[name]
    targets = [f"tune{seed}" for seed in part]
    stages = {"objective": base_stage(function)}
    for seed, target in zip(part, targets):
        stages[target] = tune_stage(function, sampler, seed, options)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder)
        (root / "study.yaml").write_text(json.dumps({"name": "study", "stages": stages}))
        command = [options.runner, "run", "study.yaml", *targets, "--format", "json",
                   "--jobs", str(options.jobs)]
        with open(root / "log", "wb") as log:
            done = subprocess.run(command, cwd=root, stdout=log, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise SystemExit((root / "log").read_text()[-2000:])
        return [table_regret(root / f"artifacts/study/{target}/trials.parquet", function, options)
                for target in targets]


def table_regret(path, function, options):
    """Gives the regret of the best trial, after its value was checked against the Python function."""
    rows = pyarrow.parquet.read_table(path).to_pylist()
    assert len(rows) == options.trials, f"{path} has {len(rows)} trials"
    best = min(rows, key=lambda row: row["value"])
    point = {name: best[f"with.{name}"] for name in function["space"]}
    again = function["python"](point)
    assert abs(again - best["value"]) < 1e-9, f"awk gave {best['value']} and Python {again}"
    return best["value"] - function["optimum"]


def suggest(trial, name, param):
    for kind, ends in param.items():
        match kind:
            case "float": return trial.suggest_float(name, *ends)
            case "log_float": return trial.suggest_float(name, *ends, log=True)
            case "int": return trial.suggest_int(name, *ends)
            case "choice": return trial.suggest_categorical(name, ends)


def optuna_regret(task):
    """Gives the regret of one study, and its seconds."""
    import optuna

    name, seed, trials, kind = task
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    function = FUNCTIONS[name]

    def objective(trial):
        point = {}
        for path, param in function["space"].items():
            when = param.get("when", {})
            if all(point.get(parent) in allowed for parent, allowed in when.items()):
                point[path] = suggest(trial, path, param)
        return function["python"](point)

    samplers = {"default": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    started = time.monotonic()
    study = optuna.create_study(sampler=samplers[kind](seed=seed))
    study.optimize(objective, n_trials=trials)
    return study.best_value - function["optimum"], time.monotonic() - started


def run_optuna(name, options, kind="default"):
    tasks = [(name, seed, options.trials, kind) for seed in seeds(options)]
    with multiprocessing.Pool(options.jobs) as pool:
        results = pool.map(optuna_regret, tasks, chunksize=4)
    regrets, seconds = map(numpy.array, zip(*results))
    return regrets, seconds.sum() / (options.seeds * options.trials)


def interval(ours, theirs, generator):
    """The bootstrap 95 % interval of a ratio of medians; seeds are drawn anew on each side."""
    def medians(regrets):
        drawn = generator.integers(0, len(regrets), size=(10_000, len(regrets)))
        return numpy.median(regrets[drawn], axis=1)
    return numpy.percentile(medians(ours) / medians(theirs), [2.5, 97.5])


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--parallel", type=int, default=1, help="`parallel` of our studies")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--functions", nargs="+", default=list(FUNCTIONS))
    parser.add_argument("--samplers", nargs="+", default=["tpe", "random", "quasi_random", "cmaes"])
    parser.add_argument("--runner", default=str(root / "target/release/runner"))
    parser.add_argument("--folder", help="where to make temporary folders")
    parser.add_argument("--json", help="a file for all regrets")
    options = parser.parse_args()
    import optuna
    print(f"{options.seeds} seeds, {options.trials} trials, parallel {options.parallel}; "
          f"Optuna {optuna.__version__}'s default sampler, one trial at a time", flush=True)
    print(f"{'function':<10} {'sampler':<14} {'median regret':>14} {'over Optuna':>12} "
          f"{'95 % interval':>18} {'ms a trial':>11}", flush=True)
    regrets, passed = {}, True
    for name in options.functions:
        theirs, seconds = run_optuna(name, options)
        regrets[name] = {"optuna": theirs.tolist()}
        print(f"{name:<10} {'Optuna':<14} {numpy.median(theirs):>14.6g} {'':>12} {'':>18} "
              f"{seconds * 1e3:>11.2f}", flush=True)
        medians = {}
        for sampler in options.samplers:
            ours, seconds = run_ours(name, sampler, options)
            regrets[name][sampler] = ours.tolist()
            medians[sampler] = numpy.median(ours)
            low, high = interval(ours, theirs, numpy.random.default_rng(0))
            print(f"{name:<10} {sampler:<14} {medians[sampler]:>14.6g} "
                  f"{medians[sampler] / numpy.median(theirs):>12.3f} "
                  f"{f'{low:.3f} .. {high:.3f}':>18} {seconds * 1e3:>11.2f}", flush=True)
            passed &= sampler != "tpe" or low <= 1.05
        passed &= medians.get("tpe", 0) < medians.get("random", math.inf)
        if options.json:
            Path(options.json).write_text(json.dumps(regrets))
    print("tpe reaches Optuna's regret and beats random on each" if passed else "tpe FALLS SHORT")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
