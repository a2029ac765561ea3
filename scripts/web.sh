#!/usr/bin/env bash
# Builds the dashboard into web/dist. Without a Node.js that is new enough it says so, and the
# binary has a page that says the same.
set -euo pipefail
cd "$(dirname "$0")/../web"

wanted=20.19.0
say() { echo "web: $*" >&2; }

found=$(node --version 2>/dev/null | tr -d v || true)
if [ -z "$found" ] || [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -1)" != "$wanted" ]; then
    say "Node.js ${found:-is missing}: the dashboard needs $wanted or newer, and is left out"
    exit 0
fi
export npm_config_loglevel=error npm_config_update_notifier=false
if ! cmp -s package-lock.json node_modules/.cloudskin-lock; then
    say "fetching what the dashboard is built with"
    npm ci --no-audit --no-fund --ignore-scripts >&2
    cp package-lock.json node_modules/.cloudskin-lock
fi
npm run --silent build >&2
touch dist/.gitkeep
