#!/usr/bin/env bash
# Summary: Take a version away, once it has answered what it was asked
# Usage: bin/unregister.sh VERSION
#
# Exit code 4: it is the live one, and nothing would serve.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
loop manage unregister "$@"
