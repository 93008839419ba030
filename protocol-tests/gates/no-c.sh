#!/usr/bin/env bash
# No crate that compiles or links C is in the tree, on any target.
set -euo pipefail
cd "$(dirname "$0")/../.."
# First the plain tree: a manifest that does not resolve must not pass as "nothing found".
cargo tree --locked --target all -e normal,build --workspace >/dev/null
unused=$(cargo tree --locked 2>&1 >/dev/null | grep 'was not used in the crate graph' || true)
[ -z "$unused" ] || { echo "no-c: the rustls facade is not in use: $unused" >&2; exit 1; }
bad=0
for crate in cc cmake pkg-config bindgen ring aws-lc-sys aws-lc-rs openssl-sys zstd-sys lz4-sys libz-sys; do
  found=$(cargo tree -q --locked --workspace --target all -e normal,build -i "$crate" 2>/dev/null || true)
  if [ -n "$found" ]; then echo "no-c: $crate is in the tree:" >&2; echo "$found" >&2; bad=1; fi
done
[ "$bad" = 0 ] && echo "no-c: nothing in the tree compiles C"
exit "$bad"
