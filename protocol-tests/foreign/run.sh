#!/usr/bin/env bash
# Other people's clients against whatever answers at BOOTSTRAP: Apache Kafka or our dev broker, with the same assertions.
#   run.sh BOOTSTRAP [SUITE...]     one line a scenario, `ok` or `FAIL`, and a line of counts; exit code 1 on a failure
# Suites: librdkafka kafka-python aiokafka java console (these five, when none is named) java-VERSION console-VERSION
# franz-go:clients, and groups franz-go:groups (of the consumer protocol; Kafka has it from 4.0 on).
# What one writes all others read: write:PREFIX and franz-go:write:PREFIX fill the topics PREFIX-CLIENT-CODEC and
# PREFIX-CLIENT-transactions, which are there; read:PREFIX:CLIENT,... and franz-go:read:PREFIX:CLIENT,... read them.
# Without a version, Java's are those of Kafka 4.3.0. What the clients log goes to FOREIGN_LOGS (default: foreign/logs in the
# target directory), and the end of it to standard error when a suite fails. Exit code 69: a tool is missing.
set -euo pipefail
BOOTSTRAP=${1:?HOST:PORT}; shift
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=java/java_for.sh
. "$HERE/java/java_for.sh"
LOGS=${FOREIGN_LOGS:-$WORK/logs}; mkdir -p "$LOGS"
[ $# -gt 0 ] || set -- librdkafka kafka-python aiokafka java console
export PYTHONDONTWRITEBYTECODE=1

play() { # SUITE: its lines on standard output
  local verb prefix clients program
  case $1 in
    librdkafka|kafka-python|aiokafka) "$PYTHON" "$HERE/python/suite.py" "$BOOTSTRAP" "$1" ;;
    java|console) play "$1-4.3.0" ;;
    java-*) java_for "${1#java-}"; "${JAVA[@]}" Clients "$BOOTSTRAP" "$1" ;;
    console-*) java_for "${1#console-}"; "${JAVA[@]}" Tools "$BOOTSTRAP" "$1" ;;
    groups) java_for 4.3.0
      both "${JAVA[@]}" Groups "$BOOTSTRAP" groups -- "$PYTHON" "$HERE/python/groups.py" "$BOOTSTRAP" "${JAVA[@]}" ;;
    write:*|read:*) java_for 4.3.0; IFS=: read -r verb prefix clients <<<"$1"
      both "${JAVA[@]}" Cross "$BOOTSTRAP" java "$verb" "$prefix" "$clients" -- \
        "$PYTHON" "$HERE/python/cross.py" "$BOOTSTRAP" "$verb" "$prefix" "$clients" ;;
    franz-go:*) program=$("$HERE/go/build.sh") || exit; IFS=: read -r _ verb prefix clients <<<"$1"
      "$program" "$verb" "$BOOTSTRAP" ${prefix:+"$prefix"} ${clients:+"$clients"} ;;
    *) echo "run.sh: no suite $1" >&2; exit 64 ;;
  esac
}

both() { # COMMAND... -- COMMAND...: the second runs even when the first fails
  local first=() status=0
  while [ "$1" != -- ]; do first+=("$1"); shift; done
  "${first[@]}" || status=$?
  "${@:2}" && [ $status -eq 0 ]
}

PYTHON=$("$HERE/python/venv.sh")
failed=() lines=$(mktemp); trap 'rm -f "$lines"' EXIT
for suite in "$@"; do
  log=$LOGS/${suite//[:,]/-}; log=${log:0:200}.log
  if ! (play "$suite") 2>"$log" | tee -a "$lines"; then
    failed+=("$suite"); echo "--- the end of $log" >&2; tail -n 40 "$log" >&2
  fi
done
ok=$(grep -c '^ok' "$lines" || true) bad=$(grep -c '^FAIL' "$lines" || true)
echo "$BOOTSTRAP: $ok ok, $bad failed in $SECONDS s${failed:+; suites that failed: ${failed[*]}}"
[ ${#failed[@]} -eq 0 ]
