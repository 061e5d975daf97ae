"""Training: a step of all layers, an epoch of the head, and the whole story from file to matrix.

Plain gradient descent and no dropout in all of them, so that results can be compared. The story is
told with a fifth of the images; `python -m benchmarks.training` tells it once with as many as UC
Merced has, which takes ten minutes.
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.compare import PEAK, at_peak, check_equal, row, sgemm, time_in_turns

STEP_RUNS, EPOCH_RUNS, STORY_RUNS = 5, 3, 3
BATCH = 32
FIT_STEPS = 8  # of one call, which begins with work that is no part of a step
EPOCH_IMAGES = {1: 512, 8: 128}  # by views
STORY_PER_CLASS, STORY_EPOCHS = 20, 20
ALL_PER_CLASS = 100
ORIGINAL, KERAS = "TF 1 graph", "Keras groups"
# How far two ways' steps may be apart, in parts of the step. Keras' gradient of a convolution in
# groups is another kernel, which rounds differently: now and then a ReLU lets one value pass in one
# way and not in the other, and a few numbers differ by some percent.
SAME_STEP = {ORIGINAL: 1e-3, KERAS: 1e-2}


def rows(quick=False):
    """Yield the rows of the table, each after a check that all ways lead to the same weights."""
    yield from all_layers(quick)
    yield from fit_all_layers(quick)


def story(quick=False):
    """Yield the rows of frozen convolutions and of the whole way from files to a matrix."""
    yield from frozen_convolutions(quick)
    yield from whole_story(quick)


def training_macs(batch):
    """Count the multiply-accumulates of a step: forward, and both gradients of every layer."""
    from alexnet_lib.port.architecture import describe

    layers = [layer for layer in describe() if layer.kernel_shape]
    # Nobody asks for the gradient of the images.
    return batch * (3 * sum(layer.macs for layer in layers) - layers[0].macs)


def network(weights):
    """Return our model of these weights, without dropout."""
    from alexnet_lib.port.alexnet import AlexNet
    from alexnet_lib.port.layouts import save_npz

    with tempfile.TemporaryDirectory() as folder:
        save_npz(f"{folder}/weights.npz", weights)
        return AlexNet(f"{folder}/weights.npz", dropout=0)


def trainer_of(model, recipe, layer=None):
    """Return the library's trainer, ready for its first step."""
    from alexnet_lib.finetuning.trainer import Trainer

    trainer = Trainer(model, recipe, layer)
    for optimizer, _, rate in trainer.groups:
        optimizer.learning_rate.assign(rate)
    return trainer


def step_of(trainer, images, labels):
    """Return a function that takes one step with a batch and returns the loss before it."""
    import tensorflow as tf

    size, number = tf.constant(len(labels)), tf.constant(0)
    # The batch comes from NumPy in every step, as it does for TensorFlow 1.
    return lambda: float(trainer.step(tf.constant(images), tf.constant(labels), size, number)[0])


def noise_images(count):
    """Return float32 images as `preprocess_input` scales them, and labels."""
    from alexnet_lib.port.architecture import CLASSES, INPUT_SIZE

    random = np.random.default_rng(0)
    images = random.uniform(-128, 128, (count, INPUT_SIZE, INPUT_SIZE, 3)).astype(np.float32)
    return images, random.integers(0, CLASSES, count)


def all_layers_recipe():
    """Return plain gradient descent of all layers at one rate."""
    from alexnet_lib.finetuning.recipes import CONVOLUTIONS, FC, Recipe

    rates = {"learning_rate": 1e-3, "conv_learning_rate": 1e-3}
    return Recipe(CONVOLUTIONS + FC, "sgd", schedule="constant", **rates)


def trainer_of_all_layers():
    """Return the library's trainer of all layers, ready for `step_of`."""
    from alexnet_lib.teaching.stand_in import stand_in_weights

    return trainer_of(network(stand_in_weights()), all_layers_recipe())


def check_same_step(name, before, actual, expected):
    """Raise AssertionError where `name` moved the weights differently, by more than `SAME_STEP`."""
    for key, after in expected.items():
        step = np.linalg.norm(after - before[key])
        # A step is thousands of times smaller than the weights: a few may round to the next one.
        last_bits = 4 * np.spacing(np.abs(after).max())
        error = np.linalg.norm(actual[key] - after)
        limit = SAME_STEP[name] * step + last_bits
        assert error <= limit, f"{name}: {key}, {error:.1e} of {step:.1e}"


def all_layers(quick):
    """Yield the rows of one step of all layers."""
    from alexnet_lib.port.layouts import model_weights
    from alexnet_lib.teaching.stand_in import stand_in_weights
    from benchmarks.networks import OriginalGraph, keras_groups

    recipe = all_layers_recipe()
    batch = 2 if quick else BATCH
    images, labels = noise_images(batch)
    weights = stand_in_weights()
    models = {"ours": network(weights)}
    models[KERAS] = keras_groups(models["ours"])
    trainers = {name: trainer_of(model, recipe) for name, model in models.items()}
    original = OriginalGraph(weights, recipe.layers, recipe)
    functions = {name: step_of(each, images, labels) for name, each in trainers.items()}
    functions[ORIGINAL] = lambda: original.step(images, labels)
    losses = {name: function() for name, function in functions.items()}
    after = {name: model_weights(model) for name, model in models.items()}
    after[ORIGINAL] = original.weights()
    for name in (KERAS, ORIGINAL):
        check_equal(f"{name}: loss", losses[name], losses["ours"])
        check_same_step(name, weights, after[name], after["ours"])
    peak = sgemm()
    functions[PEAK] = peak.run
    times = time_in_turns(functions, 1 if quick else STEP_RUNS)
    times = at_peak(times, training_macs(batch), peak)
    for peer, reach in {ORIGINAL: 1.3, KERAS: None, PEAK: 0.7}.items():
        yield row(f"training step, all layers, batch {batch}", "ours", peer, times, reach=reach)


def fit_all_layers(quick):
    """Yield the row of steps of `fit`, the call that users make, beside steps of `finetune`."""
    import keras
    import tensorflow as tf

    from alexnet_lib.teaching.stand_in import stand_in_weights

    batch = 2 if quick else BATCH
    images, labels = noise_images(FIT_STEPS * batch)
    weights, recipe = stand_in_weights(), all_layers_recipe()
    model = network(weights)
    model.compile(keras.optimizers.SGD(recipe.learning_rate), "sparse_categorical_crossentropy")
    options = tf.data.Options()
    # Where the pipeline tunes itself, some calls wait for that thread at their end, for seconds.
    options.autotune.enabled = False
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch).with_options(options)
    trainer = trainer_of(network(weights), recipe)
    parts = [slice(start, start + batch) for start in range(0, len(labels), batch)]
    steps = [step_of(trainer, images[part], labels[part]) for part in parts]
    functions = {
        "fit": lambda: model.fit(data, shuffle=False, verbose=0).history["loss"][0],
        "finetune": lambda: np.mean([step() for step in steps]),
    }
    check_equal("fit: loss", functions["fit"](), functions["finetune"](), limit=1e-4)
    times = time_in_turns(functions, 1 if quick else STEP_RUNS)
    work = f"fit, all layers, {FIT_STEPS} steps of {batch}"
    yield row(work, "fit", "finetune", times, reach=round(1 / 1.15, 3))


def frozen_convolutions(quick):
    """Yield the rows of an epoch of fc6-fc8 on frozen convolutions, by the original recipe.

    With 8 views, a step takes all views of its images. The peer has its images in memory, in all
    views, as ours has its features. Computing these once before the first epoch is not timed here;
    it is a part of the whole story.
    """
    from alexnet_lib.finetuning.recipes import FC, RECIPES
    from alexnet_lib.images.batches import eight_views
    from alexnet_lib.images.data import VIEWS
    from alexnet_lib.images.features import Features, decode, encode
    from alexnet_lib.port.layouts import model_weights
    from alexnet_lib.teaching.stand_in import stand_in_weights
    from benchmarks.networks import OriginalGraph

    weights = stand_in_weights()
    for views, reach in {1: 3.0, VIEWS: 6.0}.items():
        batch = (2 if quick else BATCH) * views
        images, labels = noise_images(2 if quick else EPOCH_IMAGES[views])
        images = np.concatenate(np.swapaxes(eight_views(images)[:views], 0, 1))
        labels = np.repeat(labels, views)
        recipe = RECIPES["original"]._replace(batch_size=batch)
        original = OriginalGraph(weights, FC, recipe)
        parts = [slice(i, i + batch) for i in range(0, len(labels), batch)]
        pool5 = np.concatenate([original.convolve(images[part]) for part in parts])
        step = float(np.sqrt(pool5.max()) / 255)
        codes = encode(pool5, step)
        check_equal("features", np.sqrt(decode(codes, step)), np.sqrt(pool5), limit=0.51 / 255)
        names = tuple(map(str, labels))
        data = Features(codes[None], step, labels, tuple(map(str, range(1000))), names)
        model = network(weights)
        trainer = trainer_of(model, recipe, data.layer)
        x, y = decode(codes[parts[0]], step), labels[parts[0]]
        check_equal("loss of the head", step_of(trainer, x, y)(), original.step(None, y, pool5=x))
        check_same_step(ORIGINAL, weights, original.weights(), model_weights(model))

        def recompute(original=original, images=images, labels=labels, parts=parts):
            for part in parts:
                original.step(images[part], labels[part])

        functions = {
            "ours": lambda trainer=trainer, data=data: trainer.train_epoch(data, 0),
            ORIGINAL: recompute,
        }
        times = time_in_turns(functions, 1 if quick else EPOCH_RUNS)
        shown = "1 view" if views == 1 else f"{views} views"
        work = f"frozen epoch, {len(labels) // views} images in {shown}, features at hand"
        yield row(work, "ours", ORIGINAL, times, reach=reach)


def whole_story(quick, per_class=STORY_PER_CLASS, runs=STORY_RUNS):
    """Yield the row of all that it takes from a file of weights to a confusion matrix.

    The peer parses the file with protobuf, keeps all images in memory and, in every step, computes
    the convolutions anew. Both take the same batches in the same order. A small story is told and
    compared before, which is the warm-up, too.
    """
    from alexnet_lib.caffe.caffemodel import write_caffemodel
    from alexnet_lib.finetuning.recipes import RECIPES
    from alexnet_lib.port.layouts import tensorflow_to_caffe
    from alexnet_lib.teaching.scenes import write_scenes
    from alexnet_lib.teaching.stand_in import stand_in_weights

    short = RECIPES["original"]._replace(epochs=1)
    recipe = short if quick else short._replace(epochs=STORY_EPOCHS)
    stories = {"ours": our_story, ORIGINAL: original_story}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alexnet.caffemodel"
        write_caffemodel(path, tensorflow_to_caffe(stand_in_weights(classes=21)))
        scenes = write_scenes(Path(folder) / "small", 1)
        check_same_end(*(story(path, scenes, short) for story in stories.values()))
        if not quick:
            scenes = write_scenes(Path(folder) / "scenes", per_class)
        results = {}

        def tell(name):
            results[name] = stories[name](path, scenes, recipe)

        functions = {name: lambda name=name: tell(name) for name in stories}
        times = time_in_turns(functions, 1 if quick else runs, warm_up=False)
    check_same_end(results["ours"], results[ORIGINAL])
    count = len(results["ours"].classes) * (1 if quick else per_class)
    work = f"file to matrix, {count} images, {recipe.epochs} epochs"
    if runs == 1:
        work += ", one run"
    yield row(work, "ours", ORIGINAL, times, reach=4.0)


def check_same_end(ours, theirs):
    """Raise AssertionError where two stories end with other probabilities."""
    # Features are kept in one byte a value, so the two ways do not end with the same bits.
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, rtol=0, atol=0.01)


def parts_of(images):
    """Deal every tenth image to validation and every tenth to the test."""
    place = np.arange(len(images.labels)) % 10
    return [np.flatnonzero(part) for part in (place > 1, place == 0, place == 1)]


def our_story(path, folder, recipe):
    """Do all with the library; return its `Evaluation` of the test images."""
    from alexnet_lib.finetuning.evaluation import evaluate
    from alexnet_lib.finetuning.runs import fresh_model
    from alexnet_lib.finetuning.training import finetune
    from alexnet_lib.images.features import compute_features
    from alexnet_lib.images.folder import read_folder

    images = read_folder(folder)
    model = fresh_model(len(images.classes), 0, path)
    for name in ("drop6", "drop7"):
        model.get_layer(name).rate = 0
    features = compute_features(model, images)
    train, validation, test = map(features.subset, parts_of(images))
    finetune(model, train, validation, recipe, progress=False)
    result = evaluate(model, test)
    result.confusion_matrix()
    return result


def original_story(path, folder, recipe):
    """Do all in the old way; return its `Evaluation` of the test images."""
    from alexnet_lib.finetuning.evaluation import Evaluation
    from alexnet_lib.finetuning.recipes import FC
    from alexnet_lib.images.folder import read_folder
    from alexnet_lib.images.preprocessing import preprocess_input
    from alexnet_lib.images.reading import read_image
    from alexnet_lib.port.layouts import caffe_to_tensorflow
    from benchmarks.networks import OriginalGraph
    from benchmarks.reading import parsed_blobs

    images = read_folder(folder)
    pixels = np.concatenate(
        [preprocess_input(read_image(folder / file), "stretch") for file in images.files]
    )
    train, validation, test = parts_of(images)
    steps = -(-len(train) // recipe.batch_size)
    graph = OriginalGraph(caffe_to_tensorflow(parsed_blobs(path)), FC, recipe, steps)
    best, best_accuracy = None, 0
    for epoch in range(recipe.epochs):
        order = np.random.default_rng([0, epoch]).permutation(train)
        for start in range(0, len(order), recipe.batch_size):
            batch = order[start : start + recipe.batch_size]
            graph.step(pixels[batch], images.labels[batch])
        guesses = graph.forward(pixels[validation]).argmax(axis=1)
        accuracy = (guesses == images.labels[validation]).mean()
        if accuracy >= best_accuracy:
            best, best_accuracy = graph.weights(), accuracy
    graph.assign(best)
    names = tuple(images.names[i] for i in test)
    result = Evaluation(images.labels[test], graph.forward(pixels[test]), images.classes, names)
    result.confusion_matrix()
    return result


if __name__ == "__main__":
    from alexnet_lib.files import RESULTS
    from benchmarks.compare import machine, write

    write(RESULTS / "story.csv", [*whole_story(False, ALL_PER_CLASS, runs=1)], machine())
