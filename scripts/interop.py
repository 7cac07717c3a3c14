"""Opens what `runner` exported as its users do, and fails where it is not what `runner` has.

Reads lines from standard input:

    model EXPORT PREDICTIONS DATA    a model for Keras, what `runner predict` made of the same rows
                                     raw, and those rows as `preprocess` encoded them
    table EXPORT ORIGINAL            a table, and the one that it is an export of
"""

import json
import sys
import zipfile

import h5py
import keras
import numpy as np
import pandas as pd

# The largest difference of two predictions, on the scale that the network was trained on.
TOLERANCE = 1e-5


def card(path):
    """What `runner` says of a model, which travels in the file."""
    if path.endswith(".h5"):
        with h5py.File(path) as file:
            return json.loads(file.attrs["runner"])
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("metadata.json"))["runner"]


def windows(card, keys, data):
    """All windows of each series [n, window, inputs], and the keys of their last rows."""
    size, inputs, ends = card["window"], [], []
    for _, rows in data.groupby(keys[:-1]) if keys[:-1] else [(None, data)]:
        rows = rows.sort_values(keys[-1], kind="stable")
        x = rows[card["features"]].to_numpy("float32")
        if card["target_history"]:
            past = rows[[card["target"]]].to_numpy("float32")
            if card["horizon"] == 0:
                x, past, rows = x[1:], past[:-1], rows[1:]
            x = np.hstack([x, past])
        if len(x) >= size:
            inputs.append(np.lib.stride_tricks.sliding_window_view(x, size, axis=0).swapaxes(1, 2))
            ends.append(rows[keys][size - 1 :])
    return np.concatenate(inputs), pd.concat(ends)


def predict(model, x, levels):
    """One row for each window and step, one column for each quantile, and those in order."""
    return np.sort(model.predict(x, batch_size=256, verbose=0).reshape(-1, max(1, levels)), axis=1)


def swap_gates(model):
    """Moves the first layer's gates (or units) round by one: a mistake that must be seen."""
    layer = next(layer for layer in model.layers if layer.get_weights())
    kernel, second, *rest = layer.get_weights()
    shift = second.shape[0] if second.ndim == 2 else 1
    layer.set_weights([np.roll(kernel, shift, axis=1), second, *rest])


def check_model(export, predictions, data):
    about, model = card(export), keras.models.load_model(export)
    transform = about["transform"]
    keys = [key for key in (transform["series"], transform["time"]["column"]) if key]
    x, ends = windows(about, keys, read(data))
    horizon, quantiles = about["horizon"], about["quantiles"]
    steps = range(1 if about["outputs"] == "path" else horizon, horizon + 1)
    ends = ends.loc[ends.index.repeat(len(steps))].reset_index(drop=True)
    if horizon:
        ends["step"] = np.tile(steps, len(x))
    ours = read(predictions)
    names = [f"predicted_{level}" for level in quantiles] or ["predicted"]
    number = next(number for number in transform["numbers"] if number["column"] == about["target"])
    ours[names] = (ours[names] - number["offset"]) / number["scale"]

    def difference():
        theirs = pd.concat([ends, pd.DataFrame(predict(model, x, len(quantiles)), columns=names)], axis=1)
        both = ours.merge(theirs, on=list(ends.columns), suffixes=(None, " in keras"))
        if not len(both) == len(ours) == len(theirs):
            raise ValueError(f"{len(ours)} predictions, {len(theirs)} of Keras, {len(both)} of the same rows")
        return np.abs(both[names].to_numpy() - both[[f"{name} in keras" for name in names]].to_numpy()).max()

    found = difference()
    swap_gates(model)
    swapped = difference()
    print(f"{export}: {len(ours)} predictions differ by {found:.1e} at most, with gates swapped by {swapped:.1e}")
    if not found <= TOLERANCE:
        raise ValueError(f"the predictions differ by {found}")
    if not swapped > 100 * TOLERANCE:
        raise ValueError("swapped gates are not seen, so this check says nothing")


def check_table(export, original):
    ours, theirs = read(original), read(export)
    for name in ours.select_dtypes("datetimetz"):
        theirs[name] = pd.to_datetime(theirs[name], utc=True)
    pd.testing.assert_frame_equal(theirs, ours, check_dtype=False, check_exact=True)
    print(f"{export}: {len(theirs)} rows of {len(theirs.columns)} columns are those of {original}")


def read(path):
    return pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path)


failures = 0
for line in sys.stdin:
    kind, export, *rest = line.split()
    try:
        {"model": check_model, "table": check_table}[kind](export, *rest)
    except Exception as error:
        failures += 1
        print(f"{export}: {type(error).__name__}: {error}", file=sys.stderr)
sys.exit(failures > 0)
