#!/usr/bin/env bash
# Make the Python environment in the folder $1: every version as pinned in constraints.txt, and the build of torch that
# fits the machine: with an NVIDIA driver the CUDA build, without one the CPU build (a tenth of the size). Further words
# are what pip then installs there; without any, this clone with all that its workflow and tests need.
set -euo pipefail
venv=$1
shift
here=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || set -- --editable "$here[workflow,cluster,deploy,dev,docs]"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet)
torch=$(grep -m1 '^torch==' "$here/constraints.txt")
torchvision=$(grep -m1 '^torchvision==' "$here/constraints.txt")

if ! "$venv/bin/python" -c "import torch, sys; sys.exit('$torch' != 'torch==' + torch.__version__.split('+')[0])" 2>/dev/null; then
	if nvidia-smi -L >/dev/null 2>&1; then
		"${pip[@]}" "$torch"
	elif ! "${pip[@]}" "$torch+cpu" 2>/dev/null; then # where pip is set up to look for CPU builds
		"${pip[@]}" uv
		"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --torch-backend cpu "$torch" "$torchvision" ||
			"${pip[@]}" "$torch" # the CUDA build runs on a CPU too; it is only larger
	fi
fi
"${pip[@]}" --constraint "$here/constraints.txt" "$@"
