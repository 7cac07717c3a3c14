#!/usr/bin/env bash
# Measures `runner` beside ninja on the same DAG of commands. See usage below.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: benches/dag/run.sh [--ninja PROGRAM] [--quick] [--rounds N] [--folder DIR] [--no-build]

Builds `runner` for release, makes the same layered DAG of `echo` commands for it and for ninja, runs
both in turns, and prints a Markdown table of medians and ratios; then the time and the peak memory of
25,000, 50,000 and 100,000 stages.

  --ninja PROGRAM  the ninja to use; without it, PyPI's is installed into target/ninja-venv
  --quick          1,000 stages alone and few rounds: a check of the program in a minute
  --rounds N       rounds, each of both programs in turn; 7 unless given
  --folder DIR     where the DAGs are made and run, which are left out of it at the end; a file
                   system of the kind that projects lie on. target/dag unless given
  --no-build       measure the `runner` that was built last

Ratios count, and of a quiet machine: both programs are measured in the same minutes.
TEXT
}

cd "$(dirname "$0")/../.."
arguments=()
ninja=
build=yes
while (($#)); do
    case $1 in
        -h | --help) usage; exit ;;
        --ninja) ninja=${2:?--ninja needs a program}; shift 2 ;;
        --no-build) build=; shift ;;
        *) arguments+=("$1"); shift ;;
    esac
done

if [[ -z $ninja ]]; then
    ninja=target/ninja-venv/bin/ninja
    if [[ ! -x $ninja ]]; then
        python3 -m venv target/ninja-venv
        target/ninja-venv/bin/pip install --quiet ninja
    fi
fi

[[ -z $build ]] || cargo build --release --locked --bin runner
exec python3 benches/dag/measure.py --ninja "$ninja" \
    --runner "${CARGO_TARGET_DIR:-target}/release/runner" "${arguments[@]}"
