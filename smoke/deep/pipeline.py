"""What transformers' own text-classification pipeline says of texts: a process of its own.

It reads {"folder", "texts": [[text, text_pair or null], …]} from stdin, and its last line on
stdout is {"unchecked": why} or what `smoke.deep.reference.Reference` holds. Each text is alone in
its pass, without padding, on the CPU, in float32.
"""

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TextClassificationPipeline,
)


class UncheckedError(Exception):
    """transformers alone cannot load this."""


def load(folder: Path) -> Any:
    """The classifier in a folder.

    Raises:
        UncheckedError: it is of a kind that transformers does not know, or not whole.
    """
    how: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
    weights = _state_dict(folder)
    if weights is None:
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, **how
        )
    else:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        kind: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
        state = torch.load(weights, map_location="cpu", weights_only=True)
        model, loading = kind.from_pretrained(None, config=config, state_dict=state, **how)
    if missing := sorted(loading["missing_keys"]):
        raise UncheckedError(f"there are no weights for {', '.join(missing)[:100]}")
    return model.eval()


def _state_dict(folder: Path) -> Path | None:
    """The file with a bare state_dict; None where the folder is as save_pretrained leaves it."""
    if any(folder.glob("model*.safetensors")) or any(folder.glob("pytorch_model*.bin")):
        return None
    found = sorted([*folder.glob("*.pt"), *folder.glob("*.pth")])
    if len(found) != 1:
        raise UncheckedError("there are no weights that transformers knows")
    if zipfile.is_zipfile(found[0]):
        with zipfile.ZipFile(found[0]) as archive:
            if any("/code/" in name for name in archive.namelist()):
                raise UncheckedError(f"{found[0].name} is TorchScript, which has no pipeline")
    if not (folder / "config.json").exists():
        raise UncheckedError(f"no config.json says what {found[0].name} is the state_dict of")
    return found[0]


def limit(model: Any, tokenizer: Any) -> int | None:
    """The longest input that the model can take, in tokens; None if it has no limit."""
    limits = [tokenizer.model_max_length]
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions and positions > 0:  # XLNet says -1
        # RoBERTa and its kin count positions from the one after the padding's.
        embeddings = getattr(getattr(model, "base_model", None), "embeddings", None)
        padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
        limits.append(positions if padding is None else positions - padding - 1)
    # Without a limit, tokenizers say 10**30.
    return min(limits) if min(limits) < 10**9 else None


def name_classes(folder: Path, config: Any) -> None:
    """Give the classes the names of index_to_name.json, if there is one."""
    file = folder / "index_to_name.json"
    if file.exists():
        names = json.loads(file.read_text(encoding="utf-8"))
        config.id2label = {int(index): label for index, label in names.items()}


def classify(folder: Path, texts: list[tuple[str, str | None]]) -> dict[str, Any]:
    """What the pipeline says of each text; see `Said`."""
    model = load(folder)
    name_classes(folder, model.config)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    make: Any = TextClassificationPipeline
    pipe = make(model=model, tokenizer=tokenizer, device="cpu")
    most = limit(model, tokenizer)
    answers, asker = [], os.getppid()
    for text, pair in texts:
        if os.getppid() != asker:
            sys.exit("nobody waits for the answer any more")
        inputs = text if pair is None else {"text": text, "text_pair": pair}
        # tokenizer.json may bring padding and truncation of its own.
        tokens = pipe.preprocess(inputs, padding=False, truncation=True, max_length=most)
        outputs = pipe.forward(tokens)
        whole = len(tokenizer(text, pair, padding=False, truncation=False)["input_ids"])
        answers.append(
            {
                **pipe.postprocess(dict(outputs)),
                "logits": outputs["logits"][0].tolist(),
                "is_cut": most is not None and whole > most,
            }
        )
    labels = [model.config.id2label[index] for index in range(model.config.num_labels)]
    return {"labels": labels, "limit": most, "answers": answers}


def main() -> None:
    """Answer one question."""
    question = json.load(sys.stdin)
    try:
        said = classify(Path(question["folder"]), question["texts"])
    except UncheckedError as error:
        said = {"unchecked": str(error)}
    except Exception as error:  # whatever transformers raises where it cannot load or run a model
        first = (str(error).splitlines() or [""])[0]
        said = {"unchecked": f"transformers cannot: {type(error).__name__}: {first}"[:300]}
    print(f"\n{json.dumps(said)}")


if __name__ == "__main__":
    main()
