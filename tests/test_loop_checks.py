"""What is sure not to work is refused before any server is touched, with its line; nothing else."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from ts.model_loader import TsModelLoader

from loop import archive, candidate, compare, launch, package, plan, reload, settings, versions
from loop.checks import deploy, loading, model_config, properties, source
from loop.checks.finding import Finding, State
from loop.checks.table import ROWS, Row
from loop.checks.tree import Tree
from loop.gate import Gate
from loop.management import Management
from smoke.fault import Fault
from tests import java_class, tiny_checkpoints
from tests.tiny_app import HANDLER, ROOT

HANDLE = "    def handle(self, data, context): return data\n"
INITIALIZE = "    def initialize(self, context): pass\n"
GOOD = f"class Handler:\n{INITIALIZE}{HANDLE}"
INDENTED = textwrap.indent(GOOD, "    ")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app with nothing wrong, whose weights are a state_dict that only its handler knows."""
    for name in ("GATE", "GPU"):
        monkeypatch.delenv(name, raising=False)
    write(tmp_path / "config.properties", "load_models=a=a.mar\n")
    write(tmp_path / "handler.py", GOOD)
    (tmp_path / "torch_model").mkdir()
    (tmp_path / "torch_model" / "weights.pt").write_bytes(b"an old pickle")
    return tmp_path


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoints.save_bert(tmp_path_factory.mktemp("bert"), num_labels=3)


@pytest.fixture
def tuned(folder: Path, bert: Path) -> Path:
    """An app with a real checkpoint, which its handler loads with transformers."""
    (folder / "torch_model" / "weights.pt").unlink()
    for each in bert.iterdir():
        (folder / "torch_model" / each.name).write_bytes(each.read_bytes())
    write(folder / "handler.py", HANDLER)
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def edit(path: Path, **change: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    found = json.loads(path.read_text(encoding="utf-8")) | change
    write(path, json.dumps({k: v for k, v in found.items() if v is not None}, indent=1))


def look(folder: Path, state: State = State.FAILURE) -> list[Finding]:
    """What the checks find in that state."""
    tree = Tree(settings.read(folder))
    return [each for row in ROWS for each in row.look(tree) if each.state is state]


def refuse(folder: Path, verb: str = "reload") -> None:
    app = settings.read(folder)
    deploy.refuse_bad(app, package.contents(app), verb)


# The handler's entry point, by TorchServe's own loader.

TAKEN = {
    "a class": GOOD,
    "a class and a decorator": f"import dataclasses\n@dataclasses.dataclass\n{GOOD}",
    "a function": "def handle(data, context): return data\n",
    "a function and classes": f"{GOOD}class Other: pass\ndef handle(data, context): pass\n",
    "a function by assignment": f"{GOOD}_service = Handler()\nhandle = lambda data, ctx: data\n",
    "a function that is imported": "from operator import eq as handle\n",
    "a function by a condition": "if True:\n    def handle(data, context): pass\n",
    "a function by import *": "from tests.stars import *\n",
    "a function by a factory": "def make():\n    return lambda d, c: d\nhandle = make()\n",
    "a function by globals": "globals()['handle'] = lambda data, context: data\n",
    "a function by __getattr__": "def __getattr__(name): return lambda data, context: data\n",
    "an instance": f"{GOOD}_service = Handler()\n",
    "a helper in the class": f"{GOOD}    class Helper: pass\n",
    "a helper in a function": f"{GOOD}def make():\n    class Helper: pass\n    return Helper\n",
    "a helper that is deleted": f"class Helper: pass\n{GOOD}del Helper\n",
    "an imported class": f"from pathlib import Path\nfrom abc import ABC\n{GOOD}",
    "a class for the type checker": (
        f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    class T: pass\n{GOOD}"
    ),
    "a class for a script": f"{GOOD}if __name__ == '__main__':\n    class T: pass\n",
    "a class by a factory": f"def make():\n{INDENTED}    return Handler\nService = make()\n",
    "a class by try": f"try:\n    import nope\nexcept ImportError:\n{INDENTED}",
    "a class by a condition": f"if __name__ != '__main__':\n{INDENTED}",
    "a class by type": "from tests.stars import Base\nHandler = type('Handler', (Base,), {})\n",
    "a class by a decorator": (
        f"def make(function):\n{INDENTED}    return Handler\n@make\ndef service(): pass\n"
    ),
    "a class by global": f"def make():\n    global Handler\n{INDENTED}make()\n",
    "two classes of one name": f"class Handler: pass\n{GOOD}",
    "a method by assignment": f"class Handler:\n{INITIALIZE}    def predict(self, d, c): pass\n"
    "    handle = predict\n",
    "a method by __init__": "class Handler:\n    def __init__(self):\n"
    "        self.handle = self.initialize = lambda *args: None\n",
    "a method from outside": f"class Handler:\n{INITIALIZE}Handler.handle = lambda s, d, c: d\n",
    "a method by who is given the class": (
        f"from tests.stars import register\nclass Handler:\n{INITIALIZE}register(Handler)\n"
    ),
    "arguments by __new__": "from tests.stars import Base\nclass Handler:\n"
    "    def __new__(cls): return Base()\n    def __init__(self, folder): pass\n",
    "a method by __getattr__": "class Handler:\n    def __getattr__(self, name):\n"
    "        return lambda *args: None\n",
    "a class that a decorator hides": (
        f"def hide(kind): return None\n@hide\nclass Helper: pass\n{GOOD}"
    ),
    "methods that are inherited": "from tests.stars import Base\nclass Handler(Base): pass\n",
    "any arguments": "class Handler:\n    def initialize(self, *args): pass\n"
    "    def handle(self, *args, **more): pass\n",
    "more arguments": "class Handler:\n    def __init__(self, a=1): pass\n"
    "    def initialize(self, context, b=2): pass\n"
    "    def handle(self, data, context, *, c=3): pass\n",
    "static methods": "class Handler:\n    @staticmethod\n    def initialize(context): pass\n"
    "    @staticmethod\n    def handle(data, context): pass\n",
    "constants": f"import logging\nlogger = logging.getLogger('a')\nA: int = 1\nA += 1\n{GOOD}",
}

REFUSED = {
    "nothing": ("", "handler.py is empty: "),
    "no class": (
        "import logging\nlogger = logging.getLogger(__name__)\n\ndef helper(): pass\n",
        "defines no class and no function `handle`",
    ),
    "a misspelt function": (
        "\ndef handel(data, context): pass\n",
        "did you mean: `handel` at line 2",
    ),
    "only an imported class": ("from pathlib import Path\n", "what it imports does not count"),
    "two classes": (
        f"class Helper: pass\n\n{GOOD}",
        "handler.py:3: two classes, `Helper` at line 1 and `Handler` at line 3: ",
    ),
    "an exception": (f"{GOOD}class Bad(ValueError): pass\n", "move `Bad` to a file in torch_model"),
    "three classes": (f"class A: pass\nclass B: pass\n{GOOD}", "three classes, `A` at line 1, `B`"),
    "a dataclass": (
        f"from dataclasses import dataclass\n@dataclass\nclass A:\n    a: int\n{GOOD}",
        "two classes, `A` at line 3",
    ),
    "an enumeration": (f"import enum\nclass A(enum.Enum): a = 1\n{GOOD}", "two classes"),
    "no handle": (
        f"class Handler:\n{INITIALIZE}    def handel(self, data, context): pass\n",
        "handler.py:1: class `Handler` has no `handle`, which TorchServe calls: did you mean:"
        " `handel` at line 3",
    ),
    "no handle beside an instance": (
        f"class Handler:\n{INITIALIZE}_service = Handler()\n",
        "handler.py:1: class `Handler` has no `handle`",
    ),
    "no handle beside a class for the type checker": (
        f"TYPE_CHECKING = False\nif TYPE_CHECKING:\n    class T: pass\nclass H:\n{INITIALIZE}",
        "handler.py:4: class `H` has no `handle`",
    ),
    "nothing like handle": (
        f"from abc import ABC\nclass Handler(ABC):\n{INITIALIZE}",
        "write `def handle(self, data, context)` in it",
    ),
    "no initialize": (f"class Handler:\n{HANDLE}", "class `Handler` has no `initialize`"),
    "arguments to make it": (
        f"{GOOD}    def __init__(self, folder): pass\n",
        "handler.py:4: `__init__` needs arguments, and TorchServe gives none",
    ),
    "no context": (
        f"class Handler:\n    def initialize(self): pass\n{HANDLE}",
        "handler.py:2: `initialize` does not take 1 argument(s) beside self",
    ),
    "a function without context": (
        "def handle(data): pass\n",
        "handler.py:1: `handle` does not take 2 arguments",
    ),
}


# What is not plain: TorchServe says it itself, with the cause, when it loads the handler.
UNSAID = {
    "a second name": f"{GOOD}Service = Handler\n",
    "a named tuple": f"import collections as c\nPair = c.namedtuple('Pair', 'a b')\n{GOOD}",
    "a class by a condition": f"if True:\n    class Helper: pass\n{GOOD}",
    "a class by try": f"try:\n    class Helper: pass\nfinally: pass\n{GOOD}",
    "a class in a loop": f"for _ in '':\n    pass\nclass Helper: pass\n{GOOD}",
    "a class with a metaclass": f"import abc\nclass A(metaclass=abc.ABCMeta): pass\n{GOOD}",
    "a class with a decorator": f"import typing\n@typing.final\nclass A: pass\n{GOOD}",
    "a class of two values": f"Helper = None\nclass Helper: pass\n{GOOD}",
    "a global": f"def f():\n    global a\n    a = 1\nclass Helper: pass\n{GOOD}",
    "import *": f"from tests.empty import *\nclass Helper: pass\n{GOOD}",
    "no handle that is deleted": f"class Handler:\n{INITIALIZE}a = 1\ndel a\n",
    "no handle by a condition": f"class Handler:\n{INITIALIZE}    if a := 1: pass\n",
}


def load(folder: Path, text: str, name: str) -> None:
    """Have TorchServe load it, as a worker does."""
    write(folder / f"{name}.py", text)
    importlib.invalidate_caches()
    TsModelLoader().load(name, str(folder), f"{name}.py")


@pytest.mark.parametrize("kind", TAKEN)
def test_a_handler_that_torchserve_takes_is_never_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.syspath_prepend(folder)
    write(folder / "handler.py", TAKEN[kind])
    assert look(folder) == []
    stars = f"class Base:\n{INITIALIZE}{HANDLE}def handle(data, context): pass\n"
    stars += "def register(kind): kind.handle = handle\n"
    monkeypatch.setitem(sys.modules, "tests.stars", module("tests.stars", stars))
    load(folder, TAKEN[kind], f"taken_{os.getpid()}_{abs(hash(kind))}")


def module(name: str, text: str) -> Any:
    found = type(sys)(name)
    exec(text, found.__dict__)  # noqa: S102 - our own
    return found


@pytest.mark.parametrize("kind", REFUSED)
def test_a_handler_that_torchserve_cannot_take_is_refused_in_its_own_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    text, words = REFUSED[kind]
    write(folder / "handler.py", text)
    with pytest.raises(Fault) as refused:
        refuse(folder)
    assert words in str(refused.value)
    monkeypatch.syspath_prepend(folder)
    with pytest.raises((ValueError, TypeError, AttributeError)):
        load(folder, text, f"refused_{os.getpid()}_{abs(hash(kind))}")


@pytest.mark.parametrize("kind", UNSAID)
def test_of_a_handler_that_is_not_plain_nothing_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    write(folder / "handler.py", UNSAID[kind])
    assert look(folder) == look(folder, State.WARNING) == []
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(sys.modules, "tests.empty", module("tests.empty", ""))
    with pytest.raises(ValueError, match=r"Expected only one class|Expect handle method"):
        load(folder, UNSAID[kind], f"unsaid_{os.getpid()}_{abs(hash(kind))}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def f():\n    return (1\n", "handler.py:2: '(' was never closed: return (1: mend"),
        ("x = 1\nreturn x\n", "handler.py:2: 'return' outside function: return x: mend"),
    ],
)
def test_a_handler_that_does_not_compile_is_named_with_its_line(
    folder: Path, text: str, words: str
) -> None:
    write(folder / "handler.py", text)
    with pytest.raises(Fault) as refused:
        refuse(folder)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


# What the handler loads.

PLACE = 'context.system_properties["model_dir"]'
INITIALIZES = """\
from pathlib import Path
from transformers import AutoModel

class Handler:
    def initialize(self, context):
        """
LOADS = "AutoModel.from_pretrained"


def loads(text: str) -> loading.Loads:
    return loading.of(source.Source(Path("handler.py"), ast.parse(text)))


def test_what_the_handlers_of_this_repository_load_is_sure() -> None:
    for text in (HANDLER, (ROOT / "handler.py").read_text(encoding="utf-8")):
        found = loads(text)
        assert found.model
        assert found.classifier
        assert found.tokenizer


@pytest.mark.parametrize(
    "body",
    [
        f"self.model = {LOADS}({PLACE}, local_files_only=True).eval()",
        f"folder = Path(context.system_properties.get('model_dir')); {LOADS}(folder)",
        f"self.folder = str({PLACE}); {LOADS}(self.folder)",
        f"self.folder = {PLACE}; self.load()\n    def load(self): {LOADS}(self.folder)",
        f"self.model = self.load({PLACE})\n    def load(self, place): return {LOADS}(place)",
        f"load({PLACE}).eval()\ndef load(folder): return {LOADS}(folder)",
    ],
)
def test_what_is_plainly_loaded_from_the_folder_is_sure(body: str) -> None:
    assert loads(INITIALIZES + body).model


@pytest.mark.parametrize(
    "body",
    [
        f"self.folder = {PLACE}; self.folder += '/a'; {LOADS}(self.folder)",
        f"load({PLACE})\ndef load(folder): folder = folder + '/a'; {LOADS}(folder)",
        f"load({PLACE})\ndef load(name, folder='a'): {LOADS}(folder)",
        f"load(*names, {PLACE})\ndef load(name, folder): {LOADS}(folder)",
        f"load({PLACE})\ndef load(folder): pass\nload = print",
        f"self.load({PLACE})\n    def load(self, folder): self.load(folder)",
    ],
)
def test_what_may_be_another_folder_is_not_sure(body: str) -> None:
    assert not loads(INITIALIZES + body).model


OTHER = """\
from transformers import AutoModelForSequenceClassification

class Handler:
    def initialize(self, context):
        folder = context.system_properties["model_dir"]
        if weights.suffix in (".pt", ".pth"):
            return
        self.model = AutoModelForSequenceClassification.from_pretrained(folder)
"""


@pytest.mark.parametrize(
    ("files", "test", "sure"),
    [
        (["model.safetensors"], 'weights.suffix in (".pt", ".pth")', True),
        (["model.safetensors"], 'weights.suffix == ".pt"', True),
        (["a.pth"], 'weights.suffix == ".pt"', True),
        (["a.pth"], 'weights.suffix in (".pt", ".pth")', False),
        (["model.safetensors"], 'weights.suffix != ".pt"', False),
        (["model.safetensors"], 'weights.suffix in (".pt", ".safetensors")', False),
        (["model.safetensors"], "weights.suffix in ()", False),
        (["model.safetensors"], 'weights.suffix in (".pt", other)', False),
        (["model.safetensors"], "weights.suffix == other", False),
    ],
)
def test_what_is_done_with_other_weights_counts_where_there_are_any(
    files: list[str], test: str, sure: bool
) -> None:
    text = OTHER.replace('weights.suffix in (".pt", ".pth")', test)
    found = loading.of(source.Source(Path("handler.py"), ast.parse(text)), files)
    assert found.model is sure


@pytest.mark.parametrize(
    "change",
    [
        (PLACE, '"bert-base-uncased"'),
        (PLACE, f'{PLACE} + "/a"'),
        (".from_pretrained(folder)", ".from_pretrained(folder, config=made)"),
        (".from_pretrained(folder)", ".from_pretrained(folder, **self.options)"),
        (".from_pretrained(folder)", ".from_pretrained(folder) if made else None"),
        ("from transformers import", "from mine import"),
        ("        self.tokenizer =", "        if made: return\n        self.tokenizer ="),
        ("def initialize(self", "def maybe(self"),
        ("def initialize(self", "@perhaps\n    def initialize(self"),
        ("import torch\n", "import torch\nfrom zipfile import extractall\n"),
        ("import torch\n", "import torch\ndel torch\n"),
        ("import torch\n", "import torch\ndef handle(data, context): pass\n"),
        ('["model_dir"]', '["model_dir"]\n        folder = self.unpack(folder)'),
        ('["model_dir"]', '["model_dir"]\n        if made: folder = "elsewhere"'),
        (f"folder = {PLACE}", "pass"),
        ("        folder = ", "        if made: folder = "),
    ],
)
def test_what_may_be_loaded_from_elsewhere_is_not_sure(change: tuple[str, str]) -> None:
    text = HANDLER.replace(*change)
    assert text != HANDLER
    found = loads(text)
    assert (found.model, found.classifier, found.tokenizer) == (False, False, False)
    assert found.pretrained


# The checkpoint.


@pytest.mark.parametrize(
    "save",
    [
        tiny_checkpoints.save_bert,
        tiny_checkpoints.save_distilbert,
        tiny_checkpoints.save_roberta,
        tiny_checkpoints.save_gpt2,
    ],
)
@pytest.mark.parametrize("labels", [1, 2, 5])
def test_real_checkpoints_of_all_kinds_pass_without_a_warning(
    folder: Path, save: Any, labels: int
) -> None:
    (folder / "torch_model" / "weights.pt").unlink()
    save(folder / "torch_model", num_labels=labels)
    write(folder / "handler.py", HANDLER)
    assert look(folder) == look(folder, State.WARNING) == []


def test_a_handler_of_its_own_needs_no_config_and_no_tokenizer(folder: Path) -> None:
    assert look(folder) == look(folder, State.WARNING) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.json", "config.json does not exist: transformers cannot load the weights: save"),
        ("tokenizer.json", "which knows no word: save it there with save_pretrained"),
    ],
)
def test_a_file_that_the_handler_is_sure_to_need_is_missed(
    tuned: Path, name: str, words: str
) -> None:
    (tuned / "torch_model" / name).unlink()
    with pytest.raises(Fault) as refused:
        refuse(tuned)
    assert words in str(refused.value)


def test_a_file_that_the_handler_may_do_without_is_a_warning_at_most(tuned: Path) -> None:
    (tuned / "torch_model" / "config.json").unlink()
    (tuned / "torch_model" / "tokenizer.json").unlink()
    write(tuned / "handler.py", HANDLER.replace("        self.", "        if self: self."))
    assert look(tuned) == []


def test_a_headless_checkpoint_is_refused_where_a_classifier_is_loaded(folder: Path) -> None:
    (folder / "torch_model" / "weights.pt").unlink()
    tiny_checkpoints.save_headless_bert(folder / "torch_model")
    assert look(folder) == look(folder, State.WARNING) == []
    write(folder / "handler.py", HANDLER + "\n\ndef load_file(): pass\n")
    (only,) = look(folder, State.WARNING)
    assert "the weights may be without a head" in only.what
    write(folder / "handler.py", HANDLER)
    (found,) = look(folder)
    assert "config.json:" in found.what
    assert "BertModel is no …ForSequenceClassification" in found.what
    assert "answers would be noise" in found.what


def test_a_config_that_names_no_class_is_a_warning_where_the_weights_have_a_head(
    tuned: Path,
) -> None:
    edit(tuned / "torch_model" / "config.json", architectures=None, model_type=None)
    assert look(tuned) == []
    (kind, head) = look(tuned, State.WARNING)
    assert "has no model_type" in kind.what
    edit(tuned / "torch_model" / "config.json", architectures=None, model_type="bert")
    assert look(tuned) == []
    assert look(tuned, State.WARNING) == [head]
    assert "no architecture is no …ForSequenceClassification" in head.what


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id2label": {"0": "a", "1": "b"}}, ": 2 class(es), and classifier.weight in the weights"),
        ({"num_labels": 4}, ": 4 class(es)"),
        ({"id2label": None, "label2id": None}, ": 2 class(es)"),
        ({"vocab_size": 9}, ": vocab_size is 9, and the embedding in the weights has 68 rows"),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused_with_its_line(
    tuned: Path, change: dict[str, Any], words: str
) -> None:
    edit(tuned / "torch_model" / "config.json", **change)
    found = look(tuned)
    assert len(found) == 1
    assert words in found[0].what
    # Of what is not there, there is no line to name.
    assert re.search(r"config\.json:\d+: ", found[0].what) or None in change.values()
    write(tuned / "handler.py", HANDLER.replace("(folder)", "(folder, ignore_mismatched_sizes=1)"))
    assert look(tuned) == []
    assert words in look(tuned, State.WARNING)[0].what


def test_names_that_do_not_fit_the_classes_are_refused_where_they_are_read(tuned: Path) -> None:
    names = tuned / "torch_model" / "index_to_name.json"
    write(names, '{"0": "a", "1": "b", "2": "c"}')
    assert look(tuned) == look(tuned, State.WARNING) == []
    write(names, '{"0": "a", "1": "b"}')
    assert "names 0, 1, and the model has 3 class(es)" in look(tuned, State.WARNING)[0].what
    write(tuned / "handler.py", HANDLER + "\n\nNAMES = 'index_to_name.json'\n")
    assert look(tuned)[0].cure == "name 0 to 2"
    write(names, '{\n"0": "a",\n}')
    with pytest.raises(Fault, match=r"index_to_name\.json:\d:\d: not JSON"):
        refuse(tuned)


def test_a_part_of_the_weights_that_is_missing_or_cut_short_is_refused(tuned: Path) -> None:
    weights = tuned / "torch_model" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(Fault, match=r"model\.safetensors has \d+ bytes, and its header tells of"):
        refuse(tuned)
    index = {"weight_map": {"w": "model-2.safetensors"}}
    write(tuned / "torch_model" / "model.safetensors.index.json", json.dumps(index))
    weights.rename(weights.with_name("model-1.safetensors"))
    with pytest.raises(Fault, match=r"model-2\.safetensors is not there"):
        refuse(tuned)


def test_weights_that_are_not_loaded_are_not_refused(tuned: Path) -> None:
    folder = tuned / "torch_model"
    write(folder / "pytorch_model.bin", "PK and no more")
    index = {"weight_map": {"w": "pytorch_model-2.bin"}}
    write(folder / "pytorch_model.bin.index.json", json.dumps(index))
    refuse(tuned)


def test_an_adapter_beside_no_config_is_not_refused(tuned: Path) -> None:
    (tuned / "torch_model" / "config.json").unlink()
    write(tuned / "torch_model" / "adapter_config.json", '{"base_model_name_or_path": "/base"}')
    refuse(tuned)


@pytest.mark.parametrize("names", ['["a", "b", "c"]', '{"good": 0, "bad": 1}'])
def test_names_in_a_form_of_the_handlers_own_are_not_refused(tuned: Path, names: str) -> None:
    write(tuned / "handler.py", HANDLER + "\n\nNAMES = 'index_to_name.json'\n")
    write(tuned / "torch_model" / "index_to_name.json", names)
    refuse(tuned)


# The vocabulary.


def tokenizer(folder: Path, vocabulary: Any, *added: int) -> None:
    listed = [{"id": each, "content": f"[{each}]"} for each in added]
    whole = {"model": {"vocab": vocabulary}, "added_tokens": listed}
    write(folder / "torch_model" / "tokenizer.json", json.dumps(whole))


@pytest.mark.parametrize(
    "vocabulary",
    [{f"w{each}": each for each in range(80)}, [[f"w{each}", -1.0] for each in range(80)]],
    ids=["WordPiece", "Unigram"],
)
def test_a_tokenizer_of_another_model_is_refused_where_both_are_loaded(
    tuned: Path, vocabulary: Any
) -> None:
    tokenizer(tuned, vocabulary)
    (found,) = look(tuned)
    assert "tokens up to id 79, and the embedding in the weights ends at 67" in found.what
    write(tuned / "handler.py", HANDLER + "\n\nresize_token_embeddings = None\n")
    assert look(tuned) == []
    assert look(tuned, State.WARNING)[0].what == found.what


def test_a_token_that_was_added_without_an_embedding_is_a_warning(tuned: Path) -> None:
    tokenizer(tuned, {f"w{each}": each for each in range(68)}, 67, 68)
    assert look(tuned) == []
    (found,) = look(tuned, State.WARNING)
    assert "the added token [68] has id 68, and the embedding" in found.what


def test_a_tokenizer_with_few_of_the_models_tokens_is_a_warning(tuned: Path) -> None:
    tokenizer(tuned, {f"w{each}": each for each in range(33)})
    assert look(tuned) == []
    assert "has 33 tokens, and the embedding" in look(tuned, State.WARNING)[0].what


@pytest.mark.parametrize("name", ["vocab.txt", "vocab.json"])
def test_the_vocabulary_of_an_older_tokenizer_counts_too(tuned: Path, name: str) -> None:
    (tuned / "torch_model" / "tokenizer.json").unlink()
    words = [f"w{each}" for each in range(70)]
    ids = {word: number for number, word in enumerate(words)}
    text = "\n".join(words) if name == "vocab.txt" else json.dumps(ids)
    write(tuned / "torch_model" / name, text)
    (found,) = look(tuned)
    assert f"{name} has tokens up to id 69" in found.what


# model-config.yaml and config.properties.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: [\n", "model-config.yaml:2:5: not YAML (while parsing a flow node"),
        ("a: 1\n\tb: 2\n", "model-config.yaml:2:1: not YAML ("),
        ("- a\n", "model-config.yaml: not a mapping: write one `key: value` a line"),
        ("batchSize: four\n", "model-config.yaml:1: batchSize is 'four', and TorchServe would"),
        ("\nbatchSize: -1\n", "model-config.yaml:2: batchSize is -1"),
        ("responseTimeout: 1.5\n", "write a whole number above 0"),
        ("useJobTicket: 1\n", "write true or false"),
        ("deviceIds: 0\n", "write a list of whole numbers"),
        ("deviceType: cuda\n", "write cpu or gpu"),
        ("minWorkers: 3\nmaxWorkers: 2\n", "model-config.yaml:2: maxWorkers is less than"),
    ],
)
def test_a_model_config_that_torchserve_cannot_read_is_refused_in_one_line(
    folder: Path, text: str, words: str
) -> None:
    write(folder / "model-config.yaml", text)
    with pytest.raises(Fault) as refused:
        refuse(folder)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_handlers_own_keys_pass_and_one_that_is_nearly_torchserves_is_a_warning(
    folder: Path,
) -> None:
    times = "responseTimeout: 9\nstartupTimeout: 9\n"
    write(folder / "model-config.yaml", f"{times}handler:\n  batchSize: four\nlabels: [a]\n")
    assert look(folder) == look(folder, State.WARNING) == []
    write(folder / "model-config.yaml", f"{times}batch_size: 4\nmax_worker: 2\n")
    first, second = look(folder, State.WARNING)
    assert "model-config.yaml:3: TorchServe knows no batch_size" in first.what
    assert first.cure == "write batchSize, if you mean that"
    assert second.cure == "write maxWorkers, if you mean that"


def test_what_a_model_config_leaves_out_or_says_twice_is_a_warning(folder: Path) -> None:
    write(folder / "model-config.yaml", "maxWorkers: 2\nresponseTimeout: 9\nmaxWorkers: 3\n")
    twice, alone, timeout = look(folder, State.WARNING)
    assert "model-config.yaml:1: maxWorkers stands again on line 3" in twice.what
    assert alone.cure == "write `minWorkers: 3` as well"
    assert "without startupTimeout, TorchServe takes 120 s" in timeout.what


def test_the_keys_of_a_model_config_are_those_that_the_server_reads() -> None:
    constants = java_class.strings("archive/model/ModelConfig")
    assert set(model_config.KEYS) == {each for each in constants if each.isalnum()}


def test_the_number_of_workers_is_refused_with_its_line(folder: Path) -> None:
    write(folder / "model-config.yaml", "\nmaxWorkers: four\n")
    with pytest.raises(Fault, match=r"model-config\.yaml:2: maxWorkers is 'four', which is no"):
        _ = settings.read(folder).workers


def test_keys_that_do_not_count_are_named_with_what_beats_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU", "cpu")
    write(folder / "model-config.yaml", "minWorkers: 1\nmaxWorkers: 1\nstartupTimeout: 9\n")
    lines = [
        "load_models=a=a.mar",
        "default_response_timeout=1",
        "default_startup_timeout=1",
        "default_workers_per_model=1",
        "python=/usr/bin/python",
        "number_of_gpu=1",
        'models={"a": {"1.0": {"batchSize": 4}}}',
        "job_queue_size=1",
        "job_queue_size=1",
        "job_queue_sise=1",
    ]
    write(folder / "config.properties", "\n".join(lines))
    told = "\n".join(each.what for each in look(folder, State.WARNING))
    for words in (
        "config.properties:2: default_response_timeout does not count: ",
        "config.properties:3: default_startup_timeout does not count: startupTimeout in ",
        "config.properties:4: default_workers_per_model does not count: minWorkers in ",
        "config.properties:5: python does not count: ",
        "config.properties:6: number_of_gpu does not count: GPU=cpu beats it",
        "config.properties:7: models does not count: it is about 1.0",
        "config.properties:9: job_queue_size stands on line 8 already",
        "config.properties:10: TorchServe knows no job_queue_sise",
    ):
        assert words in told
    assert look(folder) == []


def test_the_keys_of_config_properties_are_those_that_the_server_reads() -> None:
    constants = java_class.strings("util/ConfigManager")
    # The launcher's; what some keys are by default; a library's name.
    constants |= {"plugins_path", "vmargs"}
    constants -= {f"ts_request_sequence_{each}" for each in ("id", "start", "end")}
    constants.remove("torchelastic_ts")
    assert constants >= properties.KEYS
    assert {each for each in constants if re.fullmatch("[a-z0-9]+(_[a-z0-9]+)+", each)} <= (
        properties.KEYS
    )
    assert set(settings.read(ROOT).properties) | {*settings.PATHS, *settings.GRPC} <= (
        properties.KEYS
    )


@pytest.mark.parametrize("asked", ["", "1", "on", "0", "off"])
def test_warm_says_on_or_off_and_nothing_else(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("WARM", asked)
    assert launch.warm_wanted() == (asked not in ("0", "off"))
    monkeypatch.setenv("WARM", "maybe")
    with pytest.raises(Fault, match="WARM=maybe is neither on nor off: use 1 or 0"):
        launch.warm_wanted()


# What is asked.


def test_samples_and_goldens_that_cannot_be_read_are_refused_unless_nobody_asks_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "smoke" / "samples.jsonl", "\n{\n")
    write(folder / "smoke" / "golden.jsonl", "[]\n")
    with pytest.raises(Fault) as refused:
        refuse(folder)
    first, second = str(refused.value).splitlines()
    assert "samples.jsonl:2: not JSON" in first
    assert "golden.jsonl:1: not a JSON object" in second
    monkeypatch.setenv("GATE", "none")
    refuse(folder)
    assert "reload: warning: " in capsys.readouterr().err


# One question for all commands.


@pytest.mark.parametrize(
    "command",
    [archive.main, lambda: plan.plan(settings.read(os.environ["APP"]))],
    ids=["archive", "redeploy"],
)
def test_archive_and_redeploy_refuse_before_they_touch_anything(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    monkeypatch.setenv("APP", str(folder))
    monkeypatch.setattr(launch, "check", lambda _: pytest.fail("it went on"))
    monkeypatch.setattr(package, "remember", lambda *_: pytest.fail("it went on"))
    write(folder / "handler.py", "class A: pass\nclass B: pass\n")
    with pytest.raises(Fault, match="two classes") as refused:
        command()
    assert refused.value.exit_code == 2


def test_reload_and_compare_refuse_before_anything_is_registered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = versions.Versions("live", None, frozenset(), frozenset(), frozenset())
    monkeypatch.setattr(versions, "find", lambda *_: found)
    monkeypatch.setattr(Management, "live", lambda _: "live")
    monkeypatch.setattr(Management, "__init__", lambda *_: None)
    monkeypatch.setattr(candidate, "registered", lambda *_: pytest.fail("it went on"))
    write(folder / "handler.py", "class A: pass\nclass B: pass\n")
    app = settings.read(folder)
    with pytest.raises(Fault, match="two classes"):
        reload.reload(app, Gate.NONE)
    with pytest.raises(Fault, match="two classes"), compare.sides(app, []):
        pass


def test_all_that_is_wrong_is_told_at_once_one_a_line(tuned: Path) -> None:
    write(tuned / "handler.py", GOOD.replace("handle", "handel"))
    write(tuned / "model-config.yaml", "batchSize: four\n")
    edit(tuned / "torch_model" / "config.json", vocab_size=9)
    with pytest.raises(Fault) as refused:
        refuse(tuned)
    lines = str(refused.value).splitlines()
    assert [line.split("/")[-1].split(":")[0] for line in lines] == [
        "handler.py",
        "model-config.yaml",
    ]
    assert all(line.count(": ") >= 2 for line in lines)


def test_a_warning_is_told_once_until_something_about_it_changes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told() -> list[str]:
        refuse(folder)
        return capsys.readouterr().err.splitlines()

    write(folder / "config.properties", "load_models=a=a.mar\npython=x\n")
    (line,) = told()
    assert line.startswith("reload: warning: ")
    assert line.endswith(": remove the line")
    assert told() == []
    write(folder / "handler.py", GOOD + "# more\n")
    assert told() == []
    write(folder / "config.properties", "load_models=a=a.mar\npython=x\n# the same\n")
    assert told() == []
    write(folder / "config.properties", "load_models=a=a.mar\n\npython=x\n")
    assert len(told()) == 1


def test_after_an_edit_of_the_handler_nothing_else_is_read_again(
    tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(tuned)
    app = settings.read(tuned)
    opened: list[str] = []
    reads = [(Path, "open"), (Path, "read_bytes"), (Path, "read_text")]
    for owner, name in reads:
        real = getattr(owner, name)

        def noting(path: Path, *args: Any, real: Any = real, **more: Any) -> Any:
            opened.append(path.name)
            return real(path, *args, **more)

        monkeypatch.setattr(owner, name, noting)
    refuse(tuned)
    unchanged = set(opened)
    write(tuned / "handler.py", HANDLER + "# more\n")
    packed = package.contents(app)
    opened.clear()
    deploy.refuse_bad(app, packed, "reload")
    small = {"handler.py", "config.properties", "samples.jsonl", "golden.jsonl", "checks.json"}
    assert "handler.py" in opened
    assert {each for each in opened if not each.startswith(".checks")} <= small
    assert "tokenizer.json" in unchanged


def test_a_handler_that_loads_otherwise_is_held_against_the_checkpoint_again(tuned: Path) -> None:
    (tuned / "torch_model" / "config.json").unlink()
    write(tuned / "handler.py", GOOD)
    refuse(tuned)
    write(tuned / "handler.py", HANDLER)
    for _ in range(2):
        with pytest.raises(Fault, match=r"config\.json does not exist"):
            refuse(tuned)


def test_other_checks_look_at_everything_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(folder)
    looked: list[str] = []

    def noting(row: Row) -> Row:
        def look(tree: Tree) -> Any:
            looked.append(row.name)
            return row.look(tree)

        return row._replace(look=look)

    monkeypatch.setattr("loop.checks.deploy.ROWS", [noting(row) for row in ROWS])
    refuse(folder)
    assert looked == []
    monkeypatch.setattr("loop.checks.memory._edition", lambda: "another")
    refuse(folder)
    assert looked == [row.name for row in ROWS]


def test_what_is_known_is_read_without_the_heavy_packages(folder: Path) -> None:
    code = (
        "import sys; from loop import package, settings; from loop.checks import deploy;"
        "app = settings.read(sys.argv[1]);"
        "deploy.refuse_bad(app, package.contents(app), 'reload');"
        "print([n for n in ('torch', 'transformers', 'numpy', 'yaml', 'ts') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
