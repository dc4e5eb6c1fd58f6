#!/bin/sh
# Rewrites the hash-pinned locks from pyproject.toml; run by `make lock`.
set -eu
cd "$(dirname "$0")/.."
compile() {
    out=$1; shift
    ${UV:-.venv/bin/uv} pip compile --quiet --generate-hashes --no-emit-index-url --no-header \
        --python-version 3.11 --python-platform x86_64-unknown-linux-gnu \
        "$@" pyproject.toml -o "requirements/$out.txt"
}
compile dev --extra operator --extra trainer --extra dev
# The images hold the versions that the tests ran with.
compile operator --extra operator -c requirements/dev.txt
compile trainer --extra trainer --extra wandb --extra mlflow -c requirements/dev.txt
# What installs the others.
grep '^uv==' requirements/dev.txt | cut -d' ' -f1 | ${UV:-.venv/bin/uv} pip compile --quiet \
    --generate-hashes --no-emit-index-url --no-header --no-annotate - -o requirements/bootstrap.txt
