#!/usr/bin/env bash
# Summary: List the versions that the server has: workers, device, memory, queue
# Usage: bin/models.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
loop models
