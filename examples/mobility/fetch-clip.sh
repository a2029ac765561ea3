#!/bin/sh
# Fetches the street camera clip (vtest.avi: 768x576, 10 frames a second, 795 frames) out of Debian's
# package opencv-doc into a cache folder, and prints its path. Does nothing when it is there.
# The folder is $CLOUDSKIN_CACHE, else ~/.cache/cloudskin.
set -eu

media=${CLOUDSKIN_CACHE:-$HOME/.cache/cloudskin}/media
clip=$media/vtest.avi
digest=45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf

intact() {
    [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$digest" ]
}

if intact "$clip"; then
    echo "$clip"
    exit 0
fi

for tool in apt-get dpkg-deb tar; do
    command -v "$tool" >/dev/null || { echo "fetch-clip: $tool is missing: this needs Debian or a copy of vtest.avi at $clip" >&2; exit 1; }
done

mkdir -p "$media"
work=$(mktemp -d "$media/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
chmod 755 "$work"
echo "fetch-clip: downloading opencv-doc (about 96 MB) for its street clip" >&2
(cd "$work" && apt-get -qq download opencv-doc >&2) || {
    echo "fetch-clip: the package opencv-doc could not be downloaded: run apt-get update, or put vtest.avi at $clip" >&2
    exit 1
}

package=$(ls "$work"/opencv-doc_*.deb)
name=$(dpkg-deb -c "$package" | sed -n 's|.* \(\./.*/vtest\.avi\(\.gz\)\{0,1\}\)$|\1|p' | head -n 1)
[ -n "$name" ] || { echo "fetch-clip: $package has no vtest.avi" >&2; exit 1; }
dpkg-deb --fsys-tarfile "$package" | tar -xO "$name" >"$work/clip"
case $name in *.gz) gzip -dc "$work/clip" >"$work/plain" && mv "$work/plain" "$work/clip" ;; esac
intact "$work/clip" || { echo "fetch-clip: the clip is not the one that the figures were taken with" >&2; exit 1; }
mv "$work/clip" "$clip"
echo "$clip"
