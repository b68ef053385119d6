#!/usr/bin/env bash
# Summary: Say why something failed: the cause, the line, the input and the traceback
# Usage: bin/why.sh [REQUEST_ID]
#
# Without an id, the last failure, be it of a request or of a load.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
loop why "$@"
