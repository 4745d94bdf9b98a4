"""The page on the simulator tells every address, every control and every fault, and its example runs."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from deploy.demo.simulator import control, registry
from deploy.demo.simulator.faults import Kind, WebhookFaults, read_script

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()


def addresses() -> dict[str, set[str]]:
    """Each address with its methods."""
    registry.discover()
    found: defaultdict[str, set[str]] = defaultdict(set)
    for route in registry.ROUTES:
        found[re.sub(r"\(\?P<(\w+)>\[\^/\]\+\)", r"{\1}", route.pattern.pattern)].add(route.method)
    return dict(found)


def test_every_address_is_told_with_its_methods() -> None:
    told = {
        path: set(re.findall(r"`(\w+)`", methods))
        for path, methods in re.findall(r"^\| `(/v1/\S+)` \| (.*) \|$", PAGE, re.MULTILINE)
    }
    assert told == {path: methods for path, methods in addresses().items() if path.startswith("/v1/")}


def test_every_control_is_told() -> None:
    told = re.findall(r"^\| `(GET|POST) (/_sim/\S+)` \|", PAGE, re.MULTILINE)
    acts = [(method, path) for path, methods in addresses().items() if path.startswith("/_sim/") for method in methods]
    assert sorted(told) == sorted([*control.known(), *acts])


@pytest.mark.parametrize("name", [*WebhookFaults.model_fields, *Kind])
def test_every_fault_is_told(name: str) -> None:
    assert re.search(rf"^\| .*`{name}`.* \|", PAGE, re.MULTILINE)


def test_the_fault_script_is_one() -> None:
    (script,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert read_script(json.loads(script)).webhooks.duplicate is not None


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "example.py"
    file.write_text(example)
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, str(file)], cwd=root, env={"PYTHONPATH": root, "HOME": str(tmp_path)}, check=True)
