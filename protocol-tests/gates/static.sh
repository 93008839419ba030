#!/usr/bin/env bash
# Builds the static binary and shows that it is one: no interpreter, no shared library, and it runs in an empty directory.
#   static.sh [PROFILE=release]
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${1:-release} triple=x86_64-unknown-linux-gnu
# --target keeps the flag away from build scripts and procedural macros, which must stay dynamic.
# Without dlsym, random numbers come from the system call, not from a /dev that an empty directory does not have.
RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"' cargo build --locked --profile "$profile" --target "$triple" --bin highwater
binary=${CARGO_TARGET_DIR:-target}/$triple/$profile/highwater
described=$(file -b "$binary")
case $described in *"static-pie linked"*|*"statically linked"*) ;; *) echo "static: not static: $described" >&2; exit 1;; esac
ldd "$binary" 2>&1 | grep -qE 'statically linked|not a dynamic executable' || { echo "static: ldd finds libraries:" >&2; ldd "$binary" >&2; exit 1; }
jail=$(mktemp -d); trap 'rm -rf "$jail"' EXIT
cp "$binary" "$jail/highwater"
if [ "$(id -u)" = 0 ]; then
  chroot "$jail" /highwater --version
  chroot "$jail" /highwater up --duration 2s --rate 100 --data-dir /data --listen 127.0.0.1:0 --gateway-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0
else
  echo "static: not root, so not run in an empty chroot" >&2; "$jail/highwater" --version
fi
echo "static: $(stat -c %s "$binary") bytes, $described"
