#!/usr/bin/env bash
# The demo: a service that counts people under a street camera moves from the edge to the cloud and
# back while every frame is answered. Says how long it takes, builds what it needs, and leaves
# target/demo/demo.json and target/demo/demo.html.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${CLOUDSKIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cloudskin}
programs=${CARGO_TARGET_DIR:-target}/release

echo "The demo takes about 3 minutes: its street camera plays in real time."
[ -x "$programs/cloudskin" ] || echo "The first time it also builds everything: 10 to 20 minutes on two cores."
[ -f "$cache/media/vtest.avi" ] || echo "The first time it also downloads about 96 MB for the video."

cargo build --release --locked -p cloudskin -p benches
clip=$(CLOUDSKIN_CACHE=$cache examples/mobility/fetch-clip.sh)
exec "$programs/demo" --cloudskin "$programs/cloudskin" --video "$clip" --output target/demo
