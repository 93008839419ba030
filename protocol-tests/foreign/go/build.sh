#!/usr/bin/env bash
# Prints the program of this directory, built once for each state of its sources. Exit code 69: there is no Go, or what it
# needs cannot be had.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command -v go >/dev/null || { echo "build.sh: go is not installed" >&2; exit 69; }
WORK=${CARGO_TARGET_DIR:-$HERE/../../../target}/foreign; mkdir -p "$WORK"; WORK=$(cd "$WORK" && pwd)
PROGRAM=$WORK/franz-go-$(cat "$HERE"/go.* "$HERE"/*.go | sha256sum | cut -c1-16)
(
  flock 9
  [ -x "$PROGRAM" ] && exit 0
  cd "$HERE"
  go mod download >&2 || { echo "build.sh: franz-go cannot be had" >&2; exit 69; }
  go build -o "$PROGRAM.part" . >&2
  mv "$PROGRAM.part" "$PROGRAM"
) 9>"$WORK/go.lock"
echo "$PROGRAM"
