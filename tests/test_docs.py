"""Every command is documented, and says so itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(path for path in (ROOT / "bin").glob("*.sh") if path.name != "lib.sh")
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z]+):", MAKEFILE, flags=re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.stem)
def test_a_command_prints_its_summary_and_usage_without_doing_anything(command: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "VENV": "/nowhere"}
    done = subprocess.run(
        [command, "--help"], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Summary: ")
    assert f"bin/{command.name}" in done.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.stem)
def test_a_command_is_in_the_readme_and_in_the_makefile(command: Path) -> None:
    assert f"bin/{command.name}" in README
    assert f"bin/{command.name}" in MAKEFILE


def test_the_help_of_smoke_names_every_option_that_it_takes() -> None:
    words = [sys.executable, "-m", "smoke", "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    # Which app it is, all commands of bin/ take from APP.
    taken = set(re.findall(r"--[a-z]+", done.stdout)) - {"--help", "--app"}
    said = set(re.findall(r"--[a-z]+", (ROOT / "bin" / "smoke.sh").read_text(encoding="utf-8")))
    assert taken <= said


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "help"])
def test_a_target_is_in_the_readme_and_in_the_help(target: str) -> None:
    assert re.search(rf"`{target}\b", README)
    done = subprocess.run(["/usr/bin/make", "-C", ROOT], capture_output=True, text=True, check=True)
    assert re.search(rf"^  {target} +\S", done.stdout, flags=re.MULTILINE)


def test_every_recipe_calls_bin_or_the_tools_of_the_environment() -> None:
    recipes = re.findall(r"^\t@?(\S+)", MAKEFILE, flags=re.MULTILINE)
    assert {recipe.split("/")[0] for recipe in recipes} <= {
        "bin",
        "$(BIN)",
        "awk",
        "/^##@/",
        "/^[a-z]+:.*##",
    }


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.stem)
def test_without_an_environment_a_command_names_the_cure(command: Path) -> None:
    if command.stem == "setup":
        pytest.skip("it is the cure")
    environment = {"PATH": "/usr/bin:/bin", "VENV": "/nowhere"}
    done = subprocess.run([command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"{command.stem}: there is no environment in /nowhere: run `make setup`\n"
    )


@pytest.mark.parametrize("command", ["redeploy", "start", "stop", "status", "archive"])
def test_words_that_a_command_does_not_take_are_wrong_usage(command: str) -> None:
    done = subprocess.run(
        [ROOT / "bin" / f"{command}.sh", "surplus"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "surplus" in done.stderr
