#!/usr/bin/env bash
# Summary: Merge the app's adapter and its backbone into torch_model/
# Usage: bin/model.sh
#
# Does nothing for an app without adapter/: it brings its own checkpoint.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
[[ -d $APP/adapter ]] || exit 0
# Nothing is newer than what was made of it: not worth a start of Python.
cd "$APP"
made=torch_model/.made-here.json
if [[ -e $made && -z $(find adapter data torch_model model-config.yaml -newer "$made" -print 2>/dev/null) ]]; then
  exit 0
fi
python -m train model --app "$PWD"
