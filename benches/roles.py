"""How benchmarks start roles: as a plan does, with the same allocation."""

import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SPAWNING = os.path.join(ROOT, "src/run/supervisor/spawning.rs")


def environment(**more):
    """This environment, with how memory is allocated in roles: read from where it is written."""
    with open(SPAWNING, encoding="utf-8") as file:
        allocation = dict(re.findall(r'\("(MIMALLOC_\w+)", "([^"]+)"\)', file.read()))
    assert allocation, f"{SPAWNING} says nothing of allocation"
    # What is tried on purpose comes last.
    tried = {name: value for name, value in os.environ.items() if name in allocation}
    return {**os.environ, **allocation, **tried, **more}
