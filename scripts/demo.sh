#!/usr/bin/env bash
# The demo: a service that counts people under a street camera moves from the edge to the cloud and
# back while every frame is answered. Says how long it takes, builds what it needs, and leaves
# target/demo/demo.json and target/demo/demo.html. DEMO_PROFILE=dev takes the development build.
set -euo pipefail
cd "$(dirname "$0")/.."

export CLOUDSKIN_CACHE=${CLOUDSKIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cloudskin}
case ${DEMO_PROFILE:-release} in
release) flags=(--release) folder=release ;;
dev) flags=() folder=debug ;;
*) echo "demo: DEMO_PROFILE is release or dev" >&2; exit 2 ;;
esac
programs=${CARGO_TARGET_DIR:-target}/$folder

echo "The demo itself takes about a minute and a half: the street clip in its own time, and once more unmoved."
[ -x "$programs/mobility-demo" ] ||
    echo "The first time it also builds everything: 10 to 20 minutes on two cores."
[ -f "$CLOUDSKIN_CACHE/media/vtest.avi" ] ||
    echo "The first time it also downloads about 96 MB for the clip."

[ ! -x scripts/setup.sh ] || scripts/setup.sh
cargo build --locked "${flags[@]}" -p cloudskin -p mobility-demo
clip=$(examples/mobility/fetch-clip.sh)
exec "$programs/mobility-demo" --cloudskin "$programs/cloudskin" --clip "$clip" --output target/demo
