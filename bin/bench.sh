#!/usr/bin/env bash
# Summary: Time an edit to its first answer: redeploy against the article's script
# Usage: bin/bench.sh
#
# Takes about ten minutes; prints a table, keeps the figures in .run/bench.json.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
cd "$ROOT"
unset APP
python -m tests.bench
