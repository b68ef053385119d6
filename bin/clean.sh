#!/usr/bin/env bash
# Summary: Remove what runs and builds have left
# Usage: bin/clean.sh
#
# Stops the app's server first. Keeps the environment and torch_model/, which cost minutes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
load_settings
"$ROOT/bin/stop.sh"
rm -rf "$APP/.run" "$ARCHIVE" "$ARCHIVE".{aside,next,previous} "$RUN"
find "$ROOT" -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
rm -rf "$ROOT"/.{pytest,mypy,ruff}_cache
