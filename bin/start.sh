#!/usr/bin/env bash
# Summary: Start TorchServe on the archive, and wait until the model answers
# Usage: [GPU=auto|cpu|all|0,2] bin/start.sh
#
# Ports, addresses, tokens and GPUs are checked first. Ready means that a real prediction was
# answered. A server that does not get there is ended, and its cause is printed.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
one_at_a_time "$@"
load_settings

environment=$(loop launch)
# A server that does not get ready, or whose start is interrupted, does not stay.
end_server() { "$ROOT/bin/stop.sh" >/dev/null; }
at_exit end_server

run=$RUN
(
  eval "$environment"
  # What is ours is none of a handler's business; the lock must not live as long as the server.
  unset VERB NAME ARCHIVE RUN SETTINGS_OF LOOP_LOCK MAKEFLAGS MFLAGS MAKELEVEL
  cd "$run/cwd"
  # A session of its own: Ctrl-C in this terminal is not meant for the server.
  exec "$VENV/bin/python" -c 'import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])' \
    "$VENV/bin/torchserve" --start --ncs \
    --ts-config "$run/config.properties" --model-store "$run/model_store"
) </dev/null >"$RUN/logs/console.log" 2>&1 9>&-

loop ready
trap - EXIT
