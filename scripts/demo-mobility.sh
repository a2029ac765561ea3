#!/usr/bin/env bash
# The whole loop, live: a reactive and a proactive policy look after one service each under the same
# recorded load. Leaves target/demo/mobility.json and mobility.html. DEMO_PROFILE=dev takes the
# development build; MOBILITY_TRACE names the folder of recorded load. With VEHICLE=1 the service
# follows a bus along sites instead, and leaves target/demo/vehicle.json and vehicle.html.
set -euo pipefail
cd "$(dirname "$0")/.."

export CLOUDSKIN_CACHE=${CLOUDSKIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cloudskin}
case ${DEMO_PROFILE:-release} in
release) flags=(--release) folder=release ;;
dev) flags=() folder=debug ;;
*) echo "demo: DEMO_PROFILE is release or dev" >&2; exit 2 ;;
esac
programs=${CARGO_TARGET_DIR:-target}/$folder

case ${VEHICLE:-0} in
0 | '') minutes=six ;;
1) minutes=three ;;
*) echo "demo: VEHICLE is 0 or 1" >&2; exit 2 ;;
esac
echo "The demo itself takes about $minutes minutes."
[ -x "$programs/mobility-loop" ] ||
    echo "The first time it also builds everything: 10 to 20 minutes on two cores."
[ -f "$CLOUDSKIN_CACHE/media/vtest.avi" ] ||
    echo "The first time it also downloads about 96 MB for the clip."

[ ! -x scripts/setup.sh ] || scripts/setup.sh
cargo build --locked "${flags[@]}" -p cloudskin -p mobility-demo
clip=$(examples/mobility/fetch-clip.sh)
if [ "$minutes" = three ]; then
    exec "$programs/mobility-loop" --cloudskin "$programs/cloudskin" --clip "$clip" --vehicle --output target/demo
fi
trace=${MOBILITY_TRACE:-../shared/data/mobility/cellnex-dlstreamer}
exec "$programs/mobility-loop" --cloudskin "$programs/cloudskin" --clip "$clip" --trace "$trace" \
    --output target/demo
