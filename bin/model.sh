#!/usr/bin/env bash
# Summary: Merge the app's adapter and its backbone into torch_model/
# Usage: bin/model.sh
#
# Does nothing for an app without adapter/: it brings its own checkpoint. For a workflow, it makes
# those of the apps whose models it joins.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
if [[ -e $APP/workflow_spec.yaml ]]; then
  apps=$(loop workflow "$APP")
  eval "$apps" # APPS: a workflow's models are those of other apps
  for app in ${APPS[@]+"${APPS[@]}"}; do
    APP=$app "$ROOT/bin/model.sh"
  done
  exit 0
fi
[[ -d $APP/adapter ]] || exit 0
# Nothing is newer than what was made of it: not worth a start of Python.
cd "$APP"
made=torch_model/.made-here.json
if [[ -e $made && -z $(find adapter data torch_model model-config.yaml -newer "$made" -print 2>/dev/null) ]]; then
  exit 0
fi
python -m train model --app "$PWD"
