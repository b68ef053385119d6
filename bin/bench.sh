#!/usr/bin/env bash
# Summary: Time turns of the loop, many samples, batching, and reloads under load
# Usage: bin/bench.sh [turn|smoke|scale|load|batching]… [--models NAME,…] [--edits N] [--rounds N] [--reloads N]
#
# All by default, which takes about three quarters of an hour. `turn` is an edit to its first answer:
# the article's script, redeploy, reload, watch, and a process without a server, on models of three
# sizes (default, bert-base, bert-large). `smoke` is a thousand samples, `scale` a hundred thousand on a
# tiny model. Prints tables, keeps the figures in .run/bench.json. Exit code 1: a request was lost under
# load, or a reload went wrong.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
cd "$ROOT"
unset APP
export PYTHONPATH=$ROOT
exec "$VENV/bin/python" -P -m tests.bench "$@"
