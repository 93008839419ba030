#!/usr/bin/env bash
# Other people's clients against whatever answers at BOOTSTRAP: Apache Kafka or our dev broker, with the same assertions.
#   run.sh BOOTSTRAP [SUITE...]     one line a scenario, `ok` or `FAIL`, and a line of counts; exit code 1 on a failure
# Suites: librdkafka kafka-python aiokafka java console cross (these six, when none is named) java-VERSION console-VERSION
# groups (of the consumer protocol; Kafka has it from 4.0 on).
# Without a version, Java's are those of Kafka 4.3.0. What the clients log goes to FOREIGN_LOGS (default: foreign/logs in the
# target directory), and the end of it to standard error when a suite fails. Exit code 69: a tool is missing.
set -euo pipefail
BOOTSTRAP=${1:?HOST:PORT}; shift
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=java/java_for.sh
. "$HERE/java/java_for.sh"
LOGS=${FOREIGN_LOGS:-$WORK/logs}; mkdir -p "$LOGS"
[ $# -gt 0 ] || set -- librdkafka kafka-python aiokafka java console cross
export PYTHONDONTWRITEBYTECODE=1

play() { # SUITE: its lines on standard output
  case $1 in
    librdkafka|kafka-python|aiokafka) "$PYTHON" "$HERE/python/suite.py" "$BOOTSTRAP" "$1" ;;
    java|console) play "$1-4.3.0" ;;
    java-*) java_for "${1#java-}"; "${JAVA[@]}" Clients "$BOOTSTRAP" "$1" ;;
    console-*) java_for "${1#console-}"; "${JAVA[@]}" Tools "$BOOTSTRAP" "$1" ;;
    cross) java_for 4.3.0; "$PYTHON" "$HERE/python/cross.py" "$BOOTSTRAP" "${JAVA[@]}" Cross "$BOOTSTRAP" java ;;
    groups) java_for 4.3.0; "${JAVA[@]}" Groups "$BOOTSTRAP" groups || failed_tools=1
      "$PYTHON" "$HERE/python/groups.py" "$BOOTSTRAP" "${JAVA[@]}" && [ -z "${failed_tools:-}" ] ;;
    *) echo "run.sh: no suite $1" >&2; exit 64 ;;
  esac
}

PYTHON=$("$HERE/python/venv.sh")
failed=() lines=$(mktemp); trap 'rm -f "$lines"' EXIT
for suite in "$@"; do
  if ! (play "$suite") 2>"$LOGS/$suite.log" | tee -a "$lines"; then
    failed+=("$suite"); echo "--- the end of $LOGS/$suite.log" >&2; tail -n 40 "$LOGS/$suite.log" >&2
  fi
done
ok=$(grep -c '^ok' "$lines" || true) bad=$(grep -c '^FAIL' "$lines" || true)
echo "$BOOTSTRAP: $ok ok, $bad failed in $SECONDS s${failed:+; suites that failed: ${failed[*]}}"
[ ${#failed[@]} -eq 0 ]
