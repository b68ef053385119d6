#!/usr/bin/env bash
# Summary: Ask two versions the same samples, and show what differs
# Usage: bin/compare.sh [A [B]]
#
# A and B are registered versions; where one is named, it is compared with the live one. By default the
# live version and the tree's, which is loaded beside it and taken away again; or, where the tree is
# what is live, the previous version. Exit code 1: a label or score differs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
loop compare "$@"
