#!/usr/bin/env bash
# The wheel and the sdist, built, and each tried in an environment of its own from another folder (two times 6 GB of disk).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/build"
"$work/build/bin/pip" install --quiet build
"$work/build/bin/python" -m build --outdir dist .
for package in dist/*.whl dist/*.tar.gz; do
    echo "== $package"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --constraint constraints.txt "$package"
    mkdir "$work/elsewhere"
    cp tests/smoke.sh "$work/elsewhere"
    (cd "$work/elsewhere" && PATH="$work/venv/bin:$PATH" bash smoke.sh)
    rm -rf "$work/venv" "$work/elsewhere"
done
