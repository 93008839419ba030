#!/usr/bin/env bash
# The whole flow against Redpanda: records in, validated, stored, nothing missing. With E2E_BOOTSTRAP=HOST:PORT it uses a
# cluster that already runs; otherwise it starts one in a container (compose/redpanda.yaml) and takes it down again.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${E2E_BOOTSTRAP:-}" ]; then
  command -v docker >/dev/null || { echo "e2e: no docker here; name a cluster with E2E_BOOTSTRAP=HOST:PORT" >&2; exit 69; }
  docker compose -f compose/redpanda.yaml up --detach --wait
  trap 'docker compose -f compose/redpanda.yaml down --volumes' EXIT
  E2E_BOOTSTRAP=127.0.0.1:29092
fi
cargo build --locked --release --bin highwater
data=$(mktemp -d)
out=$("${CARGO_TARGET_DIR:-target}"/release/highwater up --bootstrap-server "$E2E_BOOTSTRAP" --rate 2000 --duration 15s \
  --data-dir "$data" --gateway-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0)
rm -rf "$data"
echo "$out"
grep -q 'came in = stored, now or before, + dead-lettered + in flight' <<<"$out" || { echo "e2e: the account does not add up" >&2; exit 1; }
grep -Eq 'in flight +0$' <<<"$out" || { echo "e2e: not drained" >&2; exit 1; }
echo "e2e: ok"
