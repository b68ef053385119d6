#!/usr/bin/env bash
# Summary: Ask the live version and the tree's the same samples, and show what differs
# Usage: bin/compare.sh
#
# Where the tree is what is live, it is compared with the previous version. The tree's version is loaded
# beside the live one and taken away again. Exit code 1: a label or score differs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
loop compare
