"""What is packed, the archive, and what it is asked, beyond what keeps a deploy from working."""

from collections.abc import Iterator

from loop import package, stage
from loop.checks import samples as readable
from loop.checks.finding import Finding, State, failure, ok, warning
from loop.checks.tree import Tree
from loop.doctor.subject import Subject
from smoke import golden
from smoke.suite import Suite
from smoke.wording import some

SHOWN = 5


def tree(subject: Subject) -> Iterator[Finding]:
    """Whether all that is packed is there."""
    packed = subject.packed
    yield ok(f"version {packed.version}: {', '.join(each.name for each in packed.files)}")


def archive(subject: Subject) -> Iterator[Finding]:
    """Whether the archive is whole, and is the tree."""
    app = subject.app
    if not app.archive.exists():
        yield warning(f"{app.archive} is not built yet", "`make redeploy`")
        return
    built = package.built_version(app.archive)
    if built is None:
        yield failure(f"{app.archive} is no whole archive", "`make redeploy` builds it anew")
    elif built == subject.packed.version:
        yield ok(f"{app.archive.name} is {built} = your tree")
    elif subject.server and subject.packed.version in stage.staged(app):
        yield ok(f"{app.archive.name} is {built}; a reload has brought your tree since")
    else:
        changed = package.changed(app, subject.packed, built)
        yield warning(
            f"{app.archive.name} is {built}, {', '.join(changed) or 'the tree'} changed since",
            "`make reload`" if subject.server else "`make redeploy`",
        )


def asked(subject: Subject) -> Iterator[Finding]:
    """Whether the samples and goldens can be read, and are about the same."""
    unreadable = [each for each in readable.check(Tree(subject.app)) if each.state is not State.OK]
    if unreadable:
        yield from unreadable
        return
    app = subject.app.app
    suite = Suite(app)
    yield ok(f"{suite.size} samples, {suite.accepted} goldens")
    if new := [each.id for each in suite.samples() if suite.golden(each.id) is None]:
        yield warning(
            f"{golden.path(app)}: no golden for {some(new, SHOWN)}",
            "`make accept` makes the answers the goldens",
        )
    if lost := list(suite.orphans):
        yield warning(
            f"{golden.path(app)}: without a sample: {some(lost, SHOWN)}", "`make accept` drops them"
        )
