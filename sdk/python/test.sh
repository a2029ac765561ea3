#!/usr/bin/env bash
# Builds the wheel unoptimised, installs it into a virtual environment of its own, and tests it: types,
# stubs, behaviour. Everything lies in the target folder; a second run finds it there. Arguments go to
# pytest. `--wheel` builds an optimised wheel instead, tests that it can be imported, and says where it is.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/cloudskin/target}
work=$CARGO_TARGET_DIR/python
python=${PYTHON:-python3}

fail() { echo "sdk/python: $*" >&2; exit 1; }

# Made again when what it holds, or whose it is, changes.
environment() {
    local wanted
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "Python 3.11 or newer is needed: name one with PYTHON=/path/to/python3"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python's venv is missing: apt-get install python3-venv"
    wanted=$("$python" -VV; cat "$here/tests/requirements.txt")
    [ "$(cat "$work/holds" 2>/dev/null || true)" != "$wanted" ] || return 0
    rm -rf "$work"
    mkdir -p "$work"
    "$python" -m venv "$work/venv"
    "$work/venv/bin/pip" install -q --disable-pip-version-check -r "$here/tests/requirements.txt"
    echo "$wanted" >"$work/holds"
}

# A wheel in the folder, and in the environment.
wheel() {
    local folder=$1
    shift
    rm -rf "$folder"
    "$work/venv/bin/maturin" build --quiet --locked --interpreter "$work/venv/bin/python" \
        --manifest-path "$here/Cargo.toml" --out "$folder" "$@" >"$work/build.log" 2>&1 ||
        { cat "$work/build.log" >&2; fail "the wheel could not be built"; }
    "$work/venv/bin/pip" install -q --disable-pip-version-check --force-reinstall --no-deps "$folder"/*.whl
}

environment
if [ "${1:-}" = --wheel ]; then
    wheel "$CARGO_TARGET_DIR/wheels" --release
    "$work/venv/bin/python" -c 'import cloudskin.geds, geds_smart_open'
    ls "$CARGO_TARGET_DIR"/wheels/*.whl
    exit
fi

wheel "$work/wheels" --profile dev --auditwheel skip
# Away from the sources, so that what is tested is what is installed.
cd "$work"
export PYTHONDONTWRITEBYTECODE=1 PYTHONDEVMODE=1
venv/bin/mypy --config-file "$here/pyproject.toml" --cache-dir "$work/mypy" --no-error-summary
venv/bin/python -m mypy.stubtest --mypy-config-file "$here/pyproject.toml" --concise \
    --allowlist "$here/tests/stubtest.txt" --ignore-unused-allowlist cloudskin.geds._native |
    { grep -v '^Success' || true; }
exec venv/bin/python -m pytest -p no:cacheprovider -c "$here/pyproject.toml" --rootdir "$here" "${@:-$here/tests}"
