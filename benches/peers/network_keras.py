"""The network of the comparison in Keras: two LSTM layers, dropout after each, one output."""

import keras


def network(shape, units, dropout=0.2, learning_rate=1e-3):
    layers = keras.layers
    made = keras.Sequential(
        [
            keras.Input(shape),
            layers.LSTM(units, return_sequences=True),
            layers.Dropout(dropout),
            layers.LSTM(units),
            layers.Dropout(dropout),
            layers.Dense(1),
        ]
    )
    made.compile(keras.optimizers.Adam(learning_rate), "mse")
    return made
