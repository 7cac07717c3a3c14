"""The network of the comparison in PyTorch: two LSTM layers, dropout after each, one output."""

import torch
from torch import nn


class Network(nn.Module):
    def __init__(self, inputs, units):
        super().__init__()
        self.first = nn.LSTM(inputs, units, batch_first=True)
        self.second = nn.LSTM(units, units, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.dense = nn.Linear(units, 1)

    def forward(self, x):
        x, _ = self.first(x)
        x, _ = self.second(self.dropout(x))
        return self.dense(self.dropout(x[:, -1]))


def epoch(network, optimizer, x, y, batch=32):
    """Passes once over all windows in a random order."""
    network.train()
    for rows in torch.randperm(len(x)).split(batch):
        optimizer.zero_grad()
        nn.functional.mse_loss(network(x[rows]), y[rows]).backward()
        optimizer.step()
