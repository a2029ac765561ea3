#!/usr/bin/env bash
# An image search whose speed follows the processors that other jobs release. It runs at the edge
# site with one processor of its own and may borrow all others; a second job takes them for a while.
# LANGUAGE says which of the two searches: c (the default) or rust.
set -euo pipefail
cd "$(dirname "$0")"
cloudskin=${CLOUDSKIN:-cloudskin}
case ${LANGUAGE:-c} in
c) search=(knn.c -O3) ;;
rust) search=(knn.rs) ;;
*) echo "LANGUAGE=$LANGUAGE: the search is there in c and rust" >&2 && exit 2 ;;
esac
work=$(mktemp -d)
out=${1:-$work/elastic.json}
mkdir -p "$(dirname "$out")"
export XDG_STATE_HOME=$work/state XDG_CONFIG_HOME=$work/config
trap '"$cloudskin" down --purge >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

"$cloudskin" build --openmp "${search[@]}" -o "$work/knn.wasm" >/dev/null
"$cloudskin" build --openmp busy.c -O1 -o "$work/busy.wasm" >/dev/null
"$cloudskin" up -d --loopback 127.77.9.0 >/dev/null
cpus=$(nproc)
"$cloudskin" run --site edge --name knn --cpus 1 --max-cpus "$cpus" --elastic \
    "$work/knn.wasm" 50000 12 | tee "$work/log" &
sleep 4
echo "        another job wants $((cpus - 1)) of $cpus processors for 4 s"
"$cloudskin" run --site edge --name other --cpus $((cpus - 1 > 0 ? cpus - 1 : 1)) "$work/busy.wasm" 4
echo "        it has ended"
wait %1

# Medians of what was said before, while and after the other job ran, away from the changes.
middle() {
    awk -v from="$1" -v to="$2" '$1 >= from && $1 <= to { print $3 }' "$work/log" | sort -n |
        awk '{ row[NR] = $1 } END { print row[int((NR + 1) / 2)] }'
}
alone=$(middle 1 3.5) shared=$(middle 5 7.5) again=$(middle 9.5 12)
awk -v alone="$alone" -v shared="$shared" -v again="$again" -v cpus="$cpus" -v language="${LANGUAGE:-c}" -v load="$(cut -d' ' -f1 /proc/loadavg)" \
    'BEGIN {
        printf "\nimages per second: %.0f alone, %.0f beside the other job, %.0f after it (%d CPUs, load %s)\n", alone, shared, again, cpus, load
        printf "{\"demo\": \"elastic\", \"language\": \"%s\", \"cpus\": %d, \"load\": %s, \"images_per_s\": {\"alone\": %.0f, \"shared\": %.0f, \"after\": %.0f}}\n", language, cpus, load, alone, shared, again > "'"$out"'"
    }'
