"""The three works that are measured: a training step, a list of trials, the whole job."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from tempfile import TemporaryDirectory

from programs import HERE, Failed, Runner, python, run, worker

FUNCTIONS = 9
BATCH = 32


@dataclass
class Row:
    """A work's figures, round by round, for `runner` and a peer; none where one failed."""

    work: str
    ours: str
    our_figures: list
    peer: str
    peer_figures: list


def several(number, what):
    return f"{number} {what}{'' if number == 1 else 's'}"


def in_turn(work, programs, rounds, failures):
    """Asks each program for a figure in each round, every second round backwards.

    One that fails is told and not asked again.
    """
    figures = {name: [] for name in programs}
    failed = set()
    for number in range(rounds):
        names = list(programs)
        for name in names if number % 2 == 0 else reversed(names):
            if name in failed:
                continue
            try:
                figures[name].append(programs[name](number))
                told = f"{figures[name][-1]:.3f}"
            except Failed as failure:
                failed.add(name)
                told = f"failed, {failure}"
                failures.append(f"{work}, {name}: {failure}")
            print(f"{work}, round {number + 1} of {rounds}, {name}: {told}", file=sys.stderr)
    return {name: [] if name in failed else values for name, values in figures.items()}


def better(figures, names, best):
    """Gives that of several variants of a peer whose median is best; a failed one is none."""
    there = [name for name in names if figures[name]] or names[:1]
    return best(there, key=lambda name: median(figures[name] or [0]))


def lstm(binary, quick, rounds, failures):
    """Milliseconds of a training step, by shape: units of both layers, steps of a window."""
    rows = []
    # The last number is how many steps an epoch has, for each of nine functions.
    for units, window, steps in [(64, 24, 40), (128, 24, 20), (64, 1, 200)]:
        steps = steps // 10 if quick else steps
        with TemporaryDirectory() as folder:
            rows += step(
                binary, folder, units, window, steps, rounds or (3 if quick else 5), failures
            )
    return rows


def step(binary, folder, units, window, steps, rounds, failures):
    work = f"LSTM {units} + {units}, {several(window, 'step')}: ms a training step"
    runner = Runner(binary, folder)
    train, validation = steps * BATCH + window, window + 1
    values = {"train": train, "validation": validation, "rows": (train + validation) * FUNCTIONS}
    values |= {"window": window, "units": f"[{units}, {units}]"}
    runner.run(HERE / "step.yaml", values, ["preprocess"])
    data = runner.artifact("step/preprocess/train.parquet")

    def ours(slots):
        def figure(number):
            # Another seed each time, since a training that was run is not run again.
            seed = {"seed": 2 * number + slots}
            events, _ = runner.run(HERE / "step.yaml", values | seed, ["train"], slots)
            times = {}
            for time, event in events:
                if event["event"] == "stage_progress" and event["metrics"]:
                    times.setdefault(event["done"], time)
            if set(times) != {1, 2, 3}:
                raise Failed(f"epochs {sorted(times)} of 3 were told")
            # The first epoch warms up.
            return 1e3 * (times[3] - times[1]) / (2 * steps * FUNCTIONS)

        return figure

    ours = {several(slots, "slot"): ours(slots) for slots in [1, 2]}
    torch = {f"PyTorch, {several(n, 'thread')}": [n] for n in [1, 2]}
    fused = {f"{name}, fused Adam": [*n, "fused"] for name, n in torch.items()}
    with ExitStack() as stack:
        programs = dict(ours)
        for name, more in (torch | fused).items():
            command = python("step_torch.py", data, window, units, *more)
            ask = stack.enter_context(worker(command, folder))
            programs[name] = lambda _, ask=ask: ask()
        ask = stack.enter_context(worker(python("step_keras.py", data, window, units), folder))
        programs["Keras"] = lambda _, ask=ask: ask()
        figures = in_turn(work, programs, rounds + 1, failures)
    # The first round warms up.
    figures = {name: values[1:] for name, values in figures.items()}
    peers = [better(figures, list(torch), min), better(figures, list(fused), min), "Keras"]
    return [Row(work, own, figures[own], peer, figures[peer]) for peer in peers for own in ours]


def tune(binary, quick, rounds, failures):
    """Trials a minute over a fixed list of eight, the data made beforehand.

    For `runner` it is the whole process, from an empty store of trials; for the others the search
    alone, without their imports and the reading of the data.
    """
    rows, epochs = (2000, 1) if quick else (10_000, 5)
    work = f"8 trials, {rows} rows, {several(epochs, 'epoch')}: trials a minute"
    values = {"rows": rows, "epochs": epochs}

    def prepared(folder):
        runner = Runner(binary, folder)
        runner.run(HERE / "tune.yaml", values, ["preprocess"])
        return runner

    def ours(_):
        with TemporaryDirectory() as folder:
            runner = prepared(folder)
            events, seconds = runner.run(HERE / "tune.yaml", values, ["tune"])
        done = [event for _, event in events if event["event"] == "trial_finished"]
        return rate(sum(event["outcome"] == "ran" for event in done), seconds)

    with TemporaryDirectory() as folder:
        splits = prepared(folder).artifact("tune/preprocess")
        data = [splits / "train.parquet", splits / "validation.parquet", epochs]

        def peer(program, *more):
            def figure(_):
                printed, _ = run(python(program, *data, *more), folder)
                trials, seconds = printed.split()[-2:]
                return rate(int(trials), float(seconds))

            return figure

        optuna = {
            f"Optuna + PyTorch, {several(n, 'job')}": peer("tune_optuna.py", n) for n in [1, 2]
        }
        programs = {"2 slots": ours, **optuna, "Keras Tuner": peer("tune_keras.py")}
        figures = in_turn(work, programs, rounds or (1 if quick else 5), failures)
    peers = ["Keras Tuner", better(figures, list(optuna), max)]
    return [Row(work, "2 slots", figures["2 slots"], peer, figures[peer]) for peer in peers]


def rate(trials, seconds):
    """Gives trials a minute; all eight must have run to their end."""
    if trials != 8:
        raise Failed(f"{trials} of 8 trials ran to their end")
    return 60 * trials / seconds


def job(binary, quick, rounds, failures):
    """Seconds of the main job from nothing, whole processes, and of the same job in Python.

    The latter takes so long that it is measured once, in the middle of the rounds.
    """
    rows, epochs, trials = (2000, 2, 2) if quick else (20_000, 12, 20)
    work = f"the main job, {rows} rows, {epochs} epochs, {trials} trials: seconds"
    values = {"rows": rows, "train.params.epochs": epochs, "tune.params.trials": trials}
    pipeline = HERE.parent.parent / "pipelines" / "lambda.yaml"

    def ours(_):
        with TemporaryDirectory() as folder:
            return Runner(binary, folder).run(pipeline, values)[1]

    def original(_):
        with TemporaryDirectory() as folder:
            return run(python("job_keras.py", rows, epochs, trials), folder)[1]

    rounds = rounds or (1 if quick else 5)
    before, after = -(-rounds // 2), rounds // 2
    figures = in_turn(work, {"2 slots": ours}, before, failures)["2 slots"]
    python_figures = in_turn(work, {"Python": original}, 1, failures)["Python"]
    if figures:
        more = in_turn(work, {"2 slots": ours}, after, failures)["2 slots"]
        figures = figures + more if len(more) == after else []
    return [Row(work, "2 slots", figures, "Keras, Keras Tuner (once)", python_figures)]


ALL = {"lstm": lstm, "tune": tune, "job": job}
