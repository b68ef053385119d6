"""What would be packed for an app: what its own model is made of, or its workflow."""

from loop import package, workflow
from loop.package import Contents
from loop.settings import Settings


def of(app: Settings) -> Contents:
    """What would be packed from the tree as it is now.

    Raises:
        Fault: a file is missing, or something in it cannot work; see both modules.
    """
    return workflow.contents(app) if app.is_workflow else package.contents(app)
