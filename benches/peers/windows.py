"""Cuts the windows that `runner` cuts, from the Parquet files that its `preprocess` wrote."""

import numpy as np
import pandas as pd


def windows(path, window):
    """Gives inputs [windows, steps, features] and targets [windows, 1].

    A window is rows of one function in order of time; beside each row stands the target of the row
    before it, and the target is that of the window's last row.
    """
    inputs, targets = [], []
    table = pd.read_parquet(path).sort_values(["FunctionID", "Timestamp"], kind="stable")
    for _, rows in table.groupby("FunctionID"):
        target = rows["ResponseTime"].to_numpy("float32")
        features = rows.drop(columns=["FunctionID", "Timestamp", "ResponseTime"]).to_numpy(
            "float32"
        )
        seen = np.column_stack([features[1:], target[:-1]])
        inputs.append(np.lib.stride_tricks.sliding_window_view(seen, window, axis=0).swapaxes(1, 2))
        targets.append(target[window:, None])
    return np.ascontiguousarray(np.concatenate(inputs)), np.concatenate(targets)
