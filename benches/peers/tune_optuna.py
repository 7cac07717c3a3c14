"""Runs the list of trials with Optuna and PyTorch.

usage: tune_optuna.py TRAIN.parquet VALIDATION.parquet EPOCHS JOBS
Prints the number of trials and the seconds of the search alone.
"""

import sys
import time

import optuna
import torch

from network_torch import Network, epoch
from windows import windows

jobs = int(sys.argv[4])
torch.set_num_threads(2 // jobs)
x, y = map(torch.from_numpy, windows(sys.argv[1], 24))
validation, actual = map(torch.from_numpy, windows(sys.argv[2], 24))


def objective(trial):
    torch.manual_seed(trial.suggest_categorical("seed", [1, 2]))
    network = Network(x.shape[2], trial.suggest_categorical("units", [32, 64, 96, 128]))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(int(sys.argv[3])):
        epoch(network, optimizer, x, y)
        network.eval()
        with torch.no_grad():
            loss = torch.nn.functional.mse_loss(network(validation), actual).item()
    return loss


optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study()
# `GridSampler` may give one combination twice where jobs run beside each other.
for units in [32, 64, 96, 128]:
    for seed in [1, 2]:
        study.enqueue_trial({"units": units, "seed": seed})
started = time.perf_counter()
study.optimize(objective, n_trials=8, n_jobs=jobs)
seconds = time.perf_counter() - started
done = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
print(len(done), seconds)
