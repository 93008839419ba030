#!/usr/bin/env bash
# Accounts for every login record with Java's clients: judge.sh BOOTSTRAP MANIFEST GROUP INPUT OUTPUT DEAD [duplicates]
# (see java/Judge.java). Exit code 1: something is lost, changed or on the wrong side; 69: a tool is missing.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/java/java_for.sh"
java_for 4.3.0
exec "${JAVA[@]}" Judge "$@"
