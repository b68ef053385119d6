#!/usr/bin/env bash
# Summary: Start TorchServe on the archive, and wait until the model answers
# Usage: [GPU=auto|cpu|all|0,2] [WARM=0] bin/start.sh
#
# Runs torchserve --start --ncs. Workers are forked from a warm process that has imported torch
# already; WARM=0 starts them the ordinary way.
# Ports, addresses, tokens and GPUs are checked first. Ready means that a real prediction was
# answered. A server that does not get there is ended, and its cause is printed. With --as-served,
# for bin/redeploy.sh, it is one like the last that answered.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
[[ ${1:-} == --as-served ]] || no_arguments "$@"
one_at_a_time "$@"
load_settings

environment=$(loop launch "$@")
# A server that does not get ready, or whose start is interrupted, does not stay.
end_server() { "$ROOT/bin/stop.sh" >/dev/null; }
at_exit end_server

python=$VENV/bin/python run=$RUN worker_python=
(
  eval "$environment"
  cd "$run/cwd"
  # A session of its own: Ctrl-C in this terminal is not meant for the server. TorchServe calls
  # sys.executable for its workers: the stand-in, where there are warm ones.
  exec "$python" -c '
import os, sys
from ts.model_server import start
os.setsid()
sys.executable = sys.argv.pop(1) or sys.executable
start()' "$worker_python" --start --ncs \
    --ts-config "$run/config.properties" --model-store "$run/model_store"
) </dev/null >"$RUN/logs/console.log" 2>&1 9>&- ||
  die 3 "torchserve failed: $(tail -n 1 "$RUN/logs/console.log")"

loop started "$@"
trap - EXIT
# What a redeploy that fails goes back to. A link costs nothing; not every file system has them.
ln -f "$ARCHIVE" "$ARCHIVE.served" 2>/dev/null || cp -f "$ARCHIVE" "$ARCHIVE.served"
cp -f "$RUN/config.properties" "$RUN/served.properties"
