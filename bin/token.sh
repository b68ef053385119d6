#!/usr/bin/env bash
# Summary: Print the header that carries the server's token, for curl
# Usage: bin/token.sh [inference|management]
#
# For example: curl -H "$(bin/token.sh)" -H "Content-Type: text/plain" -d "text" URL, with the URL
# that `make status` calls model.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
loop token "$@"
