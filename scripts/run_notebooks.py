"""Run notebooks from top to bottom, each in a process of its own; the first error ends it.

The failing cell and its traceback are printed, and the exit status is 1. Files that a notebook
writes go to a temporary folder. Needs the packages of the extra ``test``.

    python scripts/run_notebooks.py                        # all of them; they are not changed
    python scripts/run_notebooks.py --write notebooks/quickstart.ipynb      # keep the new outputs
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

FOLDER = Path(__file__).parents[1] / "notebooks"
LARGEST = 300_000
"""Bytes of a notebook with its outputs: it is read on the web and kept in the repository."""


def run(path: Path, timeout_s: float, write: bool) -> str | None:
    """What went wrong, or None."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=timeout_s,
            allow_errors=True,
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute()
        except CellTimeoutError:
            return f"a cell took longer than {timeout_s:g} s"
        except DeadKernelError:
            return "the process of the notebook died"
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, start=1):
        for output in cell.outputs:
            if output.output_type == "error":
                traceback = "\n".join(output.traceback)
                return f"code cell {number}:\n\n{cell.source}\n\n{traceback}"
    if write:
        for cell in cells:
            # Times of execution would make every run a change.
            cell.metadata.pop("execution", None)
        notebook.metadata.language_info = {"name": "python"}
        text = nbformat.writes(notebook) + "\n"
        if len(text) > LARGEST:
            return f"{len(text)} bytes with outputs, more than {LARGEST}; make figures smaller"
        path.write_text(text, encoding="utf-8")
    return None


def main() -> int:
    """Run the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="files; all if none is given")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for a cell")
    parser.add_argument("--write", action="store_true", help="keep the outputs in the files")
    args = parser.parse_args()
    paths = args.notebooks or sorted(FOLDER.glob("*.ipynb"))
    if not paths:
        print(f"there is no notebook in {FOLDER}", file=sys.stderr)
        return 1
    for path in paths:
        since = time.monotonic()
        problem = run(path, args.timeout, args.write)
        if problem is not None:
            print(f"{path.name}: {problem}", file=sys.stderr)
            return 1
        print(f"{path.name}: {time.monotonic() - since:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
