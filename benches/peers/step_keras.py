"""Times epochs in Keras. usage: step_keras.py TRAIN.parquet WINDOW UNITS

Each line on its standard input asks for an epoch, whose ms a step it prints.
"""

import sys
import time

from network_keras import keras, network
from windows import windows


class Watch(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if not sys.stdin.readline():
            sys.exit()
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        print(1e3 * (time.perf_counter() - self.started) / self.params["steps"], flush=True)


keras.utils.set_random_seed(0)
x, y = windows(sys.argv[1], int(sys.argv[2]))
made = network(x.shape[1:], int(sys.argv[3]))
made.fit(x, y, epochs=1_000_000, batch_size=32, verbose=0, callbacks=[Watch()])
