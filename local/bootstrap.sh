#!/bin/sh
# Makes .venv with exactly what requirements/dev.txt locks; run by every make target.
# Needs Python 3.11 or later; on Debian as root it installs the venv module itself.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "embedtune needs Python 3.11 or later as $python: apt-get install python3, or make PYTHON=/path/to/python" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing Debian's python3-venv" >&2
        apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    else
        echo "$python has no venv module: run 'sudo apt-get install python3-venv'" >&2
        exit 1
    fi
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
if [ ! -x .venv/bin/uv ]; then
    echo "installing uv" >&2
    .venv/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/bootstrap.txt
fi
echo "installing Python packages (torch among them, 5 GB)" >&2
.venv/bin/uv pip sync --quiet --compile-bytecode --require-hashes requirements/dev.txt
.venv/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
touch .venv/.synced
