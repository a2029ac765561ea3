#!/usr/bin/env bash
# Makes a Python environment with the pinned clients in the folder $1, unless it is there. Needs
# python3 with venv, and a package index. Several tests may ask for it at once.
set -euo pipefail

folder=$1
pinned=$(cd "$(dirname "$0")" && pwd)/requirements.txt

mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9
cmp -s "$pinned" "$folder/requirements.txt" && exit 0
rm -rf "$folder"
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$pinned"
# Last: what has this file is complete.
cp "$pinned" "$folder/requirements.txt"
