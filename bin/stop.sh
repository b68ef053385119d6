#!/usr/bin/env bash
# Summary: Stop this app's server, and wait until it is gone
# Usage: bin/stop.sh
#
# Stops nothing but the server that this app's run folder owns; says so when there is none.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
one_at_a_time "$@"
load_settings

# A redeploy keeps the warm process, whose imports the next server's workers need.
[[ -n ${KEEP_WARM:-} ]] || at_exit "loop warm stop"

status=0
loop server owned || status=$?
if ((status == 3)); then exit 0; fi # not running: nothing to stop
((status == 0)) || exit "$status"

# It unlinks the key file in its working folder, and returns while the JVM lives on for seconds.
(cd "$RUN/cwd" && TMPDIR=$RUN/tmp "$VENV/bin/torchserve" --stop >/dev/null)
loop server gone
