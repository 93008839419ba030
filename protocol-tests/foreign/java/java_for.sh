# Sourced: how the Java programs here are run. WORK is where their classes are kept.
JAVA_SOURCES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WORK=${CARGO_TARGET_DIR:-$JAVA_SOURCES/../../../target}/foreign; mkdir -p "$WORK"; WORK=$(cd "$WORK" && pwd)

# Compiles the Java programs against the jars of version $1, once for each state of the sources; sets JAVA to what runs them.
java_for() {
  local lib classes
  lib=$("$JAVA_SOURCES/../../servers/kafka.sh" lib "$1") || exit
  classes=$WORK/java-$1-$(cat "$JAVA_SOURCES"/*.java | sha256sum | cut -c1-16)
  if [ ! -d "$classes" ]; then
    command -v javac >/dev/null || { echo "javac is not installed" >&2; exit 69; }
    local part; part=$(mktemp -d "$classes.XXXXXX")
    javac -nowarn -Xlint:-options -d "$part" -cp "$lib/*" "$JAVA_SOURCES"/*.java || { rm -rf "$part"; exit 1; }
    mv -T "$part" "$classes" 2>/dev/null || rm -rf "$part"
  fi
  JAVA=(java -XX:+UseSerialGC "-Dlog4j2.configurationFile=$lib/../log4j2.properties"
    "-Dlog4j.configuration=file:$lib/../log4j.properties" -cp "$classes:$lib/*")
}
