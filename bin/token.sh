#!/usr/bin/env bash
# Summary: Print the header that carries the server's token, for curl
# Usage: bin/token.sh [inference|management]
#
# For example: curl -H "$(bin/token.sh)" -d "text" http://127.0.0.1:8080/predictions/reviews
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
loop token "$@"
