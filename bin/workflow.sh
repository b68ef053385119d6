#!/usr/bin/env bash
# Summary: Build a workflow's .war and swap it in; the old one answers until it is known to work
# Usage: [GATE=errors|golden|none] bin/workflow.sh
#
# For an app whose config.properties says load_models=NAME=NAME.war. The archives of its models are
# built first, in the apps they are of. The new workflow is registered beside the old one and asked
# the samples; if it fails to load or to answer (GATE=golden: or changes a label), the exit code is
# 4 and the old one has not been touched. Where no server runs, or its settings have changed, it is
# a redeploy, which has no gate.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
one_at_a_time "$@"
load_settings

plan=$(loop swap plan)
eval "$plan" # SERVING, COLD
if [[ -n $SERVING ]]; then
  echo "nothing has changed: $NAME serves $SERVING already"
  exit 0
elif [[ -n $COLD ]]; then
  say "$COLD: it takes a redeploy"
  exec "$ROOT/bin/redeploy.sh"
fi

clear_away() { rm -f "$ARCHIVE.next"; }
at_exit clear_away
rm -f "$ARCHIVE.next"
status=0
"$ROOT/bin/archive.sh" --next || status=$? # torch-workflow-archiver
((status < 128)) || exit "$status"
((status == 0)) || die 4 "refused: nothing was touched"
loop swap
