#!/usr/bin/env bash
# Summary: Remove what runs and builds have left
# Usage: bin/clean.sh
#
# Stops the app's server first. Keeps the environment and torch_model/, which cost minutes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
one_at_a_time "$@"
load_settings
"$ROOT/bin/stop.sh"
# All but the lock, on which another command may be waiting.
find "$APP/.run" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf {} +
rm -f "$ARCHIVE" "$ARCHIVE".{aside,next,served} "$RUN" "$APP/smoke/golden.jsonl.new"
find "$ROOT" -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
rm -rf "$ROOT"/.{pytest,mypy,ruff}_cache
