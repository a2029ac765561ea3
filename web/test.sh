#!/usr/bin/env bash
# Tests the dashboard in Debian's Chromium against a continuum that runs; pictures of it are kept in the
# target folder. Without a dashboard, for want of Node.js, there is nothing to test.
set -euo pipefail
cd "$(dirname "$0")"

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/cloudskin/target}
if [ ! -s dist/dashboard.js ]; then
    echo "web: the dashboard was not built: not tested" >&2
    exit 0
fi
(cd .. && cargo build --quiet --locked -p cloudskin)
export CLOUDSKIN=$CARGO_TARGET_DIR/debug/cloudskin PICTURES=$CARGO_TARGET_DIR/web
exec node --test --test-reporter=spec --test-timeout=180000 tests/
