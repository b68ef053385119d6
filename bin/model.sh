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
python -m train model --app "$APP"
