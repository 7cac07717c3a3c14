#!/usr/bin/env bash
# Opens the exports of the main job and of every network that Keras has with Keras, pandas and
# pyarrow, and fails where a prediction or a column is not what `runner` has.
#
# The main job's are looked at where it has run: `runner run pipelines/lambda.yaml`.
set -euo pipefail
cd "$(dirname "$0")/.."

runner=target/release/runner
work=target/interop
venv=$work/venv
export TF_CPP_MIN_LOG_LEVEL=2 CUDA_VISIBLE_DEVICES=

# The virtual environment is whole when it has the list that it was made from.
if ! cmp -s scripts/interop.txt "$venv/interop.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r scripts/interop.txt
    cp scripts/interop.txt "$venv/interop.txt"
fi

# Prints the line for a model: the pipeline, the stage that trained it, the export.
model() {
    local artifacts=artifacts/$1 predictions=$work/$1-$2.parquet
    "$runner" predict "$artifacts/$2/model.safetensors" "$artifacts/generate/data.parquet" \
        -o "$predictions" >&2
    echo "model $artifacts/$3 $predictions $artifacts/preprocess/data.parquet"
}

# Prints the line for a table: the pipeline, the export, the output.
table() {
    echo "table artifacts/$1/$2 artifacts/$1/$3"
}

"$runner" run scripts/interop.yaml
{
    for network in three_layers bidirectional gru bidirectional_gru mlp; do
        model interop "$network" "$network.h5"
        model interop "${network}_again" "$network.keras"
    done
    table interop sample.csv generate/data.parquet
    table interop truth.parquet generate/truth.parquet
    table interop preprocessed.csv preprocess/data.parquet
    table interop head.parquet head/head.csv
    table interop history.csv three_layers/history.parquet
    table interop predictions.csv evaluate/predictions.parquet
    if [[ -e artifacts/lambda/lstm_model.keras ]]; then
        model lambda train lstm_model.h5
        model lambda tune lstm_model.keras
        table lambda lambda_functions_sample_data.csv generate/data.parquet
        table lambda lambda_functions_preprocessed_data.csv preprocess/data.parquet
    fi
} > "$work/exports"
"$venv/bin/python" scripts/interop.py < "$work/exports"
