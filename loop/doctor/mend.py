"""What `--fix` does about a finding."""

from dataclasses import replace

from loop.checks.finding import Finding, State
from smoke.fault import Fault


def mend(finding: Finding) -> Finding:
    """Do what can be done about a finding, which is ok afterwards."""
    if finding.fix is None:
        return finding
    try:
        fixed = finding.fix()
    except Fault as fault:
        return replace(finding, state=State.FAILURE, what=fault.what, cure=fault.cure)
    except OSError as error:
        what = f"{finding.what}; {error.filename}: {error.strerror}"
        return replace(finding, state=State.FAILURE, what=what, cure="free or permit that place")
    return replace(finding, state=State.OK, cure=None, fixed=fixed)
