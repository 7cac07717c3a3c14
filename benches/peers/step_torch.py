"""Times epochs in PyTorch. usage: step_torch.py TRAIN.parquet WINDOW UNITS THREADS [fused]

Each line on its standard input asks for an epoch, whose ms a step it prints. `fused` is an Adam
that PyTorch does not take by itself, and is faster.
"""

import sys
import time

import torch

from network_torch import Network, epoch
from windows import windows

path, window, units, threads, *fused = sys.argv[1:]
torch.set_num_threads(int(threads))
torch.manual_seed(0)
x, y = map(torch.from_numpy, windows(path, int(window)))
network = Network(x.shape[2], int(units))
optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=bool(fused) or None)
for _ in sys.stdin:
    started = time.perf_counter()
    epoch(network, optimizer, x, y)
    print(1e3 * (time.perf_counter() - started) / -(-len(x) // 32), flush=True)
