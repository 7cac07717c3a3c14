"""Runs the list of trials with Keras Tuner.

usage: tune_keras.py TRAIN.parquet VALIDATION.parquet EPOCHS
Prints the number of trials and the seconds of the search alone.
"""

import sys
import time

import keras_tuner

from network_keras import keras, network
from windows import windows

x, y = windows(sys.argv[1], 24)
validation = windows(sys.argv[2], 24)


def build(chosen):
    keras.utils.set_random_seed(chosen.Choice("seed", [1, 2]))
    return network(x.shape[1:], chosen.Choice("units", [32, 64, 96, 128]))


started = time.perf_counter()
tuner = keras_tuner.GridSearch(build, objective="val_loss", directory="keras_tuner", overwrite=True)
tuner.search(x, y, validation_data=validation, epochs=int(sys.argv[3]), batch_size=32, verbose=0)
seconds = time.perf_counter() - started
done = [trial for trial in tuner.oracle.trials.values() if trial.status == "COMPLETED"]
print(len(done), seconds)
