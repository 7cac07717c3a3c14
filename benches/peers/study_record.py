"""Records what Optuna 5 says of fixed studies, for the tests of `src/study/{importance,pareto}.rs`.

    python benches/peers/study_record.py > tests/data/study.json

`studies`: trials with the importances that PED-ANOVA finds in them (conditional parameters, failed
trials, two objectives). `splits`: losses with the trials that TPE takes for good, for each number of
them.
"""

import json
import math
import warnings

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.samplers._tpe.sampler import _split_complete_trials_multi_objective

warnings.filterwarnings("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)

MIXED = {
    "kind": {"choice": ["adam", "sgd", "rmsprop"]},
    "momentum": {"float": [0.0, 0.9], "when": {"kind": ["sgd"]}},
    "rate": {"log_float": [1e-5, 1e-1]},
    "units": {"log_int": [4, 512]},
    "layers": {"int": [1, 5]},
    "dropout": {"float": [0.0, 0.5], "step": 0.05},
    "window": {"int": [1, 400]},
}


def suggest(trial, space):
    point = {}
    for name, domain in space.items():
        when = domain.get("when", {})
        if any(point.get(parent) not in allowed for parent, allowed in when.items()):
            continue
        if "choice" in domain:
            point[name] = trial.suggest_categorical(name, domain["choice"])
        elif "float" in domain:
            point[name] = trial.suggest_float(name, *domain["float"], step=domain.get("step"))
        elif "log_float" in domain:
            point[name] = trial.suggest_float(name, *domain["log_float"], log=True)
        elif "int" in domain:
            point[name] = trial.suggest_int(name, *domain["int"])
        else:
            point[name] = trial.suggest_int(name, *domain["log_int"], log=True)
    return point


def loss(point):
    value = abs(math.log10(point["rate"]) + 3.0) + 0.1 * abs(point["layers"] - 2)
    value += {"adam": 0.0, "sgd": 0.3, "rmsprop": 1.0}[point["kind"]]
    return value + 0.5 * abs(point.get("momentum", 0.6) - 0.6) + 0.2 * point["dropout"]


def objective(width, maximize):
    def of(trial):
        point = suggest(trial, MIXED)
        if trial.number % 13 == 5:
            raise ValueError("no value")
        sign = -1.0 if maximize else 1.0
        values = [sign * loss(point), sign * math.log(point["units"]) * point["layers"]]
        return values if width > 1 else values[0]

    return of


def study(name, sampler, trials, width=1, maximize=False):
    direction = "maximize" if maximize else "minimize"
    made = optuna.create_study(sampler=sampler, directions=[direction] * width)
    made.optimize(objective(width, maximize), n_trials=trials, catch=(ValueError,))
    found = get_param_importances(made, evaluator=PedAnovaImportanceEvaluator())
    rows = [
        {"params": t.params, "values": list(t.values) if t.state.name == "COMPLETE" else []}
        for t in made.trials
    ]
    return {
        "name": name,
        "space": MIXED,
        "maximize": maximize,
        "trials": rows,
        "importance": found,
    }


def split(losses):
    made = optuna.create_study(directions=["minimize"] * len(losses[0]))
    for values in losses:
        made.add_trial(optuna.trial.create_trial(values=list(values)))
    trials = made.trials
    below = []
    for count in range(1, math.ceil(0.6 * len(losses)) + 1):
        good, _ = _split_complete_trials_multi_objective(trials, made, count)
        below.append(sorted(trial.number for trial in good))
    return {"losses": losses, "below": below}


def splits():
    generator = np.random.default_rng(5)
    found = []
    for rows, width in [(40, 2), (30, 3), (24, 4)]:
        found.append(generator.normal(size=(rows, width)).round(6).tolist())
    # A front of equal and negative ones, and many on one front.
    angles = generator.uniform(0, math.pi / 2, 25)
    front = np.stack([1 - np.cos(angles), 1 - np.sin(angles)], axis=1).round(6)
    found.append(np.concatenate([front, front[:6], front[:3] - 2.0]).tolist())
    return [split(losses) for losses in found]


def main():
    def random(seed):
        return optuna.samplers.RandomSampler(seed=seed)

    def tpe(seed):
        return optuna.samplers.TPESampler(seed=seed)

    studies = [
        study("random", random(1), 60),
        study("tpe", tpe(2), 80),
        study("maximized", tpe(3), 45, maximize=True),
        study("two objectives", random(4), 60, width=2),
        study("few", random(5), 4),
    ]
    print(json.dumps({"studies": studies, "splits": splits()}))


main()
