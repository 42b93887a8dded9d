#!/bin/sh
# Run the tests that need a GPU, then benchmarks/accelerator.py, in one go on a bare machine without a network.
# Usage: benchmarks/accelerator.sh [-w WHEELS] [-o FOLDER] [OPTIONS of accelerator.py, such as --device cpu --quick]
#   -w  folder of wheels that this Python lacks; they go to a temporary folder
#   -o  folder for gpu-tests.txt, accelerator.json and accelerator.md; the present one if not given
# It prints as it goes. The tests have two minutes, the measurements four (--budget).
# `benchmarks/accelerator_table.py FOLDER/accelerator.json --into benchmarks/RESULTS.md` puts its tables there.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
wheels='' out=.
while [ $# -gt 1 ]; do
  case $1 in
    -w) wheels=$2 ;;
    -o) out=$2 ;;
    *) break ;;
  esac
  shift 2
done
mkdir -p "$out"
python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1 TORCHANI_NO_WARN_EXTENSIONS=1 PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
if [ -n "$wheels" ]; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl || exit
  export PYTHONPATH="$PYTHONPATH:$site"
fi
"$python" -c 'import sys, numpy, torch, numba; print("python", sys.version.split()[0], "numpy", numpy.__version__,
"torch", torch.__version__, "numba", numba.__version__)' || exit
command -v nvidia-smi > /dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader

echo "tests that need a GPU"
(cd "$root" && grep -rlE 'mark\.gpu' tests --include='test_*.py' |
  xargs timeout 120 "$python" -m pytest -q -m gpu -p no:cacheprovider --durations=5) > "$out/gpu-tests.txt" 2>&1
tests=$?
tail -n 40 "$out/gpu-tests.txt"

echo "measurements"
"$python" "$root/benchmarks/accelerator.py" --json "$out/accelerator.json" --table "$out/accelerator.md" "$@"
measured=$?
[ "$tests" -eq 0 ] || [ "$tests" -eq 5 ] || exit "$tests"
exit "$measured"
