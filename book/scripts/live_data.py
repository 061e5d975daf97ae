"""Compute what the live parts of the pages show: ``python book/scripts/live_data.py FOLDER``.

For each part a JSON file, which `live_parts.py` writes into the part's page; for the page "Try the
network" the classifier as a LiteRT file, checked against Keras, and the drawn scenes.
"""

import contextlib
import functools
import gzip
import hashlib
import json
import math
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import skimage.data

from alexnet_lib.caffe.caffemodel import write_caffemodel
from alexnet_lib.caffe.wire import BYTES, Reader, encode_varint
from alexnet_lib.files import CARRIED, RESULTS
from alexnet_lib.finetuning.classifier import load_classifier
from alexnet_lib.images.folder import find_ucmerced
from alexnet_lib.images.preprocessing import IMAGENET_MEAN, preprocess_input, resize_image
from alexnet_lib.images.reading import read_image
from alexnet_lib.port.architecture import INPUT_SIZE, LRN, describe
from alexnet_lib.quiet import hidden_stderr, import_tensorflow
from alexnet_lib.teaching.scenes import DRAW, draw_scene

#: Largest difference of a probability that half precision may make; the scenes move by a tenth.
LIMIT = 1e-3
THUMBNAIL = 64  # pixels a side
SHOWN = 9  # channels of the part on normalization
LISTED = 12  # images of a cell of the confusion matrix
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 85]


@functools.cache
def classifier():
    """Return the book's classifier."""
    import_tensorflow()
    return load_classifier()


def scenes():
    """Return a drawn scene of each class: uint8 (256, 256, 3), BGR, by the class's name."""
    return {name: draw_scene(name, 0) for name in DRAW}


def export_classifier(path):
    """Write the book's classifier as LiteRT: batches of one, weights in half precision.

    Its outputs are the probabilities and relu1, what conv1's 96 channels respond.

    Raises:
        RuntimeError: where the file answers otherwise than Keras.
    """
    tf = import_tensorflow()
    import keras
    from ai_edge_litert.interpreter import Interpreter

    model = classifier().model
    both = keras.Model(model.input, [model.output, model.get_layer("relu1").output])
    image = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)  # the page's runtime asks for 1
    with hidden_stderr(), contextlib.redirect_stdout(None):
        both.export(
            path,
            format="litert",
            verbose=False,
            input_signature=[image],
            optimizations=[tf.lite.Optimize.DEFAULT],
            target_spec={"supported_types": [tf.float16]},
        )
        interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    # LiteRT has an order of its own; the page, too, tells the two by their sizes.
    outputs = sorted(interpreter.get_output_details(), key=lambda output: output["shape"].prod())
    for name, pixels in scenes().items():
        x = preprocess_input(pixels, "stretch")
        interpreter.set_tensor(given["index"], x)
        interpreter.invoke()
        probabilities, relu1 = map(np.asarray, both(x))
        for output, expected in zip(outputs, (probabilities, relu1), strict=True):
            error = np.abs(interpreter.get_tensor(output["index"]) - expected).max()
            error /= max(1, expected.max())  # responses go into the hundreds
            if not error <= LIMIT:
                raise RuntimeError(f"LiteRT differs from Keras by {error:.1e} on the drawn {name}")


def write_packed(path, data):
    """Write bytes compressed; return what the page must know about the file."""
    packed = gzip.compress(data, 9, mtime=0)
    path.write_bytes(packed)
    return describe_file(path)


def describe_file(path):
    """Return a file's name, size and the beginning of its digest, which names its edition."""
    data = path.read_bytes()
    return {
        "name": path.name,
        "bytes": len(data),
        "hash": hashlib.sha256(data).hexdigest()[:12],
    }


def try_the_network(folder):
    """Write the classifier and the scenes; return the page's data."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "classifier.tflite")
        export_classifier(path)
        network = write_packed(folder / "network.bin", path.read_bytes())
    listed, small = [], []
    for name, pixels in scenes().items():
        file = f"scene-{name}.png"
        cv2.imwrite(str(folder / file), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        listed.append({"name": name, "file": file})
        small.append(cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(folder / "scenes.jpg"), np.concatenate(small), JPEG)
    return {
        "classes": classifier().classes,
        "mean": IMAGENET_MEAN.astype(float).tolist(),
        "scenes": listed,
        "sprite": {"file": "scenes.jpg"},
        "files": [describe_file(folder / "runtime.bin"), network],
    }


def normalization(_):
    """Return nine neighbouring channels of relu1 where one is strongest, and AlexNet's parameters.

    The picture and the weights are those of chapter 3 without real data.
    """
    model = classifier().model
    from alexnet_lib.port.engines import keras_activations

    image = preprocess_input(skimage.data.chelsea(), "center", channels="rgb")
    relu1 = keras_activations(model, image)["relu1"][0]
    row, column, channel = np.unravel_index(relu1.argmax(), relu1.shape)
    first = int(np.clip(channel - SHOWN // 2, 0, relu1.shape[-1] - SHOWN))
    values = relu1[row, column, first : first + SHOWN].round().astype(int).tolist()
    return {
        "values": values,
        "first": first,
        "parameters": LRN,
        "most": 100 * math.ceil(1.2 * max(values) / 100),
    }


def receptive_fields(folder):
    """Return AlexNet's layers that slide, as `describe` has them, and write a picture to see."""
    image = resize_image(skimage.data.chelsea(), "center")
    cv2.imwrite(str(folder / "receptive.jpg"), image[..., ::-1], JPEG)
    layers = [
        {
            "name": row.layer.name,
            "kernel": row.layer.kernel,
            "stride": row.layer.stride,
            "pad": row.layer.pad,
            "side": row.output_shape[0],
            "channels": row.output_shape[2],
            "field": row.receptive_field,
            "jump": row.jump,
        }
        for row in describe()
        if row.layer.type in ("Convolution", "Pooling")
    ]
    return {"size": INPUT_SIZE, "picture": "receptive.jpg", "layers": layers}


# caffe.proto's names, by number and by the message that has them.
NAMES = {
    "": {1: "name", 2: "layers"},
    "layers": {4: "name", 5: "type", 6: "blobs"},
    "blobs": {1: "num", 2: "channels", 3: "height", 4: "width", 5: "data"},
}


def tiny_file(_):
    """Return the bytes of chapter 1's tiny file, and its fields, outer ones first."""
    kernel = np.array([1.0, 2.0, -3.0, 0.5], np.float32).reshape(2, 1, 1, 2)
    bias = np.array([0.25, -1.0], np.float32).reshape(1, 1, 1, 2)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "tiny.caffemodel")
        write_caffemodel(path, {"conv": [kernel, bias]}, name="tiny")
        data = path.read_bytes()
    reader, fields = Reader("tiny.caffemodel", data), []

    def walk(message, name, depth):
        for field in reader.fields(message.start, message.stop):
            own = NAMES[name][field.number]
            payload = data[field.start : field.stop]
            kind, value = "number", field.value
            if own in NAMES:
                kind, value = "message", ""
            elif own == "name":
                kind, value = "text", payload.decode()
            elif own == "data":
                kind, value = "floats", " ".join(map(str, np.frombuffer(payload, "<f4")))
            tag = len(encode_varint(field.number << 3 | field.wire))
            length = field.start - field.position - tag if field.wire == BYTES else 0
            fields.append(
                {
                    "depth": depth,
                    "number": field.number,
                    "name": own,
                    "wire": field.wire,
                    "kind": kind,
                    "value": str(value),
                    "start": field.position,
                    "tag": tag,
                    "length": length,
                    "body": field.position + tag + length,
                    "stop": field.stop,
                }
            )
            if own in NAMES:
                walk(field, own, depth + 1)

    walk(reader.whole(), "", 0)
    return {"data": list(data), "fields": fields}


def confusion(folder):
    """Return the answers of chapter 9 and the published matrix; write small photographs, if any."""
    table = pd.read_csv(RESULTS / "frozen_5fold" / "predictions.csv")
    published = pd.read_csv(CARRIED / "published_confusion_matrix.csv", index_col=0)
    classes = sorted(table["true"].unique())
    found = find_ucmerced()
    columns = [table[name].tolist() for name in ("image", "true", "predicted", "probability")]
    pictures = []
    if found:
        (folder / "matrix").mkdir(exist_ok=True)
        surest = table.sort_values("probability", ascending=False, kind="stable")
        for name in surest.groupby(["true", "predicted"]).head(LISTED)["image"]:
            image = read_image(next(found.glob(f"{name}.*")))
            small = cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
            pictures.append(name.split("/")[1])
            cv2.imwrite(str(folder / "matrix" / f"{pictures[-1]}.jpg"), small, JPEG)
    return {
        "classes": classes,
        "answers": [
            [name.split("/")[1], classes.index(true), classes.index(predicted), probability]
            for name, true, predicted, probability in zip(*columns, strict=True)
        ],
        "published": published.loc[classes, classes].T.to_numpy().tolist(),  # rows are true classes
        "listed": LISTED,
        "pictures": pictures,
    }


#: What computes each part's data; each is given the folder that its further files go to.
PARTS = {
    "try": try_the_network,
    "lrn": normalization,
    "receptive": receptive_fields,
    "bytes": tiny_file,
    "matrix": confusion,
}


def main():
    """Write the data of all parts, or of those that are named after the folder."""
    folder, *names = sys.argv[1:]
    folder = Path(folder)
    for name in names or PARTS:
        (folder / f"{name}.json").write_text(json.dumps(PARTS[name](folder)), "utf-8")


if __name__ == "__main__":
    main()
