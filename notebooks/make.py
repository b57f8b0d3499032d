"""Make the notebooks from their sources, notebooks/NN_name.py.

python notebooks/make.py [NN ...]           execute; write NN_name.ipynb (outputs kept, solutions
                                            folded) and student/NN_name.ipynb (no solutions)
python notebooks/make.py --check [NN ...]   execute, and fail if the files there say anything else

Needs the extra `notebooks`.  A cell tagged "solution" is left out for students; one tagged
"varies" has output that is not compared (times, widgets).
"""

import asyncio
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

HERE = Path(__file__).resolve().parent
LIMIT = 90
"""Seconds for one notebook."""


def read(source: Path) -> nbformat.NotebookNode:
    """The notebook of a source, with folded solutions and cell names that do not change."""
    notebook = jupytext.read(source)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03}"
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if "solution" in tags and cell.cell_type == "code":
            cell.metadata["jupyter"] = {"source_hidden": True}
    return notebook


def execute(notebook: nbformat.NotebookNode) -> None:
    """Run all cells in a fresh kernel."""
    with tempfile.TemporaryDirectory() as folder:
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
        client = NotebookClient(notebook, km=kernel, timeout=LIMIT, record_timing=False)
        # One thread: several at once on small matrices cost time and change the last digits.
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        run = client.async_execute(cwd=str(HERE), env={**os.environ, **one})
        asyncio.run(asyncio.wait_for(run, LIMIT))
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()
            # Sliders need a kernel; the picture that comes with them is shown everywhere.
            if "image/png" in output.get("data", {}):
                output["data"].pop("application/vnd.jupyter.widget-view+json", None)
    notebook.metadata.pop("widgets", None)


def for_students(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without solutions and outputs."""
    student = nbformat.from_dict(notebook)
    student.cells = [
        cell for cell in student.cells if "solution" not in cell.metadata.get("tags", [])
    ]
    for cell in student.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return student


def said(cell: nbformat.NotebookNode) -> list[str]:
    """What a cell printed or showed, as text; pictures and addresses in memory left out."""
    if "varies" in cell.metadata.get("tags", []):
        return []
    texts = []
    for output in cell.get("outputs", []):
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        texts.append(re.sub(r"0x[0-9a-f]+", "0x", text).strip())
    return texts


def differences(made: nbformat.NotebookNode, there: Path) -> list[str]:
    """Where the file differs from what was made now."""
    if not there.exists():
        return [f"{there.name} is missing"]
    old = nbformat.read(there, as_version=4)
    if [c.source for c in old.cells] != [c.source for c in made.cells]:
        return [f"{there.name} has other cells than its source"]
    return [
        f"{there.name}, {new.id}: shows {said(new)}, the file {said(before)}"
        for before, new in zip(old.cells, made.cells, strict=True)
        if said(before) != said(new)
    ]


def make(source: Path, check: bool) -> list[str]:
    """Execute one notebook; write its two files, or return what is wrong with them."""
    started = time.monotonic()
    notebook = read(source)
    try:
        execute(notebook)
    except CellExecutionError as error:
        return [f"{source.name}: {error}"]
    except (TimeoutError, DeadKernelError):
        return [f"{source.name}: took more than {LIMIT} s"]
    student = for_students(notebook)
    files = {source.with_suffix(".ipynb"): notebook}
    files[HERE / "student" / f"{source.stem}.ipynb"] = student
    wrong = []
    for path, content in files.items():
        nbformat.validate(content)
        if check:
            wrong += differences(content, path)
        else:
            path.parent.mkdir(exist_ok=True)
            nbformat.write(content, path)
    print(f"{source.name}: {time.monotonic() - started:.1f} s", flush=True)
    return wrong


def main(words: list[str]) -> int:
    """Make or check the notebooks whose numbers are given, or all."""
    check = "--check" in words
    numbers = [word for word in words if word != "--check"]
    sources = sorted(HERE.glob("[0-9][0-9]_*.py"))
    chosen = [s for s in sources if not numbers or s.name[:2] in numbers]
    if len(chosen) < len(numbers) or not chosen:
        print(__doc__, file=sys.stderr)
        return 2
    wrong = [problem for source in chosen for problem in make(source, check)]
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
