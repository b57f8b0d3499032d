"""Arrays from files that strangers wrote: nothing is unpickled, nothing is read before its size.

>>> import tempfile, pathlib
>>> with tempfile.TemporaryDirectory() as folder:
...     path = pathlib.Path(folder, "run.csv")
...     _ = path.write_text("t,loss\\n0,2\\n1,0.5\\n")
...     columns = read_columns(path)
>>> columns["loss"].tolist()
[2.0, 0.5]
"""

from __future__ import annotations

import ast
import csv
import io
import math
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kltheory.errors import InputError

__all__ = ["MAX_BYTES", "read_columns", "read_matrix", "read_vector"]

Array = NDArray[np.float64]

MAX_BYTES = 2**30
"""A file, and what it says it holds, may have so many bytes."""

_HEADER_BYTES = 10_000

_SUFFIXES = {
    "a matrix": (".npy", ".csv", ".mtx"),
    "a vector": (".npy", ".csv"),
    "a table": (".csv", ".npz"),
}


def read_matrix(path: str | Path) -> Any:
    """Return the matrix in a file: an array from .npy or .csv, an array or CSR from .mtx.

    Raises InputError if the file cannot be read, is too large, or holds anything but a matrix of
    finite real numbers.
    """
    path, suffix = _checked(path, "a matrix")
    if suffix == ".mtx":
        return _matrix_market(path)
    array = _npy(path) if suffix == ".npy" else _grid(path)
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{_name(path)}: the array has shape {array.shape}; give a matrix (m, n).")
    return _finite(array, path)


def read_vector(path: str | Path) -> Array:
    """Return the vector in a file: .npy, or .csv as one row or one column.

    Raises InputError as `read_matrix`.
    """
    path, suffix = _checked(path, "a vector")
    array = _npy(path) if suffix == ".npy" else _grid(path)
    if array.ndim == 2 and 1 in array.shape:
        array = array.ravel()
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{_name(path)}: the array has shape {array.shape}; give a vector (m,).")
    return _finite(array, path)


def read_columns(path: str | Path) -> dict[str, Array]:
    """Return the columns of a table by name, all of one length: .csv with a header, or .npz.

    "-" is standard input, as CSV.  Values may be empty or NaN (read as NaN): a program that
    recorded them decides what they mean.  Raises InputError as `read_matrix`.
    """
    if str(path) == "-":
        return _table(io.StringIO(_standard_input()), "standard input")
    path, suffix = _checked(path, "a table")
    if suffix == ".csv":
        return _table(io.StringIO(_text(path)), _name(path))
    return _npz(path)


# -- what a file may be ------------------------------------------------------------------------


def _name(path: Path) -> str:
    text = str(path)
    return repr(text if len(text) <= 80 else "..." + text[-77:])


def _checked(path: str | Path, what: str) -> tuple[Path, str]:
    """Refuse what is no file, too large, or of a kind that is not read here."""
    path = Path(path)
    allowed = _SUFFIXES[what]
    try:
        folder, regular, size = path.is_dir(), path.is_file(), path.stat().st_size
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {_name(path)}: {why}.") from None
    if folder:
        raise InputError(f"{_name(path)} is a directory; give a file in it.")
    suffix = path.suffix.lower()
    if suffix not in allowed:
        raise InputError(f"{_name(path)}: {what} is read from {', '.join(allowed)} files.")
    if not regular:
        raise InputError(f"{_name(path)} is not a regular file.")
    if size == 0:
        raise InputError(f"{_name(path)} is empty.")
    if size > MAX_BYTES:
        raise InputError(f"{_name(path)} has {size} bytes; at most {MAX_BYTES} are read.")
    return path, suffix


def _finite(array: Array, path: Path) -> Array:
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{_name(path)}: entry {where} is {array[where]}; numbers are finite.")
    return array


def _standard_input() -> str:
    """Read all of it as text in UTF-8, whatever the locale is."""
    if sys.stdin is None:
        raise InputError("standard input is closed.")
    stream = getattr(sys.stdin, "buffer", sys.stdin)
    try:
        data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read standard input: {error.strerror or error}.") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"standard input has more than {MAX_BYTES} bytes.")
    try:
        return data if isinstance(data, str) else data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("standard input is not text in UTF-8.") from None


# -- NumPy's formats ---------------------------------------------------------------------------


def _npy(path: Path) -> Array:
    with path.open("rb") as file:
        return _array(file, path.stat().st_size, _name(path))


def _array(file: Any, size: int, name: str) -> Array:
    """Read one .npy stream of `size` bytes after comparing its header with that size."""
    try:
        shape, fortran, dtype = _header(file)
    except (
        ValueError,
        TypeError,
        SyntaxError,
        MemoryError,
        RecursionError,
        zipfile.error,
    ) as error:
        why = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise InputError(f"{name} is not a NumPy file: {why}.") from None
    if dtype.hasobject or dtype.kind not in "bifu":
        raise InputError(f"{name} holds {str(dtype)[:40]!r}; give real numbers.")
    promised = math.prod(shape) * dtype.itemsize
    if len(shape) > 2 or promised > size or promised > MAX_BYTES:
        raise InputError(
            f"{name} says that it holds shape {str(shape)[:60]}, {promised} bytes, and has {size}: "
            "it is truncated or damaged."
        )
    data = file.read(promised)
    if len(data) != promised:
        raise InputError(f"{name} is truncated: {len(data)} of {promised} bytes.")
    flat = np.frombuffer(data, dtype=dtype)
    return np.array(flat.reshape(shape, order="F" if fortran else "C"), dtype=np.float64)


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type of a .npy stream: a literal, never evaluated."""
    start = file.read(8)
    if len(start) < 8 or start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise ValueError("it does not start as one")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > _HEADER_BYTES:
        raise ValueError(f"its header has {length} bytes")
    said = ast.literal_eval(file.read(length).decode("latin1").strip())
    if not isinstance(said, dict) or said.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("its header does not say type, order and shape")
    shape, descr = said["shape"], said["descr"]
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError("its shape is not one")
    if not isinstance(descr, str):
        raise ValueError("it holds records")
    return shape, bool(said["fortran_order"]), np.dtype(descr)


def _npz(path: Path) -> dict[str, Array]:
    name = _name(path)
    found: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            total = sum(entry.file_size for entry in entries)
            if total > MAX_BYTES or len(entries) > 1000:
                raise InputError(f"{name} unpacks to {total} bytes; at most {MAX_BYTES} are read.")
            for entry in entries:
                if entry.filename.endswith(".npy"):
                    with archive.open(entry) as file:
                        key = entry.filename.removesuffix(".npy")
                        if key in found:
                            raise InputError(f"{name}: a column is named twice.")
                        found[key] = _array(file, entry.file_size, f"{name}, {key[:40]!r}")
    except (zipfile.error, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} is not a NumPy archive: {str(error)[:80]}.") from None
    columns = {key: array for key, array in found.items() if array.ndim == 1 and array.size}
    if not columns:
        raise InputError(f"{name} holds no vectors; save columns: np.savez(FILE, t=t, loss=loss).")
    return _equal(columns, name)


# -- text --------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{_name(path)} is not text in UTF-8.") from None
    except OSError as error:
        raise InputError(f"cannot read {_name(path)}: {error.strerror or error}.") from None


def _rows(file: Any, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that hold anything, with their numbers."""
    reader = csv.reader(file)
    try:
        for row in reader:
            if any(cell.strip() for cell in row) and not row[0].lstrip().startswith("#"):
                yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: {error}.") from None


def _number(cell: str, name: str, line: int, empty: bool = False) -> float:
    try:
        if empty and not cell:
            return math.nan
        if "_" in cell:
            raise ValueError
        return float(cell)
    except ValueError:
        shown = repr(cell if len(cell) <= 40 else cell[:37] + "...")
        raise InputError(f"{name}, line {line}: {shown} is not a number.") from None


def _grid(path: Path) -> Array:
    """Read numbers separated by commas, every line as long as the first."""
    name = _name(path)
    rows: list[list[float]] = []
    for line, cells in _rows(io.StringIO(_text(path)), name):
        rows.append([_number(cell, name, line) for cell in cells])
        if len(rows[-1]) != len(rows[0]):
            raise InputError(
                f"{name}, line {line} has {len(rows[-1])} numbers; the first has {len(rows[0])}."
            )
    if not rows:
        raise InputError(f"{name} holds no numbers.")
    return np.array(rows, dtype=np.float64)


def _table(file: io.StringIO, name: str) -> dict[str, Array]:
    """Read a header and numbers under it."""
    lines = _rows(file, name)
    _, header = next(lines, (0, []))
    if not header or not all(header):
        raise InputError(f"{name}: the first line names the columns, such as t,loss.")
    if len(set(header)) < len(header):
        raise InputError(f"{name}: a column is named twice.")
    values: list[list[float]] = []
    for line, cells in lines:
        if len(cells) != len(header):
            raise InputError(
                f"{name}, line {line} has {len(cells)} values for {len(header)} columns."
            )
        values.append([_number(cell, name, line, empty=True) for cell in cells])
    if not values:
        raise InputError(f"{name} has a header and no numbers.")
    table = np.array(values, dtype=np.float64)
    return {key: np.ascontiguousarray(table[:, j]) for j, key in enumerate(header)}


def _equal(columns: dict[str, Array], name: str) -> dict[str, Array]:
    sizes = {key: array.size for key, array in columns.items()}
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{key[:20]} {size}" for key, size in list(sizes.items())[:6])
        raise InputError(f"{name}: the columns have different lengths: {shown}.")
    return columns


# -- Matrix Market -----------------------------------------------------------------------------


def _matrix_market(path: Path) -> Any:
    from scipy.io import mminfo, mmread

    name = _name(path)
    try:
        rows, cols, entries, kind, numbers, _ = mminfo(path)
        if numbers == "complex":
            raise InputError(f"{name} is complex; split it into real and imaginary parts.")
        size = path.stat().st_size
        cells = rows * cols if kind == "array" else max(rows, cols, entries)
        if min(rows, cols) < 1 or cells * 8 > MAX_BYTES or entries > size:
            raise InputError(f"{name} says that it has shape {rows} x {cols}; it is damaged.")
        matrix = mmread(path, spmatrix=False)
    except (ValueError, OverflowError, OSError, TypeError, MemoryError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        why = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise InputError(f"{name} is not a Matrix Market file: {why.rstrip('.')}.") from None
    if isinstance(matrix, np.ndarray):
        return _finite(np.asarray(matrix, dtype=np.float64), path)
    csr = matrix.tocsr().astype(np.float64)
    _finite(np.asarray(csr.data), path)
    return csr
