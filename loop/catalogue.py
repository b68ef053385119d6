"""The faults that are known: what is said of them, what is meant, and the cure.

One row a fault, whoever speaks of it: Python, torch, transformers, TorchServe in the worker or over
HTTP, the JVM, or the warm process on a worker's end. What our own checks find, they tell with its
cure themselves (`smoke.fault.Fault`, `loop.checks`).

To add one, see what is said of it; write a row, above any whose pattern is wider; and a test in
tests/test_server_catalogue.py that provokes it.
"""

import re
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A fault that was recognised.

    Attributes:
        fault: its row.
        cause: what it is, where the words that were said mislead; else empty.
        cure: what to do, as an imperative.
    """

    fault: str
    cause: str
    cure: str


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    Attributes:
        fault: what is wrong, in a few words; the row's name.
        pattern: what is said of it: a regular expression, whose groups `cause` and `cure` may use.
        cure, cause: see `Known`.
    """

    fault: str
    pattern: str
    cure: str
    cause: str = ""


def look_up(said: str) -> Known | None:
    """What is known of a fault, by what was said of it; the first row that fits counts."""
    for entry in TABLE:
        if match := re.search(entry.pattern, said):
            groups = match.groupdict(default="") | {"venv": sys.prefix}
            return Known(entry.fault, entry.cause.format(**groups), entry.cure.format(**groups))
    return None


TABLE = (
    # Code that does not load.
    Entry(
        "missing part of a package",
        r"No module named '(?P<package>\w+)\.(?P<part>[\w.]+)'",
        "take what has replaced {part} in the {package} that is installed",
    ),
    Entry(
        "missing module",
        r"No module named '(?P<module>\w+)",
        "{venv}/bin/python -m pip install the package that has it; or, if it is a file of yours,"
        " put it into torch_model/, whose files are packed beside handler.py",
    ),
    Entry(
        "missing name in a module",
        r"cannot import name '(?P<name>\w+)' from '(?P<module>[\w.]+)'",
        "take what has replaced {name} in the {module} that is installed",
    ),
    Entry(
        "no handler class",
        r"Expected only one class in custom service code or a function entry point \[\]",
        "define one class with initialize and handle, or a function handle(data, context)",
        cause="handler.py defines neither a class nor a function handle",
    ),
    Entry(
        "several handler classes",
        r"Expected only one class in custom service code .*entry point \[(?P<classes>.+)\]",
        "keep one; move the others into a file in torch_model/ and import them, or define a"
        " function handle(data, context)",
        cause="handler.py defines several classes, and TorchServe cannot know which to take:"
        " {classes}",
    ),
    Entry(
        "handler class without handle",
        r"Expect handle method in class <class '(?:handler\.)?(?P<name>\w+)'>",
        "define handle(self, data, context)",
        cause="the class {name} has no method handle",
    ),
    Entry(
        "handler class without initialize",
        r"'(?P<name>\w+)' object has no attribute 'initialize'",
        "define initialize(self, context) in {name}",
    ),
    Entry(
        "gone in transformers 5",
        r"has no attribute '?(?P<name>(batch_)?encode_plus|prepare_seq2seq_batch"
        r"|as_target_tokenizer|prepare_for_model|build_inputs_with_special_tokens|truncate_sequences)\b",
        "transformers 5 has no {name}: call the tokenizer itself, self.tokenizer(text, …)",
    ),
    # The checkpoint.
    Entry(
        "missing config",
        r"Unrecognized model in .*(?=Should have a `model_type`)",
        "write the checkpoint again with model.save_pretrained, config.json included",
        cause="torch_model/config.json is missing, or does not say which model it is (model_type)",
    ),
    Entry(
        "missing tokenizer",
        r"Can't load tokenizer for|Couldn't instantiate the backend tokenizer",
        "write the tokenizer into torch_model/ with tokenizer.save_pretrained",
    ),
    Entry(
        "missing weights",
        r"no file named (model\.safetensors|pytorch_model\.bin)",
        "write the checkpoint again with model.save_pretrained; `make model` if it is the default",
    ),
    Entry(
        "truncated weights",
        r"Error while deserializing header|PytorchStreamReader failed|^EOFError",
        "copy or save the checkpoint again",
        cause="the file of weights is cut short, or damaged",
    ),
    Entry(
        "a pickled model",
        r"Weights only load failed",
        "save model.state_dict() in place of the model; or, for a file that you trust, say"
        " torch.load(…, weights_only=False)",
        cause="torch.load no longer unpickles just anything: the file holds more than tensors",
    ),
    Entry(
        "weights that are a pointer",
        r"invalid load key, 'v'",
        "get the file itself with git lfs pull",
        cause="the file of weights is a pointer of git LFS",
    ),
    Entry(
        "weights that do not fit the config",
        r"`ignore_mismatched_sizes` to `False`|size mismatch for (?P<name>[\w.]+)",
        "take both from one checkpoint; `make doctor` compares them",
        cause="the weights have other shapes than config.json says",
    ),
    Entry(
        "state_dict of another model",
        r"Error\(s\) in loading state_dict for (?P<name>\w+)",
        "build the model from the config that the weights were saved with",
    ),
    Entry(
        "headless checkpoint",
        r"no weights for \S+.*: fine-tune it as a classifier",
        "save a model that was trained to classify; transformers would start its head at random",
    ),
    Entry(
        "label map of the wrong size",
        r"the model has \d+ classes, but this labels",
        "give each class one name, in index_to_name.json or in id2label of config.json",
    ),
    Entry(
        "model from the hub, without a network",
        r"We couldn't connect to|trying to locate the file on the Hub|is not a local folder and is"
        r" not a valid model identifier|outgoing traffic has been disabled",
        "load from context.system_properties['model_dir'], and see that all its files are there",
        cause="the handler looks for a model on the hub, which cannot be reached",
    ),
    # Devices.
    Entry(
        "GPU asked for in code, and absent",
        r"Torch not compiled with CUDA enabled|No CUDA GPUs are available|Found no NVIDIA driver"
        r"|on a CUDA device but torch\.cuda\.is_available\(\) is False",
        "take the device from context.system_properties['gpu_id'], and the CPU where that is None;"
        " torch.load needs map_location",
    ),
    Entry(
        "tensors on two devices",
        r"Expected all tensors to be on the same device",
        "move the inputs to the model's device: inputs.to(self.model.device)",
    ),
    Entry(
        "GPU out of memory",
        r"CUDA out of memory|CUBLAS_STATUS_NOT_INITIALIZED",
        "send fewer or shorter texts through at once (batchSize, max_length), or free the GPU",
    ),
    Entry(
        "index out of range on a GPU",
        r"device-side assert triggered",
        "say GPU=cpu, where the same fault names its line: often a token beyond the model's",
    ),
    Entry(
        "out of memory",
        r"^MemoryError|DefaultCPUAllocator: can't allocate memory",
        "send fewer or shorter texts through at once (batchSize, max_length), or load less",
    ),
    # What goes through the model.
    Entry(
        "tokenizer of another model",
        r"IndexError: index out of range in self",
        "save model and tokenizer from one checkpoint; and cut texts at the model's limit:"
        " truncation=True, max_length=…",
        cause="a token, or its position, lies beyond what the model has embeddings for",
    ),
    Entry(
        "text longer than the model",
        r"The (expanded )?size of (the )?tensor a? ?\(\d+\) must match",
        "cut texts at the model's limit: truncation=True, max_length=…",
    ),
    Entry(
        "texts not padded to one length",
        r"expected sequence of length \d+ at dim|Unable to create tensor, you should probably",
        "pad the texts of a batch to one length: padding=True in the tokenizer's call, or in pad's",
    ),
    Entry(
        "no padding token",
        r"does not have a padding token|Cannot handle batch sizes > 1 if no padding token",
        "set tokenizer.pad_token = tokenizer.eos_token and model.config.pad_token_id",
    ),
    Entry(
        "bytes for text",
        r"text input must be of type `str`|'(bytes|bytearray)' object has no attribute",
        "decode what TorchServe hands over as bytes: body.decode('utf-8')",
        cause="the tokenizer, or a method of str, was given what is no text",
    ),
    Entry(
        "tensor that requires grad",
        r"Can't call numpy\(\) on Tensor that requires grad",
        "run the model under torch.inference_mode()",
    ),
    Entry(
        "a function handle that is called to load",
        r"^TypeError: 'NoneType' object is not (iterable|subscriptable)",
        "if data is None there: TorchServe calls a function handle(None, context) once, to load;"
        " return at once then",
    ),
    Entry(
        "endless recursion",
        r"^RecursionError",
        "see how that line comes back to itself",
    ),
    Entry(
        "no such field in the request",
        r"^KeyError: '(?P<name>body|data)'",
        "if it is a row of the request, take row.get('data') or row.get('body'): TorchServe puts a"
        " plain body under 'body' and a form's fields under their names",
    ),
    Entry(
        "a body that is not JSON",
        r"JSONDecodeError: (?P<said>.*)",
        "if it is the request's body, send JSON; else mend what is read there",
        cause="what is read there is no JSON: {said}",
    ),
    Entry(
        "a body that is not UTF-8",
        r"UnicodeDecodeError: 'utf-8' codec can't decode",
        "if it is the request's body, send UTF-8; else say which encoding the file has",
    ),
    # What the handler returns.
    Entry(
        "nothing returned",
        r"Invalid return type: <class 'NoneType'>",
        "return a list: one answer for each row of data",
        cause="the handler returned None: a return is missing on some way through it",
    ),
    Entry(
        "coroutine returned",
        r"Invalid return type: <class 'coroutine'>",
        "remove `async` from that function: TorchServe does not await it",
        cause="the handler returned a coroutine, which nobody runs",
    ),
    Entry(
        "no list returned",
        r"Invalid return type: <class '(?P<type>[\w.]+)'>",
        "return a list: one answer for each row of data",
        cause="the handler returned a {type}",
    ),
    Entry(
        "wrong number of results",
        r"batch response mismatched, expect: (?P<expected>\d+), got: (?P<got>\d+)",
        "return one answer for each row of data, in the same order",
        cause="the handler returned {got} answers for {expected} request(s)",
    ),
    Entry(
        "a result that is not serialisable",
        r"Object of type (?P<type>\w+) is not JSON serializable",
        "return plain values: x.item(), x.tolist(), list(x), float(x)",
        cause="the handler returned a {type} in an answer, which JSON cannot hold",
    ),
    Entry(
        "no finite score",
        r"the score is (?P<score>\S+), no finite number",
        "look for nan in the inputs, the weights and the logits; JSON has no word for it",
    ),
    Entry(
        "None for a row",
        r'not \{"label", "score"\}: null',
        "return an answer for this row too: postprocess, or what it calls, returns None",
    ),
    # The end of a worker.
    Entry(
        "sys.exit",
        r"^SystemExit|^the worker ended itself",
        "raise an exception in place of the exit, which ends the worker with all it has in hand",
    ),
    Entry(
        "crash",
        r"^the worker crashed while",
        "look at what is called there: code in C has failed, not in Python; `make why` has all of"
        " the stack",
    ),
    Entry(
        "killed",
        r"^the worker was killed while",
        "look in `dmesg` whether memory ran out: then fewer workers, or a smaller batchSize",
    ),
    Entry(
        "time-out while answering",
        r"^the worker was still answering",
        "mend that line if it hangs; else raise responseTimeout in model-config.yaml (seconds)",
    ),
    Entry(
        "time-out while loading",
        r"^the worker was still loading",
        "mend that line if it hangs; else raise startupTimeout in model-config.yaml (seconds)",
    ),
    Entry(
        "time-out of a worker that was not forked",
        r"Backend worker did not respond in given time",
        "mend what hangs; else raise startupTimeout (of a load) or responseTimeout (of a request)"
        " in model-config.yaml; forked workers (without WARM=0) tell where",
        cause="the worker did not respond in time: TorchServe ended it",
    ),
    Entry(
        "worker died",
        r"500 Worker died",
        "see `make logs`; forked workers (without WARM=0) tell where",
    ),
    # What the frontend says over HTTP.
    Entry(
        "token refused or expired",
        r"Token Authorization failed",
        "leave TOKEN and URL unset, and the commands send the server's own token, to its own URL"
        ' alone; with curl: -H "$(bin/token.sh)"; one that has expired: `make redeploy`',
    ),
    Entry(
        "version not found",
        r"Model version: (?P<version>\S+) does not exist for model",
        "choose one that `make status` lists",
    ),
    Entry(
        "model not found",
        r"404 Model not found|404 No handler is found|404 Requested resource is not found",
        "ask for the model that load_models= in config.properties names; `make status` has its URL",
    ),
    Entry(
        "payload too large",
        r"413 Request Entity Too Large",
        "send less, or raise max_request_size (bytes, 6553500 if unset) in config.properties",
    ),
    Entry(
        "nothing free to answer",
        r"503 Model \S+ has no worker to serve|no worker available",
        "see `make status`; `make why` says why the last worker ended",
    ),
    # The system.
    Entry(
        "disk full",
        r"No space left on device",
        "free some: `make doctor` says where",
    ),
    Entry(
        "port taken",
        r"Failed to bind to address|Address already in use",
        "see who has it with `make doctor`; stop that, or change the address in config.properties",
    ),
    Entry(
        "Java too old",
        r"UnsupportedClassVersionError",
        "remove .venv and run `make setup`, which brings a Java of its own",
        cause="the Java that was found is older than TorchServe",
    ),
    Entry(
        "Java missing",
        r"java not found, please make sure JAVA_HOME is set",
        "remove .venv and run `make setup`, which brings a Java of its own",
    ),
    Entry(
        "socket path too long",
        r"AF_UNIX path too long",
        "`make doctor` says how long it may be",
    ),
)
