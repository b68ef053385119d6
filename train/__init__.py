"""An app's `data/` to its `adapter/`, and `adapter/` to the checkpoint in `torch_model/`."""
