"""Run the Python of a page from top to bottom, and keep the pictures that it shows.

A block whose last line gives a figure is drawn to the picture that follows it:

    ```python
    crop.plot()
    ```
    ![what is seen](pictures/lines.png)
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

BLOCK = re.compile(
    r"^```python\n(.*?)^```$(?:\n+!\[[^\]]*\]\(pictures/([\w-]+\.png)\))?", re.M | re.S
)


def draw(page: Path, folder: Path) -> list[str]:
    """Run `page` in a folder of its own, and save its pictures in `folder`; gives their names."""
    import matplotlib as mpl

    mpl.use("Agg")
    folder.mkdir(exist_ok=True)
    names: dict[str, Any] = {"__name__": "__main__"}
    drawn = []
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as away:
        os.chdir(away)
        try:
            for code, picture in BLOCK.findall(page.read_text(encoding="utf-8")):
                value = run(code, names)
                if picture:
                    value.savefig(folder / picture, dpi=100)
                    drawn.append(picture)
        finally:
            os.chdir(before)
    return drawn


def run(code: str, names: dict[str, Any]) -> Any:
    """Run a block; gives the value of its last line, as a notebook would show it."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "page", "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "page", "eval"), names)


if __name__ == "__main__":
    print(*draw(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()))
