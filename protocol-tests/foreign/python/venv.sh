#!/usr/bin/env bash
# Prints a Python that has the clients of requirements.txt, in an environment made once for each state of that file.
# Exit code 69: there is no Python 3, or the clients cannot be had.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command -v python3 >/dev/null || { echo "venv.sh: python3 is not installed" >&2; exit 69; }
WORK=${CARGO_TARGET_DIR:-$HERE/../../../target}/foreign; mkdir -p "$WORK"; WORK=$(cd "$WORK" && pwd)
ENVIRONMENT=$WORK/python-$(sha256sum "$HERE/requirements.txt" | cut -c1-16)
(
  flock 9
  [ -f "$ENVIRONMENT/complete" ] && exit 0
  rm -rf "$ENVIRONMENT"
  { python3 -m venv "$ENVIRONMENT" && "$ENVIRONMENT/bin/pip" install -q -r "$HERE/requirements.txt"; } >&2 ||
    { echo "venv.sh: the clients of requirements.txt cannot be had" >&2; exit 69; }
  touch "$ENVIRONMENT/complete"
) 9>"$WORK/python.lock"
echo "$ENVIRONMENT/bin/python"
