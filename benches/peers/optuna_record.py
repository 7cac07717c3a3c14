"""Records what Optuna 5 makes of some histories, for unit tests to compare with.

tests/data/pruners.json: at which step Optuna's pruners stop each of some trials in a row.
tests/data/tpe.json: what its default sampler makes of histories. For each, Optuna's own code chooses a next point; its acquisition values (log l - log g) are kept
for its candidates and for points from all over the space, each time that it draws some parameters
together. A unit test compares ours with them.

    python benches/peers/optuna_record.py

needs optuna (5 or later). Two things to know: a failed trial of ours counts as the worst, which Optuna
calls infeasible (it looks past trials that it calls failed), and numpy sorts equal values in an order
that depends on the machine, so the sort is made stable here (the script prints what that changes).
"""

import json
import math
import warnings
from pathlib import Path

import numpy
import optuna
from optuna.samplers._tpe import parzen_estimator
from optuna.trial import TrialState

DOMAINS = {
    "x": {"float": [-5.0, 10.0]},
    "rate": {"log_float": [1e-5, 0.1]},
    "layers": {"int": [1, 6]},
    "even": {"int": [2, 11], "step": 4},
    "units": {"log_int": [1, 500]},
    "dropout": {"float": [0.1, 0.75], "step": 0.2},
    "kind": {"choice": ["adam", "sgd", "rmsprop"]},
    "single": {"choice": ["only"]},
    "momentum": {"float": [0.0, 1.0], "when": {"kind": ["sgd"]}},
    "nesterov": {"choice": [False, True], "when": {"kind": ["sgd"]}},
}

# Name, direction, parameters, trials, and which share of them is pruned, failed and pending.
HISTORIES = [
    ("the first after the start", "minimize", ["x", "rate"], 10, (0, 0, 0)),
    ("numbers", "minimize", ["x", "rate", "layers", "even", "units", "dropout"], 60, (0, 0, 0)),
    ("all states", "maximize", ["rate", "layers", "kind"], 70, (0.3, 0.1, 0.1)),
    ("conditions", "minimize", ["kind", "momentum", "nesterov", "rate", "single"], 60, (0.1, 0.1, 0.1)),
    ("few with the condition", "minimize", ["kind", "momentum", "x"], 14, (0.1, 0, 0.1)),
    ("pruned ones among the good", "minimize", ["x", "layers"], 50, (0.95, 0, 0)),
    ("the most good ones", "minimize", ["layers"], 270, (0, 0, 0.02)),
]


def distribution(param):
    match {key: value for key, value in param.items() if key != "when"}:
        case {"float": [low, high], "step": step}:
            return optuna.distributions.FloatDistribution(low, high, step=step)
        case {"float": [low, high]}: return optuna.distributions.FloatDistribution(low, high)
        case {"log_float": [low, high]}:
            return optuna.distributions.FloatDistribution(low, high, log=True)
        case {"int": [low, high], "step": step}:
            return optuna.distributions.IntDistribution(low, high, step=step)
        case {"int": [low, high]}: return optuna.distributions.IntDistribution(low, high)
        case {"log_int": [low, high]}:
            return optuna.distributions.IntDistribution(low, high, log=True)
        case {"choice": values}: return optuna.distributions.CategoricalDistribution(values)


def draw(name, rng):
    """A value of a parameter, rounded so that the record stays small; the ends come up too."""
    dist = distribution(DOMAINS[name])
    if isinstance(dist, optuna.distributions.CategoricalDistribution):
        return dist.choices[rng.integers(len(dist.choices))]
    share = rng.choice([0.0, 1.0, rng.random()], p=[0.03, 0.03, 0.94])
    low, high = (math.log(dist.low), math.log(dist.high)) if dist.log else (dist.low, dist.high)
    value = low + share * (high - low)
    value = math.exp(value) if dist.log else value
    if dist.step is not None:
        value = round(dist.low + round((value - dist.low) / dist.step) * dist.step, 6)
    else:
        value = float(f"{value:.5g}")
    value = min(max(value, dist.low), dist.high)
    return int(value) if isinstance(dist, optuna.distributions.IntDistribution) else value


def draw_point(names, rng):
    point = {}
    for name in names:
        when = DOMAINS[name].get("when", {})
        if all(point.get(parent) in allowed for parent, allowed in when.items()):
            point[name] = draw(name, rng)
    return point


def draw_trial(names, shares, rng):
    pruned, failed, pending = shares
    state = rng.choice(["pruned", "failed", "pending", "complete"],
                       p=[pruned, failed, pending, 1 - sum(shares)])
    trial = {"state": str(state), "point": draw_point(names, rng)}
    # Losses repeat, so that ties show.
    if state in ("complete", "pruned"):
        trial["value"] = float(f"{rng.normal():.2g}")
    if state == "pruned":
        trial["step"] = int(rng.integers(1, 5))
    return trial


def frozen(trial):
    states = {"complete": TrialState.COMPLETE, "failed": TrialState.COMPLETE,
              "pruned": TrialState.PRUNED, "pending": TrialState.RUNNING}
    point = trial["point"]
    extra = {}
    if trial["state"] == "complete":
        extra["value"] = trial["value"]
    if trial["state"] == "failed":
        extra["value"], extra["constraints"] = 0.0, {"failed": 1.0}
    if trial["state"] == "pruned":
        extra["intermediate_values"] = {trial["step"]: trial["value"]}
    return optuna.trial.create_trial(
        state=states[trial["state"]], params=point,
        distributions={name: distribution(DOMAINS[name]) for name in point}, **extra)


class Recorder(optuna.samplers.TPESampler):
    """Optuna's own sampler, which also notes what it works out."""

    def __init__(self, rng):
        super().__init__(seed=1)
        self.calls, self.own = [], rng

    def _compute_acquisition_func(self, samples, below, above):
        promises = super()._compute_acquisition_func(samples, below, above)
        names = list(samples)
        points = [draw_point_of(names, self.own) for _ in range(8)]
        far = {name: numpy.array([distribution(DOMAINS[name]).to_internal_repr(point[name])
                                  for point in points]) for name in names}
        far_promises = super()._compute_acquisition_func(far, below, above)
        self.calls.append((names, samples, promises, far, far_promises))
        return promises


def draw_point_of(names, rng):
    return {name: draw(name, rng) for name in names}


def record(trials, names, direction, rng):
    """Lets Optuna choose a point after some trials; gives what it worked out on the way."""
    study = optuna.create_study(direction=direction, sampler=Recorder(rng))
    study.add_trials([frozen(trial) for trial in trials])
    trial = study.ask()
    for name in names:
        # Conditions are passed over, so that parameters that few trials have are drawn too.
        trial._suggest(name, distribution(DOMAINS[name]))
    draws = []
    for params, samples, promises, far, far_promises in study.sampler.calls:
        candidates = []
        for source, values, count in ((samples, promises, 6), (far, far_promises, 8)):
            for index in range(min(count, len(values))):
                at = [distribution(DOMAINS[name]).to_external_repr(source[name][index].item())
                      for name in params]
                candidates.append({"at": at, "promise": float(values[index])})
        draws.append({"params": params, "candidates": candidates})
    return draws


# Name of ours, Optuna's own, direction.
PRUNERS = [
    ({"kind": "asha"}, optuna.pruners.SuccessiveHalvingPruner(min_resource=1), "minimize"),
    ({"kind": "asha", "min_resource": 2, "reduction": 3},
     optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3), "maximize"),
    ({"kind": "median"}, optuna.pruners.MedianPruner(), "minimize"),
    ({"kind": "median", "startup": 2, "warmup": 4},
     optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=4), "maximize"),
]


def record_pruner(ours, pruner, direction, rng):
    study = optuna.create_study(direction=direction, pruner=pruner)
    curves, stops = [], []
    for _ in range(40):
        end, speed = rng.normal(), rng.random()
        # One decimal, so that values repeat.
        curve = [round(end + 3 * speed ** step + 0.3 * rng.normal(), 1) for step in range(1, 13)]
        trial, stop = study.ask(), None
        for step, value in enumerate(curve, 1):
            trial.report(value, step)
            if trial.should_prune():
                stop = step
                break
        state = TrialState.COMPLETE if stop is None else TrialState.PRUNED
        study.tell(trial, curve[-1] if stop is None else None, state=state)
        curves.append(curve)
        stops.append(stop)
    return {"pruner": ours, "direction": direction, "curves": curves, "stops": stops}


def write(name, key, records):
    path = Path(__file__).resolve().parents[2] / "tests/data" / name
    path.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(record, separators=(",", ":")) for record in records)
    path.write_text(f'{{"optuna":"{optuna.__version__}","{key}":[\n{lines}\n]}}\n')
    print(f"{name}: {path.stat().st_size} bytes")


def main():
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    argsort, histories, moved = numpy.argsort, [], 0.0
    for seed, (name, direction, names, count, shares) in enumerate(HISTORIES):
        rng = numpy.random.default_rng(seed)
        trials = [draw_trial(names, shares, rng) for _ in range(count)]
        plain = record(trials, names, direction, numpy.random.default_rng(seed))
        parzen_estimator.np.argsort = lambda values, **extra: argsort(values, **{"kind": "stable", **extra})
        draws = record(trials, names, direction, numpy.random.default_rng(seed))
        parzen_estimator.np.argsort = argsort
        for one, other in zip(plain, draws):
            pairs = zip(one["candidates"], other["candidates"])
            moved = max([moved, *(abs(a["promise"] - b["promise"]) for a, b in pairs if a["at"] == b["at"])])
        space = {name: DOMAINS[name] for name in names}
        histories.append({"name": name, "direction": direction, "space": space,
                          "trials": trials, "draws": draws})
    write("tpe.json", "histories", histories)
    print(f"a stable sort moves an acquisition value by at most {moved:.3g}")
    rng = numpy.random.default_rng(9)
    write("pruners.json", "pruners", [record_pruner(*pruner, rng) for pruner in PRUNERS])


if __name__ == "__main__":
    main()
