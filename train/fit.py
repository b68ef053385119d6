"""`data/` to `adapter/`, or a whole backbone to `torch_model/`, with transformers' Trainer."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from smoke.fault import Fault
from train import adapter, checkpoint, recipe
from train.backbone import DEFAULT, locate, tokenizer
from train.data import Data, Example, load
from train.folder import replaced
from train.labels import form_a_scale
from train.recipe import LORA, WHOLE, Recipe
from train.scores import Scores

Features = list[dict[str, Any]]


def fit(app: Path, backbone: str, source: str, *, seed: int, tensorboard: bool) -> int:
    """Train, keep the best epoch by validation loss, and print how good it is.

    The default backbone learns an adapter; any other is fine-tuned whole, into `torch_model/`.

    Raises:
        Fault: the data or the backbone cannot be read, or the result would replace a checkpoint
            that was not made here.
    """
    started = time.monotonic()
    whole = backbone != DEFAULT
    if whole:
        checkpoint.refuse_foreign(app)
    weights = locate(backbone)
    data = load(source)
    set_seed(seed)
    how = recipe.read(app, WHOLE if whole else LORA)
    words, model = _load(backbone, weights, data.labels)
    learner = model if whole else _with_lora(model, how)
    trainer = _trainer(
        learner,
        words,
        data,
        how,
        run=app / ".run",
        seed=seed,
        tensorboard=tensorboard,
    )
    try:
        trainer.train()
        scores = _evaluate(trainer, data)
    finally:
        shutil.rmtree(app / ".run" / "train", ignore_errors=True)
    metrics = scores.as_json() | {
        "backbone": backbone,
        "data": {"source": _name(app, source), "sha256": data.digest},
        "seed": seed,
        "epochs": round(trainer.state.epoch or 0),
        "seconds": round(time.monotonic() - started),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
    }
    if whole:
        with checkpoint.replacement(app, backbone) as new:
            trainer.save_model(str(new))
            words.save_pretrained(new)
        _write(metrics, app / ".run" / "metrics.json")
    else:
        with replaced(adapter.folder(app), app / ".run") as new:
            _save_adapter(cast(PeftModel, trainer.model), new)
            _write(metrics, new / "metrics.json")
    print(scores)
    return 0


def _load(
    name: str, weights: str, labels: list[str]
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """The backbone and its tokenizer, with a fresh head for the labels."""
    try:
        config = AutoConfig.from_pretrained(
            weights,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
        )
        model = AutoModelForSequenceClassification.from_pretrained(
            weights, config=config, dtype=torch.float32, ignore_mismatched_sizes=True
        )
        return tokenizer(weights), model
    except (OSError, ValueError) as error:
        why = str(error).strip().partition("\n")[0]
        raise Fault(
            f"{name}: neither a checkpoint nor a model that the hub gives: {why}",
            "mend BACKBONE=, or look at the network",
        ) from error


def _with_lora(model: PreTrainedModel, recipe: Recipe) -> PeftModel:
    """Adapters on the attention and feed-forward projections; pooler and head in full."""
    model.set_attn_implementation("eager")  # on a CPU a quarter faster in bfloat16 than the fused
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = recipe.dropout  # none saves a quarter of the time
    layers = model.config.num_hidden_layers
    if not 0 <= recipe.frozen < layers:
        raise Fault(f"train: frozen is {recipe.frozen}", f"write a number from 0 to {layers - 1}")
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=recipe.rank,
        lora_alpha=2 * recipe.rank,
        target_modules=["query", "key", "value", "dense"],
        layers_to_transform=list(range(recipe.frozen, layers)),
        layers_pattern="layer",
        modules_to_save=["pooler", "classifier"],
    )
    return get_peft_model(model, config)


def _trainer(
    model: PreTrainedModel | PeftModel,
    words: PreTrainedTokenizerBase,
    data: Data,
    recipe: Recipe,
    *,
    run: Path,
    seed: int,
    tensorboard: bool,
) -> Trainer:
    if tensorboard:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(
            run / "tensorboard" / time.strftime("%Y-%m-%d-%H%M%S")
        )
    half = _computes_in_bfloat16()
    arguments = TrainingArguments(
        output_dir=str(run / "train"),
        bf16=half,
        use_cpu=half,
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=2 * recipe.batch_size,
        warmup_steps=0.1,
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_only_model=True,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        logging_strategy="epoch",
        report_to=["tensorboard"] if tensorboard else [],
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=seed,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=_features(data.train, data.labels, words, recipe.longest),
        eval_dataset=_features(data.validation, data.labels, words, None),
        data_collator=DataCollatorWithPadding(words),
        compute_loss_func=loss_for(data.labels, recipe.softness, recipe.smoothing),
        callbacks=[EarlyStoppingCallback(recipe.patience), Progress()],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _computes_in_bfloat16() -> bool:
    """Whether training runs on a processor with instructions for it, which take half the time."""
    return not torch.cuda.is_available() and torch.cpu.get_capabilities().get("avx512_bf16", False)


def _features(
    examples: list[Example], labels: list[str], words: PreTrainedTokenizerBase, longest: int | None
) -> Features:
    """Token ids and class numbers; cut at `longest` tokens, or at the model's own limit."""
    number = {label: index for index, label in enumerate(labels)}
    return [
        {
            **words(example.text, example.text_pair, truncation=True, max_length=longest),
            "labels": number[example.label],
        }
        for example in examples
    ]


def loss_for(labels: list[str], softness: float, smoothing: float = 0.0) -> Callable[..., Tensor]:
    """Cross-entropy; on a scale, part of each target goes to the neighbours of its class.

    Four stars for a text that deserves five is a smaller mistake than one star, which plain
    cross-entropy cannot tell. Elsewhere, `smoothing` of it is spread evenly over all classes.
    """
    targets = (1 - smoothing) * torch.eye(len(labels)) + smoothing / len(labels)
    if form_a_scale(labels):
        place = torch.arange(len(labels), dtype=torch.float32)
        targets = torch.softmax(-((place - place[:, None]) ** 2) / (2 * softness**2), dim=-1)

    def loss(outputs: Any, truths: Tensor, num_items_in_batch: Any = None) -> Tensor:
        return cross_entropy(outputs.logits, targets.to(truths.device)[truths])

    return loss


def _evaluate(trainer: Trainer, data: Data) -> Scores:
    output = trainer.predict(cast("Dataset[Any]", trainer.eval_dataset))
    # Grouped by length, the answers come in another order than the examples: so the truths do too.
    truths = cast("np.ndarray", output.label_ids).tolist()
    answers = cast("np.ndarray", output.predictions).argmax(-1).tolist()
    return Scores.of(data.labels, truths, answers)


def _name(app: Path, source: str) -> str:
    """The data as named in metrics.json: no path of this machine for the app's own."""
    own = app / "data"
    return own.name if Path(source).expanduser().resolve() == own else source


def _save_adapter(model: PeftModel, folder: Path) -> None:
    """Save with the backbone's name, not where the wheel lies on this machine; no model card."""
    model.peft_config["default"].base_model_name_or_path = DEFAULT
    model.save_pretrained(str(folder), save_embedding_layers=False)  # unasked, it looks on the hub
    (folder / "README.md").unlink()


def _write(metrics: dict[str, Any], path: Path) -> None:
    aside = path.with_name(f"{path.name}.new")
    aside.write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(path)


class Progress(TrainerCallback):
    """A bar on a terminal, and everywhere a line for each epoch; both on stderr."""

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Start the bar."""
        self.bar = tqdm(total=state.max_steps, unit="step", leave=False, disable=None)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Move the bar."""
        self.bar.update()

    def on_evaluate(self, args: Any, state: TrainerState, control: Any, **given: Any) -> None:
        """Write the epoch's line."""
        epoch, loss = round(state.epoch or 0), given["metrics"]["eval_loss"]
        tqdm.write(f"fit: epoch {epoch}: validation loss {loss:.4f}", file=sys.stderr)

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """Clear the bar away."""
        self.bar.close()
