#!/usr/bin/env bash
# Summary: Train the app's adapter from its data/
# Usage: bin/train.sh [--tensorboard] [--seed N]
#
# BACKBONE= takes any hub or local checkpoint (fine-tuned whole, into torch_model/);
# DATA= a folder with train.csv and validation.csv, or a hub data set.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin "$@"
python -m train fit --app "$APP" "$@"
