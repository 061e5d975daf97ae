"""`predict` answers without TensorFlow and as Keras does, whatever files it is given."""

import csv
import io
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from running import ROOT, run_command, run_program
from small import write_image

from alexnet_lib import files
from alexnet_lib.caffe.caffemodel import write_caffemodel
from alexnet_lib.errors import InputError
from alexnet_lib.finetuning import classifier, prediction
from alexnet_lib.finetuning.classifier import load_classifier, read_classifier
from alexnet_lib.finetuning.evaluation import evaluate, evaluate_files
from alexnet_lib.finetuning.prediction import classify
from alexnet_lib.images.folder import read_folder
from alexnet_lib.images.preprocessing import preprocess_input
from alexnet_lib.images.reading import read_image
from alexnet_lib.port.alexnet import AlexNet
from alexnet_lib.port.inference import check_weights, features, probabilities
from alexnet_lib.port.layouts import save_npz
from alexnet_lib.teaching.scenes import draw_scene

# What a process finds first, before what this one would.
PATH = {
    "PYTHONPATH": os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
}
NAMES = ("agricultural", "airplane", "forest", "harbor", "river")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Scenes of five of the book's classes, one a file, in several formats and sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, ending in zip(NAMES, (".png", ".tif", ".jpg", ".bmp", ".webp"), strict=True):
        scene = draw_scene(name, 1)
        size = 300 if ending == ".jpg" else 256
        write_image(folder / f"{name}{ending}", cv2.resize(scene, (size, 256)))
    return folder


@pytest.fixture(scope="module")
def batch(pictures):
    """The same images, pre-processed, in the order of their names."""
    images = [read_image(path) for path in sorted(pictures.iterdir())]
    return np.concatenate([preprocess_input(image, "stretch") for image in images])


@pytest.fixture(scope="module")
def wide(weights, tmp_path_factory):
    """A classifier of a full network's width and three classes, stored as float16."""
    path = tmp_path_factory.mktemp("wide") / "classifier.npz"
    arrays = {name: array.astype(np.float16) for name, array in weights.items()}
    arrays |= {f"fc8/{part}": arrays[f"fc8/{part}"][..., :3] for part in ("kernel", "bias")}
    save_npz(path, arrays | {"classes": np.array(["a", "b", "c"])})
    return path


def answers_of(weights, batch):
    return probabilities(weights, np.stack([features(weights, image) for image in batch]))


@pytest.mark.parametrize("which", ["carried", "wide"])
def test_probabilities_are_keras_own(which, batch, wide):
    path = wide if which == "wide" else files.UCMERCED_CLASSIFIER
    model, classes = load_classifier(path)
    weights, same = read_classifier(path)
    assert same == classes
    expected = model(batch, training=False).numpy()
    np.testing.assert_allclose(answers_of(weights, batch), expected, rtol=0, atol=1e-5)
    assert np.ptp(expected, axis=1).min() > 0.01  # the images are told apart


def test_files_are_answered_in_order_over_several_batches(pictures, batch, monkeypatch):
    monkeypatch.setattr(prediction, "BATCH", 2)
    weights, _ = read_classifier()
    paths = sorted(pictures.iterdir())
    paths.insert(2, pictures / "absent.png")
    results = list(classify(weights, paths))
    assert [path for path, _ in results] == paths
    assert isinstance(results.pop(2)[1], FileNotFoundError)
    got = np.stack([result for _, result in results])
    np.testing.assert_allclose(got, answers_of(weights, batch), rtol=0, atol=1e-6)


def test_images_are_not_held_in_memory(pictures, monkeypatch):
    """However many files there are, two batches are read ahead of the answers."""
    monkeypatch.setattr(prediction, "BATCH", 2)
    paths = [sorted(pictures.iterdir())[0]] * 20
    seen = []
    results = classify(
        read_classifier()[0], paths, read=lambda path: seen.append(path) or read_image(path)
    )
    next(results)
    assert 2 <= len(seen) <= 4
    results.close()
    assert len(seen) <= 4


def test_evaluation_in_any_views_agrees_with_keras(pictures, tmp_path):
    for path in pictures.iterdir():
        (tmp_path / path.stem).mkdir()
        os.link(path, tmp_path / path.stem / path.name)
    images = read_folder(tmp_path).augmented("aerial")
    model, (weights, _) = load_classifier().model, read_classifier()
    for views in (1, 2, 8):
        expected, got = evaluate(model, images, views), evaluate_files(weights, images, views)
        np.testing.assert_allclose(got.probabilities, expected.probabilities, rtol=0, atol=1e-5)
        assert (got.names, got.classes) == (expected.names, expected.classes)
    with pytest.raises(InputError, match="views must be 1, 2 or 8"):
        evaluate_files(weights, images, 3)
    (images.folder / images.files[0]).write_text("no longer an image")
    with pytest.raises(InputError, match="expected an image file"):
        evaluate_files(weights, images)


def test_weights_that_do_not_fit_are_refused():
    weights, _ = read_classifier()
    for change, message in (
        ({"conv3/bias": None}, "lacks conv3"),
        ({"conv9/bias": np.zeros(2, np.float32)}, "does not have: conv9"),
        (
            {"fc7/kernel": np.zeros((2, 3), np.float32)},
            r"fc7/kernel: expected floats of \(256, 256",
        ),
        ({"fc8/bias": np.zeros(21, int)}, "fc8/bias: expected floats .* got int64"),
    ):
        given = {key: value for key, value in (weights | change).items() if value is not None}
        with pytest.raises(InputError, match=message):
            check_weights(given)
    with pytest.raises(InputError, match="expected an image of"):
        features(weights, np.zeros((1, 227, 227, 3), np.float32))
    weights["fc7/bias"] = np.full(256, np.nan, np.float32)
    with pytest.raises(InputError, match="not finite"):
        probabilities(weights, np.zeros((1, 6, 6, 256), np.float32))


def process(*arguments, **options):
    """Run a command in a process of its own, as a user does."""
    command = [sys.executable, "-m", "alexnet_lib", *map(str, arguments)]
    environment = os.environ | PATH
    return subprocess.run(command, capture_output=True, env=environment, check=False, **options)


def test_a_process_prints_the_answer_alone(pictures, tmp_path):
    odd = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(odd, "wb") as file:
        file.write((pictures / "harbor.bmp").read_bytes())
    result = process("predict", "--top", 1, pictures / "river.webp", os.fsdecode(odd))
    assert (result.returncode, result.stderr) == (0, b"")
    first, answer, second, _ = result.stdout.decode().splitlines()
    assert first == str(pictures / "river.webp")
    assert float(answer.split("%")[0]) > 0
    assert answer.split()[-1] in read_classifier()[1]
    assert second == rf"{tmp_path}/caf\xe9.png"
    table = process("predict", "--csv", "-", os.fsdecode(odd))
    assert (table.returncode, table.stderr) == (0, b"")
    assert rb"caf\xe9.png,1," in table.stdout


def test_a_closed_pipe_ends_quietly(pictures):
    command = (
        f'"{sys.executable}" -m alexnet_lib predict {" ".join(100 * [f"{pictures}/river.webp"])}'
    )
    result = subprocess.run(
        f"{command} | head -n 1", shell=True, capture_output=True, text=True, check=False,
        cwd=ROOT, env=os.environ | PATH,
    )  # fmt: skip
    assert (result.stdout, result.stderr) == (f"{pictures}/river.webp\n", "")


def test_bad_files_are_named_and_the_others_answered(pictures, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "hollow").mkdir()
    good = [pictures / "river.webp", pictures / "forest.jpg"]
    bad = [tmp_path / name for name in ("text.png", "absent.png", "empty.jpg", "hollow")]
    result = run_command("predict", bad[0], good[0], *bad[1:], good[1])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line for line in lines if line[0] != " "] == list(map(str, good))
    assert len(lines) == 2 * (1 + 5)
    errors = result.stderr.splitlines()
    assert len(errors) == len(bad)
    for path in bad:
        assert sum(str(path) in line for line in errors) == 1
    assert run_command("predict", *good).exit_code == 0


def test_a_folder_stands_for_its_images(pictures, tmp_path):
    write_image(tmp_path / "deep" / "er" / "a\nb.png", draw_scene("river", 0))
    write_image(tmp_path / "plain", draw_scene("river", 1))
    write_image(tmp_path / ".hidden.png", draw_scene("river", 2))
    for name in ("labels.txt", "Thumbs.db", "deep/desktop.ini", "deep/._a.jpg"):
        (tmp_path / name).write_text("no image")
    result = run_command("predict", tmp_path, "--top", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[::2] == [rf"{tmp_path}/deep/er/a\nb.png", f"{tmp_path}/plain"]
    table = tmp_path / "out.csv"
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff damaged")
    result = run_command("predict", tmp_path, "--csv", table, "--top", 2)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "broken.jpg" in result.stderr
    rows = list(csv.DictReader(table.open(newline="")))
    assert [(row["file"], row["rank"]) for row in rows] == [
        (f"{tmp_path}/{name}", rank) for name in ("deep/er/a\nb.png", "plain") for rank in "12"
    ]
    weights, classes = read_classifier()
    expected = dict(classify(weights, [rows[0]["file"]]))[rows[0]["file"]]
    for row in rows[:2]:
        assert float(row["probability"]) == pytest.approx(expected[classes.index(row["class"])])
    assert sorted(path.name for path in tmp_path.iterdir())[0] == ".hidden.png"  # nothing partial
    shown = run_command("predict", tmp_path / "plain", "--csv", "-", "--top", 2)
    assert list(csv.DictReader(io.StringIO(shown.stdout))) == rows[2:]


def test_imagenet_and_a_mean(caffemodel, pictures, monkeypatch, tmp_path):
    monkeypatch.setattr(files, "find_imagenet_weights", lambda: caffemodel)
    path = pictures / "river.webp"
    shown = run_command(
        "predict", "--imagenet", path, "--mean", "10,20,30", "--csv", "-", "--top", 9
    )
    batch = preprocess_input(read_image(path), "stretch", mean=[10, 20, 30])
    expected = np.sort(AlexNet(caffemodel)(batch, training=False).numpy()[0])[::-1][:9]
    rows = list(csv.DictReader(io.StringIO(shown.stdout)))
    got = [float(row["probability"]) for row in rows]
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    for mean, message in (("1,2", "mean must be"), ("nan,1,1", "mean must be"), ("no", "No such")):
        result = run_command("predict", path, "--mean", mean)
        assert result.exit_code == 1
        assert message in result.stderr
    assert run_command("predict", "--imagenet", "-m", tmp_path, path).exit_code == 2


def test_a_deep_image_needs_its_white(pictures, tmp_path):
    path = pictures / "river.webp"
    write_image(tmp_path / "deep.png", read_image(path).astype(np.uint16) * 16)
    refused = run_command("predict", tmp_path / "deep.png")
    assert refused.exit_code == 1
    assert "deep.png" in refused.stderr
    tables = [
        run_command("predict", *arguments, "--csv", "-", "--top", 1).stdout.splitlines()[1]
        for arguments in ([tmp_path / "deep.png", "--white", 4080], [path])
    ]
    deep, plain = [line.split(",")[2:] for line in tables]
    assert deep[0] == plain[0]
    assert float(deep[1]) == pytest.approx(float(plain[1]), rel=1e-3)


def test_neither_help_nor_a_mistake_loads_what_takes_long(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "some.caffemodel").touch()
    text = 'layer { name: "in" type: "Input" top: "in" input_param { shape {'
    text += " dim: 1 dim: 3 dim: 4 dim: 4 } } }"
    text += 'layer { name: "fc" type: "InnerProduct" bottom: "in" top: "fc"'
    (tmp_path / "net.prototxt").write_text(text + " inner_product_param { num_output: 2 } }")
    blobs = [np.zeros((2, 48), np.float32), np.zeros(2, np.float32)]
    write_caffemodel(tmp_path / "net.caffemodel", {"fc": blobs})
    written = run_program(
        """
        import contextlib, io, sys
        from alexnet_lib.__main__ import main
        folder = sys.argv[1]
        text, weights, nowhere = f"{folder}/text.png", f"{folder}/some.caffemodel", f"{folder}/no"
        net = f"{folder}/net.prototxt", f"{folder}/net.caffemodel"
        slow = {"tensorflow", "keras", "pandas", "scipy", "sklearn", "requests", "tqdm"}

        def loaded(*modules):
            return sorted(set(modules) & set(sys.modules))

        def run(*arguments):
            with contextlib.redirect_stderr(io.StringIO()) as errors:
                with contextlib.redirect_stdout(io.StringIO()) as shown:
                    try:
                        main(arguments)
                    except SystemExit as end:
                        return end.code, shown.getvalue() + errors.getvalue()

        for name in ("convert", "port", "prove", "finetune", "crossval", "evaluate", "predict",
                     "fetch"):
            assert run(name, "--help")[0] == 0, name
            assert run(name, "--wrong")[0] == 2, name
        for name in ("convert", "port", "prove", "finetune", "crossval", "predict"):
            assert run(name)[0] == 2, name  # lacks an argument
        assert run("--help")[0] == 0
        assert run("convert", nowhere, "out.npz")[0] == 2
        assert run("convert", text, "out.npz")[0] == 2
        assert run("prove", nowhere)[0] == 2
        assert run("predict", "-m", nowhere, text)[0] == 2
        assert run("evaluate", "-m", nowhere)[0] == 2
        assert run("fetch", "everything")[0] == 2
        status, shown = run("port", nowhere, "out.keras")
        assert (status, nowhere in shown) == (1, True)
        for name in ("finetune", "crossval"):
            status, shown = run(name, nowhere, "-o", f"{folder}/run", "--weights", weights)
            assert (status, nowhere in shown) == (1, True), shown
        status, shown = run("predict", nowhere)
        assert (status, nowhere in shown) == (1, True)
        print("light:", loaded("numpy", "cv2", *slow))
        for arguments, said in (
            (("predict", text), "text.png"),
            (("predict", "-m", folder, text), "classifier.npz"),
            (("predict", "-m", weights, text), "some.caffemodel"),
            (("evaluate", nowhere), nowhere),
            (("evaluate", "-m", folder), "classifier.npz"),
            (("prove", *net, "--image", text), "text.png"),
            (("prove", *net, "--stop-at", "nothing"), "nothing"),
            (("prove", weights), "some.caffemodel"),
            (("port", net[0], weights, "out.keras"), "some.caffemodel"),
            (("convert", weights, "out.keras"), "some.caffemodel"),
            (("port", weights, "out.png"), "out.png"),
        ):
            status, shown = run(*arguments)
            assert status == 1 and said in shown, (arguments, shown)
        print("whole:", loaded(*slow))
        """,
        tmp_path,
        **PATH,
    )
    assert written.splitlines() == ["light: []", "whole: []"], written


def test_predict_reads_with_the_classifiers_white(pictures, monkeypatch):
    seen = []

    def answer(weights, files, mean, read):
        seen.append(read.keywords["white"])
        return iter([(path, np.zeros(21)) for path in files])

    monkeypatch.setattr(prediction, "classify", answer)
    monkeypatch.setattr(classifier, "classifier_white", lambda _: 4095.0)
    assert run_command("predict", pictures).exit_code == 0
    assert run_command("predict", pictures, "--white", 1.0).exit_code == 0
    assert seen == [4095, 1]
