#!/usr/bin/env bash
# Measures `runner` beside what people would use in its place. See usage below.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: benches/peers/run.sh [--venv DIR] [--quick] [--rounds N] [lstm|tune|job]...

Builds `runner` for release, runs it and its peers in turn on the same data, and prints a Markdown
table of ratios with the machine that they are from. All three unless some are named:

  lstm  ms of a training step: PyTorch and Keras, by shape and threads
  tune  trials a minute over a fixed list of eight: Keras Tuner, Optuna with PyTorch
  job   pipelines/lambda.yaml from an empty store: the same job in Python

  --venv DIR   the Python environment to use as it is, or VENV in the environment; without it, one is
               made in target/peers-venv from benches/peers/requirements.txt (some 8 GB)
  --quick      small sizes and few rounds: a check of the programs in less than 5 minutes
  --rounds N   rounds, each of every program once in turn; 5 unless given

All of it takes about an hour on two cores. It uses two cores at most. A peer that fails is told
in the table, and the exit code is 1. Runs that are not on a quiet machine are noise.
TEXT
}

cd "$(dirname "$0")/../.."
venv=${VENV:-}
arguments=()
while (($#)); do
    case $1 in
        -h | --help) usage; exit ;;
        --venv) venv=${2:?--venv needs a folder}; shift 2 ;;
        *) arguments+=("$1"); shift ;;
    esac
done

if [[ -z $venv ]]; then
    venv=target/peers-venv
    # The copy of the list is written last, so that an installation cut short is begun again.
    if ! cmp -s benches/peers/requirements.txt "$venv/installed.txt"; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --requirement benches/peers/requirements.txt
        cp benches/peers/requirements.txt "$venv/installed.txt"
    fi
elif [[ ! -x $venv/bin/python ]]; then
    echo "run.sh: \`$venv\` is not a Python environment; leave --venv out to have one made" >&2
    exit 2
fi

cargo build --release --locked --bin runner
exec "$venv/bin/python" benches/peers/measure.py --runner "${CARGO_TARGET_DIR:-target}/release/runner" "${arguments[@]}"
