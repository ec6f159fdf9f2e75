#!/usr/bin/env bash
# Style, types, layers and tests, in an environment of its own.
#   bash tests/check.sh          what every change must pass, in minutes
#   bash tests/check.sh --fast   without the tests that use ms-swift or take half a second or more
#   bash tests/check.sh --all    with the tests that take long, and with more examples
# Further words go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
which=(--all)
case "${1:-}" in
    --fast) which=(-m "not swift and not slow"); shift ;;
    --all) shift ;;
    *) which=() ;;
esac

inputs=$(cat pyproject.toml constraints.txt <(python3 --version) | sha256sum)
if [ "$(cat "$venv/inputs" 2> /dev/null)" != "$inputs" ]; then
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
    echo "$inputs" > "$venv/inputs"
fi
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/lint-imports" --no-cache > /dev/null || "$venv/bin/lint-imports" --no-cache
said=$(mktemp)
trap 'rm -f "$said"' EXIT
"$venv/bin/mypy" > "$said" 2>&1 & # beside the tests, which leave a core idle now and then
types=$!
status=0
# files in the order of tests/conftest.py, the longest first
"$venv/bin/python" -m pytest --numprocesses "${WORKERS:-2}" --dist loadfile --no-loadscope-reorder "${which[@]}" "$@" \
    || status=$?
wait "$types" || status=$?
cat "$said"
exit "$status"
