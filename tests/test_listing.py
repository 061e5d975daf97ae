"""Lists of images: Caffe's lines and CSV as programs and spreadsheets write it."""

import pytest
from damage import mutations
from small import deal, write_noise

from alexnet_lib.errors import InputError
from alexnet_lib.images.folder import read_folder
from alexnet_lib.images.listing import read_list, subset_of
from alexnet_lib.images.splits import SUBSETS


@pytest.fixture
def data(tmp_path):
    """Six images in two folders, one of which has a blank in its name."""
    for number in range(6):
        write_noise(tmp_path / "data" / ("x", "y z")[number % 2] / f"{number}.png", number)
    return tmp_path / "data"


def read(data, text, name="list.txt", encoding="utf-8", **options):
    (data / name).write_text(text, encoding, newline="")
    return read_folder(data / name, **options)


def test_caffes_lines(data):
    lines = [
        "x/0.png 10",
        "/y z/1.png  9\r",
        "",
        "x\\2.png 2",
        "y z/3.png\t10",
        f"{data}/x/4.png 9",
    ]
    images = read(data, "\n".join(lines))
    assert images.classes == ("2", "9", "10")  # numbers, in the order of numbers
    assert dict(zip(images.files, images.labels.tolist(), strict=True)) == {
        "x/0.png": 2, "x/2.png": 0, "x/4.png": 1, "y z/1.png": 1, "y z/3.png": 2,
    }  # fmt: skip
    assert images.names == ("x/10/0", "x/2/2", "x/9/4", "y z/10/3", "y z/9/1")
    assert images.given is None
    assert images.folder == data
    assert images.read("y z/1.png").shape == (20, 30, 3)


def test_a_list_beside_the_images(data, tmp_path):
    """Paths may lead out of the list's folder; names then begin where all files lie."""
    (tmp_path / "lists").mkdir()
    images = read(tmp_path / "lists", "../data/x/0.png x\n../data/y z/1.png cat\n")
    assert images.folder == data
    assert images.names == ("x/0", "y z/cat/1")


CELLS = ["x/0.png", "y z/1.png", "x/2.png", "y z/3.png", "x/4.png", "y z/5.png"]
LABELS = ["cat", "\u00e9t\u00e9", "cat", "\u00e9t\u00e9", "cat", "dog, wild"]
PARTS = ["train", "Val", "test", "TRAINING", "valid", "train"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv(data, encoding, delimiter, end):
    rows = [("Split", "File name", "id", "Category")]
    rows += [
        (p, f, i, f'"{c}"') for i, (p, f, c) in enumerate(zip(PARTS, CELLS, LABELS, strict=True))
    ]
    text = end.join(delimiter.join(map(str, row)) for row in rows) + end + 3 * delimiter + end
    images = read(data, text, "list.csv", encoding)
    assert images.classes == ("cat", "dog, wild", "\u00e9t\u00e9")
    assert dict(zip(images.files, images.given, strict=True)) == dict(
        zip(CELLS, map(subset_of, PARTS), strict=True)
    )
    found = [images.classes[label] for label in images.labels]
    assert dict(zip(images.files, found, strict=True)) == dict(zip(CELLS, LABELS, strict=True))


def test_a_number_beside_each_classs_name(data):
    text = "Filename,Label,ClassName\nx/0.png,1,cat\ny z/1.png,0,dog\nx/2.png,1,cat\n"
    assert read(data, text).classes == ("cat", "dog")
    with pytest.raises(ValueError, match="line 4: 'ClassName' and 'Label' say different classes"):
        read(data, text.replace("2.png,1", "2.png,0"))


def test_a_lists_subsets_are_the_split(data, tmp_path, monkeypatch):
    rows = ["file,class,subset"]
    for number in range(24):
        write_noise(data / "x" / f"{number}.png", number)
        rows.append(f"x/{number}.png,{'ab'[number % 2]},{'test' if number > 17 else 'train'}")
    images = read(data, "\n".join(rows))
    split = deal(images, tmp_path / "run", monkeypatch)
    assert [list(split.values()).count(part) for part in SUBSETS] == [16, 2, 6]
    assert [name for name, part in split.items() if part == "test"] == [
        *(f"x/a/{i}" for i in (18, 20, 22)),
        *(f"x/b/{i}" for i in (19, 21, 23)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found no line of it"),
        ("\n\n", "found no line of it"),
        ("file,class\n", "found no line of it"),
        ("x/0.png\n", r"line 1: expected a path, a blank and a label, .* Found 'x/0.png'"),
        ("x/0.png 1\nx/2.png\n", "line 2: expected a path, a blank and a label"),
        ("file;class\nx/0.png;1;2\n", "line 2: expected 2 columns as in line 1, file,class, found"),
        ("file,class\nx/0.png,\n", "line 2: expected a file and its class"),
        ("file,class\nx/0.png,a/b\n", "line 2: .* a text without slashes, found .* 'a/b'"),
        ("file,class,split\nx/0.png,a,nope\n", "line 2: expected train, validation or test, found"),
        ("x/0.png 1\nx/2.png 1\nx/0.png 2\n", "line 3: expected every file once, .* is on line 1"),
        ("x/8.png 1\nx/9.png 2\n", r"none of its files is there: .*line 1: no file .*8\.png"),
        ("x/0.png 1\nx/9.png 2\ny z/1.png 2", r"line 2: no file .*9\.png\n.*--skip-broken"),
        ('file,class\n"x/0.png,1\nx/2.png,2\n', "line 3: unexpected end of data"),
        ("x/0.png 1\nx/2.png\0 2\n", "line 2: expected text, found a zero byte"),
        ("x/0.png 1\nx/2.png \udce9\n", r"line 2: expected text in UTF-8, found the bytes b'\\xe9"),
        ("x/0.png 1\nx/2.png 1\n", "at least two class"),
    ],
)
def test_a_line_that_does_not_fit_is_named(data, text, message):
    (data / "list.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=f"(?s){message}") as error:
        read_folder(data / "list.txt")
    assert str(error.value).startswith(f"{data / 'list.txt'}: ")


def test_two_images_of_one_name(data):
    write_noise(data / "x" / "a" / "0.png", 9)
    with pytest.raises(ValueError, match=r"have one name, x/a/0\. Rename one"):
        read(data, "x/0.png a\nx/a/0.png a\nx/2.png b\n")


def test_a_list_with_missing_files_is_read_on_request(data):
    with pytest.warns(UserWarning, match=r"line 2: no file .*9\.png"):
        images = read(data, "x/0.png 1\nx/9.png 2\ny z/1.png 2", skip_broken=True)
    assert len(images) == 2


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "wide.csv"])
def test_damage_to_a_list_is_an_error_that_names_it(data, name):
    rows = [f"{file} {label}" for file, label in zip(CELLS, "ababab", strict=True)]
    if name != "list.txt":
        rows = ["file;class", *(f'"{row[:-2]}";{row[-1]}' for row in rows)]
    content = "\r\n".join(rows).encode("utf-16" if name == "wide.csv" else "utf-8")
    errors = []
    for damaged in mutations(content, 200):
        (data / name).write_bytes(damaged)
        try:
            read_list(data / name)
        except InputError as error:
            errors.append(str(error))
    assert 50 < len(errors) < 200
    assert all(error.startswith(f"{data / name}: ") for error in errors)
