#!/usr/bin/env bash
# Every test with real servers behind it: Kafka 3.9.1 and 4.3.0, MongoDB, a Redis and a Redis cluster are started on loopback,
# named in the environment, and taken down afterwards. What is missing fails here. The tests that kill servers start their own.
# The program under test is the release build, or what HIGHWATER_BIN names. Servers that run already can be named instead
# (HIGHWATER_TEST_KAFKA_39, _KAFKA_43, _MONGODB, _REDIS, _REDIS_CLUSTER). Arguments go to `cargo test`; without any, it tests
# the whole workspace. A test that hangs fails here too: after HIGHWATER_TEST_LIMIT (65m) what runs is ended.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WORK=$(mktemp -d)
stop() {
  local server
  for server in "$WORK"/kafka-*/; do [ ! -d "$server" ] || "$HERE/kafka.sh" down "$server" || true; done
  for server in mongod redis redis-cluster; do
    [ ! -d "$WORK/$server" ] || "$HERE/${server%-cluster}.sh" down "$WORK/$server" || true
  done
  rm -rf "$WORK" || true # what the tests said decides, not what a server left behind
}
trap stop EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Starts Kafka $1 and asks it for a group, which returns when the cluster has made the topic that groups are kept in: the
# first group on a new cluster is told to wait, and that is not what the tests are about.
kafka() {
  local directory=$WORK/kafka-$1 address
  address=$("$HERE/kafka.sh" up "$directory" "$1")
  "$HERE/kafka.sh" tool "$directory" org.apache.kafka.tools.consumer.group.ConsumerGroupCommand \
    --bootstrap-server "$address" --timeout 60000 --describe --group nobody >/dev/null 2>&1 || true
  echo "$address"
}

# Sets the variable $1 to what the rest of the command prints, unless it names a server already.
name() {
  local variable=$1 address; shift
  if [ -z "${!variable:-}" ]; then address=$("$@"); export "$variable=$address"; fi
}

export HIGHWATER_REQUIRE_SERVERS=1
name HIGHWATER_TEST_KAFKA_39 kafka 3.9.1
name HIGHWATER_TEST_KAFKA_43 kafka 4.3.0
name HIGHWATER_TEST_MONGODB "$HERE/mongod.sh" up "$WORK/mongod" "$(free_port)"
name HIGHWATER_TEST_REDIS "$HERE/redis.sh" up "$WORK/redis" "$(free_port)"
name HIGHWATER_TEST_REDIS_CLUSTER "$HERE/redis.sh" up-cluster "$WORK/redis-cluster"
[ $# -gt 0 ] || set -- --workspace
cd "$HERE/../.."
if [ -z "${HIGHWATER_BIN:-}" ]; then
  cargo build --locked --release --bin highwater
  HIGHWATER_BIN=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release/highwater
fi
export HIGHWATER_BIN
limit=(env); if command -v timeout >/dev/null; then limit=(timeout -k 30s "${HIGHWATER_TEST_LIMIT:-65m}"); fi
# In the background, since `timeout` has a process group of its own, in which Ctrl-C is not heard.
exec 3> >(tee "$WORK/said"); tee=$!
"${limit[@]}" cargo test --locked --no-fail-fast "$@" >&3 2>&1 3>&- &
runner=$!
trap 'kill "$runner" 2>/dev/null; exit 130' INT TERM
status=0; wait "$runner" || status=$?
# All was said, unless somebody who was left behind holds the pipe.
exec 3>&-; for _ in $(seq 1 50); do kill -0 "$tee" 2>/dev/null || break; sleep 0.1; done
if [ "$status" != 0 ]; then
  echo "=== status $status$([ "$status" != 124 ] || echo ", not within ${HIGHWATER_TEST_LIMIT:-65m}"); what did not hold, once more:"
  awk '/^---- .* ----$/ { told = 1 } /^failures:$/ { told = 0 } told || /^error/ || /^test .* FAILED$/' "$WORK/said" || true
  echo "=== and the last lines:"; tail -n 5 "$WORK/said" || true
fi
exit "$status"
