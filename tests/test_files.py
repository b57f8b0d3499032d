"""Files from strangers: what is read, and what is refused in a sentence."""

import io
import zipfile

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from kltheory.errors import InputError
from kltheory.files import read_columns, read_matrix, read_vector

A = np.arange(6.0).reshape(2, 3)


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f8", ">f4", "i2", "?"])
def test_an_array_comes_back_as_it_was_saved(tmp_path, order, dtype):
    """Reading what np.save wrote gives the same numbers, whatever type and order."""
    array = np.asarray(A, dtype=dtype, order=order)
    (tmp_path / "a.npy").write_bytes(npy(array))
    assert np.array_equal(read_matrix(tmp_path / "a.npy"), array.astype(float))


def test_csv_and_matrix_market_give_the_same_matrix(tmp_path):
    """All formats of a matrix agree; a sparse one stays sparse."""
    np.savetxt(tmp_path / "a.csv", A, delimiter=",")
    scipy.io.mmwrite(tmp_path / "a.mtx", A)
    scipy.io.mmwrite(tmp_path / "s.mtx", scipy.sparse.coo_array(A))
    assert np.array_equal(read_matrix(tmp_path / "a.csv"), A)
    assert np.array_equal(read_matrix(tmp_path / "a.mtx"), A)
    sparse = read_matrix(tmp_path / "s.mtx")
    assert scipy.sparse.issparse(sparse)
    assert np.array_equal(sparse.toarray(), A)


@pytest.mark.parametrize(
    ("data", "said"), [(None, "is closed"), (b"t,loss\n0,\xff\n", "is not text in UTF-8")]
)
def test_standard_input_that_is_no_text_is_refused(data, said, monkeypatch):
    """Closed, or bytes that are no text: a sentence, whatever the locale is."""
    stream = (
        None if data is None else io.TextIOWrapper(io.BytesIO(data), "utf-8", "surrogateescape")
    )
    monkeypatch.setattr("sys.stdin", stream)
    with pytest.raises(InputError, match=said):
        read_columns("-")


def test_an_archive_with_a_column_twice_is_refused(tmp_path):
    """Of two columns with one name none is chosen."""
    with zipfile.ZipFile(tmp_path / "run.npz", "w") as archive:
        archive.writestr("t.npy", npy(np.array([0.0, 1])))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("t.npy", npy(np.array([5.0, 6])))
    with pytest.raises(InputError, match="named twice"):
        read_columns(tmp_path / "run.npz")


def test_a_directory_is_named_once(tmp_path):
    """The sentence is about the directory, and is not a sentence in a sentence."""
    (tmp_path / "d.npy").mkdir()
    with pytest.raises(InputError, match=r"^'[^']*d\.npy' is a directory; give a file in it\.$"):
        read_matrix(tmp_path / "d.npy")


def test_standard_input_is_read_as_a_file_is(monkeypatch):
    """A mark of byte order and the line ends of Windows are no part of the names."""
    data = b"\xef\xbb\xbft,loss\r\n0,2\r\n1,1\r\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "ascii"))
    assert {k: v.tolist() for k, v in read_columns("-").items()} == {"t": [0, 1], "loss": [2, 1]}


@pytest.mark.parametrize("text", ["1\n2\n3\n", "1,2,3\n", "# y\n1\n\n2\n3"])
def test_a_vector_is_a_row_or_a_column(tmp_path, text):
    """One row and one column are the same vector; comments and empty lines say nothing."""
    (tmp_path / "y.csv").write_text(text)
    assert read_vector(tmp_path / "y.csv").tolist() == [1.0, 2.0, 3.0]


def test_a_table_comes_by_columns(tmp_path):
    """CSV with a header and .npz give columns by name; what is empty is NaN."""
    (tmp_path / "run.csv").write_text("t,loss\n0,1\n1,\n")
    np.savez(tmp_path / "run.npz", t=[0.0, 1.0], loss=[1.0, np.nan], image=np.eye(2))
    for name in ("run.csv", "run.npz"):
        columns = read_columns(tmp_path / name)
        assert sorted(columns) == ["loss", "t"]
        assert np.array_equal(columns["loss"], [1.0, np.nan], equal_nan=True)


def damaged(kind):
    whole = npy(A)
    header = whole[: whole.index(b"\n") + 1]
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "<f8", "fortran_order": False, "shape": (2**14, 2**14)}
    )
    negative = header.replace(b"(2, 3)", b"(-2, 3")
    return {
        "empty.npy": b"",
        "truncated.npy": whole[:-5],
        "header.npy": whole[:20],
        "huge.npy": huge.getvalue() + bytes(100),
        "negative.npy": negative + bytes(48),
        "objects.npy": npy(np.array([[object()]]), allow_pickle=True),
        "complex.npy": npy(A + 1j),
        "text.npy": b"hello",
        "cube.npy": npy(np.zeros((2, 2, 2))),
        "vector.npy": npy(np.zeros(3)),
        "nan.npy": npy(np.array([[np.nan]])),
        "none.npy": npy(np.zeros((0, 3))),
        "ragged.csv": b"1,2\n3\n",
        "words.csv": b"a,b\n1,2\n",
        "underscore.csv": b"1_0\n",
        "binary.csv": b"\xff\xfe\x00\x01",
        "infinite.csv": b"1,inf\n",
        "lines.csv": b"\n\n",
        "a.mtx": b"%%MatrixMarket matrix coordinate real general\n9999999999 3 1\n1 1 1\n",
        "b.mtx": b"nothing\n",
        "c.mtx": b"%%MatrixMarket matrix coordinate real general\n3 3 9\n1 1 1\n",
        "d.mtx": b"%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 1 2\n",
        "matrix.txt": b"1,2\n",
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "empty.npy", "truncated.npy", "header.npy", "huge.npy", "negative.npy", "objects.npy",
        "complex.npy", "text.npy", "cube.npy", "vector.npy", "nan.npy", "none.npy", "ragged.csv",
        "words.csv", "underscore.csv", "binary.csv", "infinite.csv", "lines.csv", "a.mtx", "b.mtx",
        "c.mtx", "d.mtx", "matrix.txt",
    ],
)  # fmt: skip
def test_a_damaged_matrix_is_refused_by_name(tmp_path, kind):
    """Every kind of damage is an InputError of at most two lines that names the file."""
    (tmp_path / kind).write_bytes(damaged(kind))
    with pytest.raises(InputError) as caught:
        read_matrix(tmp_path / kind)
    assert kind in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_what_is_no_file_is_refused(tmp_path):
    """A missing file, a directory and a name with a null are refused."""
    (tmp_path / "d.npy").mkdir()
    for path in (tmp_path / "missing.npy", tmp_path / "d.npy", "a\0b.npy"):
        with pytest.raises(InputError):
            read_vector(path)


@pytest.mark.parametrize(
    "text",
    ["", "t,loss\n", "t,t\n1,2\n", "t,\n1,2\n", "t,loss\n1\n", "t,loss\n1,x\n", 't,"loss\n1,2'],
)
def test_a_damaged_table_is_refused(tmp_path, text):
    """A table without header, numbers, or equal lines is refused."""
    (tmp_path / "run.csv").write_text(text)
    with pytest.raises(InputError):
        read_columns(tmp_path / "run.csv")


def test_a_damaged_archive_is_refused(tmp_path):
    """An .npz that is no archive, holds no vectors, unequal ones, or pickles is refused."""
    path = tmp_path / "run.npz"
    path.write_bytes(b"PK\x03\x04 no")
    with pytest.raises(InputError, match=r"run\.npz"):
        read_columns(path)
    for arrays in ({"a": np.eye(2)}, {"t": np.zeros(2), "loss": np.zeros(3)}):
        np.savez(path, **arrays)
        with pytest.raises(InputError):
            read_columns(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("t.npy", npy(np.array([object()]), allow_pickle=True))
    with pytest.raises(InputError, match="real numbers"):
        read_columns(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_bytes_do_more_than_refuse(tmp_path_factory, data):
    """Any change to a good file gives numbers or an InputError, nothing else."""
    path = tmp_path_factory.mktemp("fuzz") / data.draw(st.sampled_from(["a.npy", "a.npz", "a.csv"]))
    if path.suffix == ".npz":
        save = data.draw(st.sampled_from([np.savez, np.savez_compressed]))
        save(path, t=[1.0, 2.0], loss=[1.0, 0.5])
    else:
        path.write_bytes(npy(A) if path.suffix == ".npy" else b"t,loss\n1,2\n3,4\n")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        (read_matrix if path.suffix == ".npy" else read_columns)(path)
    except InputError:
        pass
