"""A workflow: what its app is made of, and whether TorchServe can make something of it.

    workflow_spec.yaml      the models by their archives, and the DAG over models and functions
    workflow_handler.py     the functions
    model_store/FILE.mar    a model: mostly a link into the model store of the app that builds it

So no large file is copied, and an edit in one of those apps is another version of the workflow.
"""

import graphlib
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from loop import model_config, package, settings
from loop.checks import source
from loop.package import Contents
from loop.settings import Settings
from smoke.fault import Fault, run

SPEC = "workflow_spec.yaml"
HANDLER = "workflow_handler.py"
# As org.pytorch.serve.ensemble.WorkFlow reads them, beside a mapping for each model.
OF_ALL_MODELS = {
    *("batch-size", "max-batch-delay", "max-workers", "min-workers", "retry-attempts"),
    "timeout-ms",
}


@dataclass(frozen=True)
class Spec:
    """A workflow_spec.yaml.

    Attributes:
        models: the archive of each model.
        dag: of each node, those that its answer is given to.
        root: as YAML has parsed it, with the lines.
    """

    path: Path
    models: dict[str, str]
    dag: dict[str, list[str]]
    root: yaml.Node

    @property
    def functions(self) -> list[str]:
        """The nodes that are no models."""
        nodes = [*self.dag, *(each for after in self.dag.values() for each in after)]
        return [each for each in dict.fromkeys(nodes) if each not in self.models]

    def where(self, *keys: str) -> str:
        """FILE:LINE of a key below others."""
        return _where(self.path, self.root, *keys)


def contents(app: Settings) -> Contents:
    """What the workflow is made of, the versions of its models included.

    Raises:
        Fault: something in it cannot work, with file and line; or a model's app cannot be packed.
    """
    spec, handler = read(app), app.app / HANDLER
    _check_functions(spec, handler)
    hashes = {each.name: package.hash_file(each) for each in (handler, spec.path)}
    for file in spec.models.values():
        owner = owner_of(app, spec, file)
        archive = app.model_store / file
        version = package.contents(owner).version if owner else package.built_version(archive)
        hashes[file] = version or package.hash_file(archive)
    return Contents(handler, (spec.path,), None, None, hashes)


def apps(app: Settings) -> list[Path]:
    """The apps whose models the workflow joins. Raises Fault where that cannot be told."""
    spec = read(app)
    owners = [owner_of(app, spec, each) for each in spec.models.values()]
    return list(dict.fromkeys(each.app for each in owners if each))


def owner_of(app: Settings, spec: Spec, file: str) -> Settings | None:
    """The app that builds a model's archive; None if that is no link, but the archive itself.

    Raises:
        Fault: it is neither.
    """
    path = app.model_store / file
    if not path.is_symlink():
        if path.is_file():
            return None
        raise Fault(
            f"{_model_line(spec, file)}: there is no {path}",
            "link it there from the model store of the app that builds it: ln -s",
        )
    target = path.resolve()
    for folder in target.parents:
        if (folder / "config.properties").is_file():
            owner = settings.read(folder)
            if owner.archive.resolve() == target and not owner.is_workflow:
                return owner
    raise Fault(
        f"{_model_line(spec, file)}: {path} links to {target}, which no app builds",
        "link to FILE.mar in an app's model store, as its load_models= names it",
    )


def read(app: Settings) -> Spec:
    """Read an app's workflow_spec.yaml.

    Raises:
        Fault: it is not one, with the line.
    """
    path = app.app / SPEC
    if not path.is_file():
        raise Fault(f"{path} does not exist", "write one; see examples/workflow")
    found = model_config.read(path).values
    # That it is a mapping is known by now.
    root = cast("yaml.Node", yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader))
    for key in ("models", "dag"):
        if not isinstance(found.get(key), dict):
            where = _where(path, root, key)
            raise Fault(f"{where}: there is no mapping `{key}:`", "write one")
    spec = Spec(path, _models(path, root, found["models"]), _dag(path, root, found["dag"]), root)
    _check_order(spec)
    return spec


def _models(path: Path, root: yaml.Node, listed: dict[Any, Any]) -> dict[str, str]:
    archives = {}
    for name, value in listed.items():
        where = _where(path, root, "models", name)
        if not isinstance(value, dict):
            if name in OF_ALL_MODELS and type(value) is int:
                continue
            raise Fault(
                f"{where}: {name}: {value!r:.40} is neither a model nor a setting of all models",
                f"write `{name}:` and below it `url: FILE.mar`, or one of "
                f"{', '.join(sorted(OF_ALL_MODELS))} with a whole number",
            )
        url = value.get("url")
        if not isinstance(url, str) or not url.endswith(".mar") or "/" in url:
            raise Fault(
                f"{where}: {name} has no url that names a file of the model store",
                "write `url: FILE.mar`",
            )
        archives[str(name)] = url
    return archives


def _dag(path: Path, root: yaml.Node, listed: dict[Any, Any]) -> dict[str, list[str]]:
    for name, after in listed.items():
        if not isinstance(after, list) or not all(isinstance(each, str) for each in after):
            raise Fault(
                f"{_where(path, root, 'dag', name)}: {name} is not followed by a list of nodes",
                f"write `{name}: [NODE, …]`",
            )
    return {str(name): after for name, after in listed.items()}


def _check_order(spec: Spec) -> None:
    """TorchServe takes one start and no circle; it names neither."""
    followers = {each for after in spec.dag.values() for each in after}
    starts = [each for each in spec.dag if each not in followers]
    try:
        graphlib.TopologicalSorter(spec.dag).prepare()
    except graphlib.CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        where = spec.where("dag", error.args[1][0])
        what = f"{where}: the DAG goes in a circle: {circle}"
        raise Fault(what, "take one of these out") from None
    if len(starts) != 1:
        where = spec.where("dag", *starts[1:2])
        raise Fault(
            f"{where}: {' and '.join(starts) or 'nothing'} would be asked first",
            "have one node that comes after no other, and passes the request on",
        )


def _check_functions(spec: Spec, handler: Path) -> None:
    """Whether the handler has each function of the DAG, as far as that is plain to see."""
    if not handler.is_file():
        raise Fault(f"{handler} does not exist", f"write it: {', '.join(spec.functions)}")
    parsed = source.read(handler)
    if parsed.names is None:
        return
    for name in spec.functions:
        if name not in parsed.names:
            after = (key for key, listed in spec.dag.items() if name in listed)
            where = spec.where("dag", name if name in spec.dag else next(after))
            raise Fault(
                f"{where}: {name} is no model, and {handler.name} defines no function {name}",
                f"write `def {name}(data, context)` there, or add it to `models:`",
            )
        function = source.only(parsed.names, name)
        if function and not function.args.vararg and len(function.args.args) != 2:
            raise Fault(
                f"{parsed.where(function)}: {name} does not take 2 arguments",
                f"write `def {name}(data, context)`",
            )


def _model_line(spec: Spec, file: str) -> str:
    name = next(name for name, each in spec.models.items() if each == file)
    return spec.where("models", name)


def _where(path: Path, node: yaml.Node, *keys: str) -> str:
    line = None
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [(name, value) for name, value in pairs if name.value == str(key)]
        if not found:
            break
        name, node = found[-1]
        line = name.start_mark.line + 1
    return f"{path}:{line}" if line else str(path)


def main() -> int:
    """Print the apps whose models a workflow joins, for bash: `python -m loop.workflow APP`."""
    print(f"APPS=({shlex.join(map(str, apps(settings.read(sys.argv[1]))))})")
    return 0


if __name__ == "__main__":
    run(os.environ.get("VERB", "workflow"), main)
