"""A classifier in the layouts that people have: four kinds of weights, each with its company."""

import json
import warnings
from pathlib import Path
from typing import Any

CLASS_NAMES = "index_to_name.json"
EXAMPLE = ["One text", "and another one, which is longer"]


def write(model: Any, words: Any, folder: Path, weights: str) -> None:
    """Save a model and its tokenizer.

    Args:
        weights: the file for the weights. Its suffix is the layout:
            .safetensors: as save_pretrained writes a checkpoint now.
            .bin, .pth: a state_dict, with config.json and vocab.txt.
            .pt: TorchScript, with tokenizer files and index_to_name.json. No config.json: it is
            not made of a class of transformers any more.
    """
    kind = Path(weights).suffix
    if kind == ".safetensors":
        model.save_pretrained(folder)
        words.save_pretrained(folder)
    elif kind == ".pt":
        trace(model, words).save(str(folder / weights))
        words.save_pretrained(folder)
        _write_json(folder / CLASS_NAMES, {str(k): v for k, v in model.config.id2label.items()})
    else:
        import torch

        torch.save(model.state_dict(), folder / weights)
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        _write_vocabulary(words, folder)


def trace(model: Any, words: Any) -> Any:
    """A TorchScript model that takes what the tokenizer makes, and gives logits."""
    import torch

    class Logits(torch.nn.Module):
        """Its arguments are the ones that TorchScript will take, by these names."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model.eval()

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.model(input_ids, attention_mask, token_type_ids, return_dict=False)[0]

    inputs = words(EXAMPLE, padding=True, truncation=True, return_tensors="pt")
    order = ("input_ids", "attention_mask", "token_type_ids")
    with torch.no_grad(), warnings.catch_warnings():
        # Its conditions are about masks: the example has padding, so that they are traced with one.
        warnings.simplefilter("ignore")
        return torch.jit.trace(Logits(), tuple(inputs[name] for name in order))  # type: ignore[no-untyped-call]


def _write_vocabulary(words: Any, folder: Path) -> None:
    """vocab.txt, a token a line: with the config's model_type it is all that BERT's needs."""
    numbers = words.get_vocab()
    lines = "".join(f"{token}\n" for token in sorted(numbers, key=numbers.__getitem__))
    (folder / "vocab.txt").write_text(lines, encoding="utf-8")


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
