#!/usr/bin/env bash
# Summary: Ask the version that failed the same again, in a process of its own
# Usage: bin/replay.sh [REQUEST_ID] [--pdb]
#
# Without an id, the last request that failed. Prints what is answered now, or the failure; --pdb
# stands in the failing frame: the innermost one of your own code, where the first exception was
# raised. Exit code 1: it failed again.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
export USER_PYTHONPATH=${PYTHONPATH-}
# In bash's place: Ctrl-C is its alone.
PYTHONPATH=$ROOT exec "$VENV/bin/python" -P -m loop.replay "$@"
