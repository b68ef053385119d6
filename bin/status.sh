#!/usr/bin/env bash
# Summary: Say what runs, where, with which workers, and whether it is the tree
# Usage: bin/status.sh
#
# Exit code 3 if the server is not running.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
loop status
