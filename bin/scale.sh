#!/usr/bin/env bash
# Summary: Have more or fewer workers of the live version, or of another
# Usage: bin/scale.sh WORKERS [--version VERSION]
#
# Until the next reload or redeploy, which goes by model-config.yaml. Exit code 4: it would leave
# nothing serving, or another worker does not load; there are as many as before.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
loop manage scale "$@"
