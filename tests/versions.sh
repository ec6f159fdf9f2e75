#!/usr/bin/env bash
# With other versions than those installed: the templates' tests, and backbones from training to a score.
#
#     VENV=.venv bash tests/versions.sh            all lines below
#     VENV=.venv bash tests/versions.sh 4.5.2      those that hold this
#
# test_backbones.py leaves out those that are like another one, which pytest's --all tries too.
#
# A line's packages go, without what they depend on, into a folder of .overlays that comes before the environment's.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath -s "${VENV:-.venv}")/bin/python
combinations=(
    "ms-swift==4.5.0 transformers==5.16.1"
    "ms-swift==4.5.2 transformers==5.2.0 tokenizers==0.22.2"
    "ms-swift==4.5.2 transformers==5.16.1"
    "transformers==5.16.1"
)
failed=()
for packages in "${combinations[@]}"; do
    [[ $packages == *"${1:-}"* ]] || continue
    overlay=.overlays/${packages// /_}
    if [ ! -d "$overlay" ]; then
        rm -rf "$overlay.part"
        # shellcheck disable=SC2086 # one word a package
        "$python" -m pip install --quiet --no-deps --target "$overlay.part" $packages
        mv "$overlay.part" "$overlay"
    fi
    echo "$packages"
    PYTHONPATH=$(realpath "$overlay") "$python" -m pytest tests/test_template.py tests/test_positions.py tests/test_prompts.py tests/test_backbones.py || failed+=("$packages")
done
if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
