#!/usr/bin/env bash
# Summary: Try the tree's handler on one text, without a server
# Usage: bin/try.sh [--top-k N] [--pdb] "text" | -f FILE | -
#
# Prints what bin/predict.sh would if the tree were served; what the handler prints goes to stderr.
# --pdb stands in the failing frame. Where the app's server runs, its warm process is used; without
# one it takes the imports longer. Exit code 1: the handler failed, or refused the text.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
export USER_PYTHONPATH=${PYTHONPATH-}
# In bash's place: Ctrl-C is its alone.
PYTHONPATH=$ROOT exec "$VENV/bin/python" -P -m loop.trial "$@"
