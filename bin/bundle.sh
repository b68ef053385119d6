#!/usr/bin/env bash
# Summary: Lay out what a cluster serves: the archive, its config and one sample
# Usage: bin/bundle.sh
#
# Prints the folder, APP/.run/bundle: config/ and model-store/ as KServe expects them of storage, and
# what the probes need. It is for deploy/Dockerfile and for a bucket or volume alike: see
# deploy/README.md.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
one_at_a_time "$@"
load_settings
"$ROOT/bin/archive.sh"
loop bundle
