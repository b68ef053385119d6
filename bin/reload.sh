#!/usr/bin/env bash
# Summary: Swap the tree's version in while the server runs; the old one answers until then
# Usage: [GATE=errors|golden|none] bin/reload.sh
#
# The new version is loaded beside the live one and asked the samples. GATE=errors (the default)
# refuses one that fails to load or to answer, GATE=golden one that changes a label too; then the
# exit code is 4 and the live version has not been touched. Where a reload is not enough, it is a
# redeploy, which has no gate; with GATE=golden the samples are asked after it, and the exit code is
# 1 if one differs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"

status=0
loop reload || status=$?
((status == 10)) || exit "$status"
"$ROOT/bin/redeploy.sh"
[[ ${GATE:-} != golden ]] || exec "$ROOT/bin/smoke.sh" run
