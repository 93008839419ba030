#!/usr/bin/env bash
# Other people's clients against whatever answers at BOOTSTRAP: Apache Kafka or our dev broker, with the same assertions.
#   run.sh BOOTSTRAP [SUITE...]     one line a scenario, `ok` or `FAIL`, and a line of counts; exit code 1 on a failure
# Suites: librdkafka kafka-python aiokafka java console cross (these six, when none is named) java-VERSION console-VERSION.
# Without a version, Java's are those of Kafka 4.3.0. What the clients log goes to FOREIGN_LOGS (default: foreign/logs in the
# target directory), and the end of it to standard error when a suite fails. Exit code 69: a tool is missing.
set -euo pipefail
BOOTSTRAP=${1:?HOST:PORT}; shift
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WORK=${CARGO_TARGET_DIR:-$HERE/../../target}/foreign; mkdir -p "$WORK"; WORK=$(cd "$WORK" && pwd)
LOGS=${FOREIGN_LOGS:-$WORK/logs}; mkdir -p "$LOGS"
[ $# -gt 0 ] || set -- librdkafka kafka-python aiokafka java console cross
export PYTHONDONTWRITEBYTECODE=1

# Compiles the Java programs against the jars of version $1, once for each state of the sources; sets JAVA to what runs them.
java_for() {
  local lib classes
  lib=$("$HERE/../servers/kafka.sh" lib "$1") || exit
  classes=$WORK/java-$1-$(cat "$HERE"/java/*.java | sha256sum | cut -c1-16)
  if [ ! -d "$classes" ]; then
    command -v javac >/dev/null || { echo "run.sh: javac is not installed" >&2; exit 69; }
    local part; part=$(mktemp -d "$classes.XXXXXX")
    javac -nowarn -Xlint:-options -d "$part" -cp "$lib/*" "$HERE"/java/*.java || { rm -rf "$part"; exit 1; }
    mv -T "$part" "$classes" 2>/dev/null || rm -rf "$part"
  fi
  JAVA=(java -XX:+UseSerialGC "-Dlog4j2.configurationFile=$lib/../log4j2.properties"
    "-Dlog4j.configuration=file:$lib/../log4j.properties" -cp "$classes:$lib/*")
}

play() { # SUITE: its lines on standard output
  case $1 in
    librdkafka|kafka-python|aiokafka) "$PYTHON" "$HERE/python/suite.py" "$BOOTSTRAP" "$1" ;;
    java|console) play "$1-4.3.0" ;;
    java-*) java_for "${1#java-}"; "${JAVA[@]}" Clients "$BOOTSTRAP" "$1" ;;
    console-*) java_for "${1#console-}"; "${JAVA[@]}" Tools "$BOOTSTRAP" "$1" ;;
    cross) java_for 4.3.0; "$PYTHON" "$HERE/python/cross.py" "$BOOTSTRAP" "${JAVA[@]}" Cross "$BOOTSTRAP" java ;;
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
