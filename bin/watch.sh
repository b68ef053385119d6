#!/usr/bin/env bash
# Summary: Reload at each save, and print the verdict; Ctrl-C leaves the server running
# Usage: [GATE=errors|golden|none] bin/watch.sh
#
# Starts the server if it does not run. A save that does not load, answer or pass the gate is
# reported with its cause, and what was serving goes on serving.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
export USER_PYTHONPATH=${PYTHONPATH-}
# In bash's place: Ctrl-C is its alone.
PYTHONPATH=$ROOT exec "$VENV/bin/python" -P -m loop.watch "$ROOT/bin/redeploy.sh"
