#!/usr/bin/env bash
# Summary: Lint, types and format of all code
# Usage: bin/check.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
no_arguments "$@"
cd "$ROOT"
PATH=$VENV/bin:$PATH
ruff check .
ruff format --check .
mypy
shellcheck --external-sources --source-path=SCRIPTDIR bin/*.sh .ci/run deploy/serve.sh
hadolint deploy/Dockerfile
shfmt --diff --indent 2 --case-indent bin/*.sh .ci/run deploy/serve.sh
