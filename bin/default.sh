#!/usr/bin/env bash
# Summary: Make a version that is registered the live one
# Usage: bin/default.sh VERSION
#
# It is asked a real question first. Exit code 4: it does not answer, and what was live is live.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
loop manage default "$@"
