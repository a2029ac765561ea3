#!/usr/bin/env bash
# Runs the examples in documentation comments of each library that has one; without any, nothing
# is compiled.
set -euo pipefail
cd "$(dirname "$0")/.."

arguments=()
while IFS= read -r crate; do
    # An unmarked or `rust` fence that opens a block; `text` and others are no examples.
    if awk '/^ *\/\/[\/!] ```/ { inside = !inside; if (inside && $0 ~ /```(rust.*|no_run|should_panic)?$/) found = 1 }
            END { exit !found }' $(find "$crate/src" -name '*.rs'); then
        arguments+=(-p "$(basename "$crate")")
    fi
done < <(git ls-files '*/src/lib.rs' | sed 's|/src/lib.rs$||')

[ "${#arguments[@]}" -eq 0 ] || cargo test --doc --locked "${arguments[@]}"
