#!/usr/bin/env bash
# Summary: Make the previous version live again
# Usage: bin/rollback.sh
#
# It is still loaded, so this takes no time. Once more, and it is undone. Exit code 2: there is none.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
loop manage rollback
