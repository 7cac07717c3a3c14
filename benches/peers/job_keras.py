"""The job of pipelines/lambda.yaml as people write it in Python.

usage: job_keras.py ROWS EPOCHS TRIALS
Generates metrics, preprocesses them with pandas and scikit-learn, trains an LSTM with Keras, tunes
it with Keras Tuner and evaluates the best one; writes files as it goes, to the working folder.
"""

import sys

import keras_tuner
import numpy as np
import pandas as pd
from sklearn.preprocessing import MinMaxScaler

from network_keras import keras, network

WINDOW = 24
rows, epochs, trials = map(int, sys.argv[1:])


def generate():
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "FunctionID": draw.choice([f"function_{n}" for n in range(1, 6)], rows),
            "Timestamp": 1_704_067_200 + 60 * np.arange(rows),
            "ResponseTime": draw.uniform(0.1, 2.0, rows),
            "CPUUtilization": draw.uniform(10, 90, rows),
            "MemoryUtilization": draw.uniform(128, 1024, rows),
            "ColdStart": draw.random(rows) < 0.5,
            "ColdStartLatency": draw.uniform(0, 1, rows),
            "ThrottlingRate": draw.integers(0, 10, rows),
            "ErrorRate": (draw.random(rows) < 0.1).astype(int),
        }
    )


def preprocess(data):
    hour = pd.to_datetime(data.pop("Timestamp"), unit="s").dt.hour
    data["HourSin"], data["HourCos"] = np.sin(2 * np.pi * hour / 24), np.cos(2 * np.pi * hour / 24)
    data = pd.get_dummies(data, columns=["FunctionID"]).astype("float32")
    return pd.DataFrame(MinMaxScaler().fit_transform(data), columns=data.columns)


def build(chosen):
    units = chosen.Int("units", 32, 128, step=32)
    dropout = chosen.Float("dropout", 0.1, 0.5)
    return network(shape, units, dropout, chosen.Float("rate", 1e-4, 1e-2, sampling="log"))


def fitting():
    stopping = keras.callbacks.EarlyStopping(patience=10, restore_best_weights=True)
    slower = keras.callbacks.ReduceLROnPlateau(patience=5)
    train = {"x": x[:first], "y": y[:first], "validation_data": (x[first:last], y[first:last])}
    return train | {
        "epochs": epochs,
        "batch_size": 32,
        "callbacks": [stopping, slower],
        "verbose": 0,
    }


keras.utils.set_random_seed(0)
generate().to_csv("data.csv", index=False)
prepared = preprocess(pd.read_csv("data.csv"))
prepared.to_csv("preprocessed.csv", index=False)
y = prepared.pop("ResponseTime").to_numpy("float32")[WINDOW - 1 :]
x = np.lib.stride_tricks.sliding_window_view(prepared.to_numpy("float32"), WINDOW, axis=0)
x = np.ascontiguousarray(x.swapaxes(1, 2))
shape, first, last = x.shape[1:], int(0.7 * len(x)), int(0.85 * len(x))

model = network(shape, 64)
model.fit(**fitting())
model.save("lstm_model.h5")
tuner = keras_tuner.RandomSearch(
    build, objective="val_loss", max_trials=trials, directory="keras_tuner", overwrite=True
)
tuner.search(**fitting())
model = tuner.get_best_models(1)[0]
model.save("lstm_model.keras")
error = model.predict(x[last:], verbose=0)[:, 0] - y[last:]
print(len(tuner.oracle.trials), float(np.sqrt(np.mean(error**2))))
