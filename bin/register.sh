#!/usr/bin/env bash
# Summary: Have a version loaded beside the live one, where it stays
# Usage: bin/register.sh [VERSION]
#
# By default the tree's; or one that is staged still, or the archive's. It answers those who name it:
# `bin/predict.sh --version`, `bin/compare.sh`. Exit code 4: it does not load, or does not answer.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
loop manage register "$@"
