"""The direction of imports and the two seams of the design hold."""

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python in the project's root and return what it printed."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_keep_every_contract_of_pyproject() -> None:
    code = "import sys; from importlinter.cli import lint_imports as lint; "
    code += "sys.exit(lint(config_filename='pyproject.toml', no_cache=True, no_logo=True))"
    done = run("-c", code)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_evaluation_loads_no_torch() -> None:
    """Predictions of any model of anyone can be judged without torch."""
    done = run("-c", "import sys, remind.evaluation; print('torch' in sys.modules)")
    assert done.stdout.strip() == "False", done.stdout + done.stderr


def test_cohorts_are_prepared_and_described_without_torch() -> None:
    """It takes longer to import than most tables to prepare."""
    code = "import sys, remind.cli, remind.commands.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_module_needs_at_import_what_windows_lacks() -> None:
    lacking = {"fcntl", "grp", "pty", "pwd", "resource", "termios"}
    needed = {
        f"{file.relative_to(ROOT)}: {alias.name}"
        for file in (ROOT / "remind").rglob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in lacking
    }
    assert not needed
