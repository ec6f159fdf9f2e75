#!/usr/bin/env bash
# With other versions than those installed: the tests of the templates, and every backbone from training to a score.
#
#     VENV=.venv bash tests/versions.sh            each line of README's table below
#     VENV=.venv bash tests/versions.sh 4.6.0      the lines that hold this
#
# A line's packages go, without their dependencies, into a folder of their own that comes before the environment's.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(realpath "${VENV:-.venv}")
overlays=$(mkdir -p "${OVERLAYS:-.overlays}" && realpath "${OVERLAYS:-.overlays}")
old_hub="tokenizers==0.22.2 huggingface_hub==0.36.2" # for transformers 4
combinations=(
    "ms-swift==4.5.0"
    "ms-swift==4.6.0"
    "transformers==4.57.6 $old_hub"
)
failed=()
for packages in "${combinations[@]}"; do
    [[ $packages == *"${1:-}"* ]] || continue
    folder="$overlays/${packages// /_}"
    if [ ! -d "$folder" ]; then
        "$venv/bin/python" -m pip install --quiet --no-deps --target "$folder.part" ${packages}
        mv "$folder.part" "$folder"
    fi
    echo "=== $packages"
    PYTHONPATH="$folder" "$venv/bin/python" -m pytest -q tests/test_template.py tests/test_backbones.py || failed+=("$packages")
done
[ ${#failed[@]} = 0 ] || { printf 'failed: %s\n' "${failed[@]}"; exit 1; }
