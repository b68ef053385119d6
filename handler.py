"""Serve a Hugging Face text classifier with TorchServe. This is the file to copy and edit.

Send a text, in UTF-8,
    as text/plain or a file:   Great pizza!
    as JSON:                   "Great pizza!"   {"text": "Great pizza!"}   {"data": "Great pizza!"}
    as a form:                 the field or uploaded file `data`
and get {"label": "5 stars", "score": 0.91}.

Send a pair of sentences as {"text": "A man eats.", "text_pair": "He is fed."}, and they are
classified together, joined by the tokenizer as in training.

Send several as ["Great!", {"text": "Cold."}] or {"data": ["…"]}, and get one answer for each, in a
plain list. {"instances": ["…"]} is KServe's protocol, at /v1/models/NAME:predict too, and gets
{"predictions": […]} with one answer for each.

Say "top_k": 2 in a JSON object or a form, and get the best two for each text, in a list (all, if
there are fewer): [{"label": "5 stars", "score": 0.91}, {"label": "4 stars", "score": 0.08}]. In the
query it works at /models/NAME/invoke?top_k=2; TorchServe drops the query of /predictions/NAME.
A request that cannot be read is answered 400 with the reason; the rest of its batch is not touched.

The score is that of transformers' text-classification pipeline: softmax over the classes; sigmoid
for a multi-label model, and for one with a single label (num_labels=1: how likely that label is);
the bare output for regression (problem_type "regression", which training with num_labels=1 writes
into config.json unless told otherwise).

The labels are those of index_to_name.json ({"0": "1 star", …}) if it lies beside the weights, else
those of id2label in config.json.

The weights are what save_pretrained writes now (model.safetensors) or wrote once
(pytorch_model.bin); or else one file: a state_dict (.pt, .pth) beside its config.json, or a
TorchScript model (.pt), which needs no config.json if index_to_name.json names its classes.

The texts of a list, and of a batch, share passes through the model. Only a decoder (GPT-2, Llama)
whose config.json names no pad_token_id takes them one by one.

Settings, in model-config.yaml:
    maxWorkers: 2            # the workers share the cores; OMP_NUM_THREADS, if set, wins
    handler:
      log_inputs: false      # keep what users send out of the log
      top_k: 2               # how many labels to answer where a request does not say
      score: probability     # what to call the score
"""

import json
import logging
import os
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
)
from transformers.utils.logging import disable_progress_bar
from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes

logger = logging.getLogger(__name__)

# Texts per forward pass. A pass pads all its texts to the longest, so they are sorted by length
# first. MiniLM on 2 threads: 64 texts of 3 to 500 tokens take 1.9 s in eights and 10.9 s in one
# pass; 64 short ones 0.25 s and 0.27 s; 64 of the same length 0.65 s and 0.61 s.
CHUNK = 8
PADDING = 1.5

# Models that let a text's company change its answer, whatever the attention mask says, or that take
# no texts together of which one has more ends (a pair, say).
ALONE = ("bart", "convbert", "fnet", "mbart", "mt5", "nystromformer", "plbart", "t5", "umt5")

# curl -d alone calls anything a form. TorchServe drops a text in it, all of it or up to an "&".
NO_FIELD = 'a form without a field "data" (with curl -d, add -H "Content-Type: text/plain")'
ACCEPTED = (
    'text/plain; application/json as "…", {"text": "…"}, {"text": "…", "text_pair": "…"}, '
    '{"data": "…"}, a list of these, {"data": […]} or {"instances": […]}; a form with "data"; all '
    'in UTF-8; "top_k" a positive integer'
)


class Handler:
    """A classifier in one worker: TorchServe calls `initialize` once and `handle` per batch."""

    def initialize(self, context: Any) -> None:
        """Load the checkpoint from the folder, and onto the GPU, that `ts.context.Context` names.

        Raises:
            RuntimeError: weights are missing or misshapen, or the labels do not fit the classes.
        """
        settings = context.model_yaml_config or {}
        model_dir = Path(context.system_properties["model_dir"])

        own = settings.get("handler") or {}
        self.log_inputs = own.get("log_inputs", True)
        self.top_k = own.get("top_k")
        self.score = own.get("score", "score")
        self.device = choose_device(context.system_properties["gpu_id"])
        torch.set_num_threads(count_threads(settings))

        self.model = load_model(model_dir).to(self.device).eval()
        self.config = load_config(model_dir, self.model)
        self.labels = load_labels(model_dir, self.config)
        self.tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
        self.max_tokens = count_tokens(self.model, self.config, self.tokenizer)
        fit_inputs(self.tokenizer, self.model)
        self.chunk = CHUNK if fit_padding(self.tokenizer, self.model, self.config) else 1

        logger.info(
            f"loaded {type(self.model).__name__}: {len(self.labels)} labels, "
            f"max_tokens {self.max_tokens}, {self.device}, {torch.get_num_threads()} threads"
        )

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Answer a batch: one row per request in, one answer per row out, in the same order."""
        self.context = context
        self.tokens = self.padding = 0
        statuses = {"5XX": len(data)}  # unless all goes well
        began = time.perf_counter()
        try:
            requests, inputs = self.preprocess(data)
            logits = self.inference(inputs)
            answers = self.postprocess(logits, requests)
            refused = sum("error" in request for request in requests)
            statuses = {"2XX": len(data) - refused, "4XX": refused}
            return answers
        finally:
            try:
                self.count(statuses, time.perf_counter() - began)
            except Exception as error:
                # A figure less, and not an answer less.
                logger.warning(f"this batch is not counted: {error!r}")

    def preprocess(self, data: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Any]]:
        """Read every request and tokenise its texts: the place to change a text.

        Returns:
            What each request wants (see `read`), and the tokens of all texts of all requests, one
            after the other, cut at the model's limit.
        """
        requests = [self.read(index, row) for index, row in enumerate(data)]
        texts = [text for request in requests for text in request["texts"]]

        # tokenizer.json may bring its own padding and truncation: both are overruled here.
        inputs = [
            self.tokenizer(*text, padding=False, truncation=True, max_length=self.max_tokens)
            for text in texts
        ]
        return requests, inputs

    def inference(self, data: list[Any]) -> torch.Tensor:
        """Run the model: tokens in, float32 logits (texts, labels) out, in the same order."""
        logits = torch.empty(len(data), len(self.labels))
        lengths = [len(each["input_ids"]) for each in data]
        self.tokens = sum(lengths)
        self.padding = -self.tokens
        with torch.inference_mode():
            for chunk in group_by_length(lengths, self.chunk):
                texts = [data[i] for i in chunk]
                batch = self.tokenizer.pad(texts, padding=len(texts) > 1, return_tensors="pt")
                self.padding += batch["input_ids"].numel()
                logits[chunk] = read_logits(self.model(**batch.to(self.device))).cpu()
        return logits

    def postprocess(self, data: torch.Tensor, requests: list[dict[str, Any]]) -> list[Any]:
        """Turn the logits into one answer per request: the place to change an answer."""
        scores = iter(apply_activation(data, self.config))
        answers = []
        for index, request in enumerate(requests):
            self.context.set_response_content_type(index, "application/json")
            if "error" in request:
                self.context.set_response_status(400, "Bad Request", index)
                answers.append(request["error"])
                continue
            results = [self.rank(next(scores), request["top_k"]) for _ in request["texts"]]
            answer = results if request["many"] else results[0]
            answers.append({"predictions": answer} if request["instances"] else answer)
        return answers

    def count(self, statuses: dict[str, int], seconds: float) -> None:
        """Tell TorchServe's metrics of a batch, for `make metrics` and Prometheus."""
        if (metrics := getattr(self.context, "metrics", None)) is None:
            return
        version = Dimension("ModelVersion", self.context.manifest["model"].get("modelVersion"))
        for status, number in statuses.items():
            if number:
                labels = [version, Dimension("Status", status)]
                metrics.add_counter("handler_requests_total", number, dimensions=labels)
        metrics.add_counter("handler_tokens_total", self.tokens, dimensions=[version])
        metrics.add_counter("handler_padding_total", self.padding, dimensions=[version])
        metrics.add_time("handler_seconds", seconds, None, "s", [version], MetricTypes.HISTOGRAM)

    def read(self, index: int, row: dict[str, Any]) -> dict[str, Any]:
        """Log and read the request at `index` of the batch.

        `row` is what TorchServe made of it: its body under "body", or the fields of a form.

        Returns:
            texts: a tuple (text,) or (text, text_pair) for each text to classify.
            many: whether to answer a list; top_k: see `rank`.
            instances: whether to answer as KServe's protocol does.
            error: in place of these three, the answer to a request that cannot be read.
        """
        request_id = self.context.get_request_id(index)
        fields = {name: to_text(value) for name, value in row.items()}
        body = fields.get("body", fields)
        try:
            if self.log_inputs:
                logger.info(f"request {request_id}: {body!r:.200}")
            # TorchServe decodes JSON itself: where bytes are left, it could not.
            header = self.context.get_request_header(index, "body")
            left = isinstance(row.get("body"), bytes | bytearray)
            if header == {"content-type": "application/json"} and left:
                body = read_json(body)
            if body is fields and not fields.keys() & {"text", "data", "instances"}:
                raise ValueError(NO_FIELD)
            texts, many = read_texts(body)
            if any(not any(text) and not self.tokenizer(*text)["input_ids"] for text in texts):
                raise ValueError("a text is empty, and this model's tokenizer makes no token of it")
            top_k = read_top_k(fields | body if isinstance(body, dict) else fields) or self.top_k
        except (ValueError, RecursionError) as error:
            logger.warning(f"request {request_id} refused: {error}")
            message = f"{error}. Accepted: {ACCEPTED}."
            answer = {"code": 400, "type": "BadRequest", "message": message}
            return {"texts": [], "error": answer}
        instances = many and isinstance(body, dict) and "instances" in body
        return {"texts": texts, "many": many, "top_k": top_k, "instances": instances}

    def rank(self, scores: torch.Tensor, top_k: int | None) -> Any:
        """The best label of one text with its score, or a list of the best `top_k`, best first."""
        best = scores.argsort(descending=True, stable=True).tolist()
        ranked = [{"label": self.labels[i], self.score: scores[i].item()} for i in best[:top_k]]
        return ranked[0] if top_k is None else ranked


def choose_device(gpu_id: int | None) -> torch.device:
    """The device for the GPU that TorchServe assigned, if any."""
    if gpu_id is not None and torch.cuda.is_available():
        return torch.device("cuda", gpu_id)
    if gpu_id is not None:
        logger.warning(f"GPU {gpu_id} is assigned, but torch finds no CUDA: using the CPU")
    return torch.device("cpu")


def count_threads(settings: dict[str, Any]) -> int:
    """This worker's share of the cores: two that each use all slow each other 6- to 14-fold."""
    if "OMP_NUM_THREADS" in os.environ:
        return int(os.environ["OMP_NUM_THREADS"])
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, cores // (settings.get("maxWorkers") or settings.get("minWorkers") or 1))


def load_model(model_dir: Path) -> Any:
    """The classifier in a folder, in float32. Raises RuntimeError if weights are missing."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    weights = find_weights(model_dir)
    if weights.suffix in (".pt", ".pth"):
        return load_other(weights)
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        model_dir, local_files_only=True, dtype=torch.float32, output_loading_info=True
    )
    refuse_gaps(model_dir, loading["missing_keys"])
    return model


def find_weights(model_dir: Path) -> Path:
    """The file to load; the folder itself where transformers knows which. Raises RuntimeError."""
    if any(model_dir.glob("model*.safetensors")) or any(model_dir.glob("pytorch_model*.bin")):
        return model_dir  # A Trainer leaves optimizer.pt and rng_state.pth beside them.
    found = sorted([*model_dir.glob("*.pt"), *model_dir.glob("*.pth")])
    if len(found) > 1:
        raise RuntimeError(f"{model_dir}: {', '.join(each.name for each in found)}: keep one")
    return found[0] if found else model_dir


def load_other(weights: Path) -> Any:
    """A TorchScript model, or the classifier of a state_dict and the config.json beside it."""
    if is_torchscript(weights):
        return torch.jit.load(weights, map_location="cpu").float()  # type: ignore[no-untyped-call]
    config = AutoConfig.from_pretrained(weights.parent, local_files_only=True)
    kind: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    state = torch.load(weights, map_location="cpu", weights_only=True)
    model, loading = kind.from_pretrained(
        None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
    )
    refuse_gaps(weights, loading["missing_keys"])
    return model


def is_torchscript(weights: Path) -> bool:
    """Whether a file holds a model's code beside its weights."""
    if not zipfile.is_zipfile(weights):
        return False
    with zipfile.ZipFile(weights) as archive:
        return any("/code/" in name for name in archive.namelist())


def refuse_gaps(weights: Path, missing: Any) -> None:
    """Raise RuntimeError: what is missing starts at random, and every answer would be noise."""
    if missing:
        names = ", ".join(sorted(missing))
        raise RuntimeError(f"{weights}: no weights for {names}: fine-tune it as a classifier")


def load_config(model_dir: Path, model: Any) -> Any:
    """The model's configuration; of a TorchScript model, that in its folder, or what is known."""
    if hasattr(model, "config"):
        return model.config
    if (model_dir / "config.json").exists():
        return AutoConfig.from_pretrained(model_dir, local_files_only=True)
    names = json.loads((model_dir / "index_to_name.json").read_text(encoding="utf-8"))
    config = PreTrainedConfig()
    config.num_labels = len(names)
    return config


def fit_inputs(tokenizer: Any, model: Any) -> None:
    """Have the tokenizer make no more than a TorchScript model takes, which need not be all."""
    if isinstance(model, torch.jit.ScriptModule):
        forward: Any = model.forward
        takes = {argument.name for argument in forward.schema.arguments}
        tokenizer.model_input_names = [
            name for name in tokenizer.model_input_names if name in takes
        ]


def fit_padding(tokenizer: Any, model: Any, config: Any) -> bool:
    """Have the tokenizer pad as the model expects; False if texts cannot share a pass.

    A decoder such as GPT-2 answers at the last token that is not the padding's, by its config.json:
    if that names none, all that it takes is one text at a time.
    """
    # On the left, padding would move a text's positions. Only XLNet counts from the end.
    if config.model_type != "xlnet":
        tokenizer.padding_side = "right"
    if config.model_type in ALONE:
        return False
    pad = getattr(config, "pad_token_id", None)
    if pad is None and isinstance(model, torch.jit.ScriptModule):
        pad = tokenizer.pad_token_id
    if pad is None or not 0 <= pad < len(tokenizer):
        logger.warning("config.json names no pad_token_id: texts go through the model one by one")
        return False
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    return True


def read_logits(outputs: Any) -> Any:
    """A model's logits. TorchScript may give them without a name, in a tuple or by themselves."""
    if isinstance(outputs, dict):
        return outputs["logits"]
    return outputs[0] if isinstance(outputs, tuple) else outputs


def load_labels(model_dir: Path, config: Any) -> list[str]:
    """The label of each class. Raises RuntimeError unless every class has one."""
    source = model_dir / "config.json"
    names: Any = {str(index): label for index, label in config.id2label.items()}
    if (index_to_name := model_dir / "index_to_name.json").exists():
        source = index_to_name
        try:
            names = json.loads(source.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RuntimeError(f"{source}: not JSON: {error}") from error
    classes = [str(index) for index in range(config.num_labels)]
    if not isinstance(names, dict) or set(names) != set(classes):
        raise RuntimeError(
            f"{source}: the model has {len(classes)} classes, but this labels {names}: "
            f"label 0 to {len(classes) - 1}"
        )
    return [names[index] for index in classes]


def count_tokens(model: Any, config: Any, tokenizer: Any) -> int | None:
    """The longest input that the model can take, in tokens; None if it has no limit."""
    limits = [tokenizer.model_max_length]
    positions = getattr(config, "max_position_embeddings", None)
    if positions and positions > 0:  # XLNet says -1
        # RoBERTa and its kin count positions from the one after the padding's.
        embeddings = getattr(getattr(model, "base_model", None), "embeddings", None)
        padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
        limits.append(positions if padding is None else positions - padding - 1)
    limit = min(limits)
    return limit if limit < 10**9 else None  # without a limit, tokenizers say 10**30


def group_by_length(lengths: list[int], most: int = CHUNK) -> list[list[int]]:
    """The indices of the lengths in groups for one pass each, which pads a group to its longest."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        group = groups[-1] if groups else []
        if 0 < len(group) < most and lengths[index] <= PADDING * lengths[group[0]]:
            group.append(index)
        else:
            groups.append([index])
    return groups


def apply_activation(logits: torch.Tensor, config: Any) -> torch.Tensor:
    """The scores for logits, as transformers' text-classification pipeline computes them."""
    if config.problem_type == "regression":
        return logits
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return logits.sigmoid()
    return logits.softmax(dim=-1)


def to_text(value: Any) -> Any:
    """Decode bytes; what is not UTF-8 becomes lone surrogates, which `read_text` refuses."""
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "surrogateescape")
    return value


def read_json(text: str) -> Any:
    """Decode JSON. Raises ValueError."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from error


def read_texts(body: Any) -> tuple[list[tuple[str, ...]], bool]:
    """The texts of a request, and whether it sent them as a list. Raises ValueError."""
    listed = body.get("instances", body.get("data")) if isinstance(body, dict) else body
    if not isinstance(listed, list):
        return [read_text(body, "the input")], False
    if not listed:
        raise ValueError("the list is empty")
    return [read_text(item, f"item {number}") for number, item in enumerate(listed, 1)], True


def read_text(item: Any, name: str) -> tuple[str, ...]:
    """A text, or a text and its pair, as the tokenizer takes them. Raises ValueError."""
    texts: tuple[Any, ...] = (item,)
    if isinstance(item, dict):
        if "text" not in item and "data" not in item:
            raise ValueError(f'{name} has neither "text" nor "data"')
        texts = (item.get("text", item.get("data")),)
        texts += (item["text_pair"],) if "text_pair" in item else ()
    for text in texts:
        if not isinstance(text, str):
            kind = "null" if text is None else type(text).__name__
            raise ValueError(f"{name} has {kind} where a text is expected")
        if text != text.encode("utf-8", "ignore").decode("utf-8"):
            raise ValueError(f"{name} is not UTF-8")
    return texts


def read_top_k(options: dict[str, Any]) -> int | None:
    """How many labels per text a request wants, if it says so. Raises ValueError."""
    if "top_k" not in options:
        return None
    top_k = options["top_k"]
    if isinstance(top_k, str) and top_k.isdecimal():
        top_k = int(top_k)
    if type(top_k) is not int or top_k < 1:
        raise ValueError("top_k is not a positive integer")
    return top_k
