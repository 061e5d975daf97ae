"""What a classifier got right: accuracy and its interval, confusion matrix, rates by class."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from sklearn import metrics

from alexnet_lib.errors import InputError
from alexnet_lib.files import write_csv
from alexnet_lib.images.data import AUGMENTATIONS
from alexnet_lib.port.architecture import INPUT_SIZE

__all__ = ["Evaluation", "evaluate", "evaluate_files", "wilson_interval"]


class Evaluation(NamedTuple):
    """Predictions beside the truth, and what follows from them.

    Attributes:
        labels: int64 (images,), the true classes.
        probabilities: float32 (images, classes).
        classes: the classes' names.
        names: "class/stem" of each image.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def predictions(self):
        """The most probable class of each image, int64 (images,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def accuracy(self):
        """The share of images whose most probable class is the true one."""
        return float(metrics.accuracy_score(self.labels, self.predictions))

    @property
    def balanced_accuracy(self):
        """The mean of the recalls of the classes that have test images."""
        return float(
            metrics.recall_score(
                self.labels, self.predictions, labels=self._present, average="macro"
            )
        )

    @property
    def absent(self):
        """The classes without a test image, of which nothing is known."""
        return tuple(name for i, name in enumerate(self.classes) if i not in self._present)

    @property
    def _present(self):
        return np.unique(self.labels)

    def interval(self, confidence=0.95):
        """Return Wilson's interval of the accuracy, (low, high)."""
        right = int((self.labels == self.predictions).sum())
        return wilson_interval(right, len(self.labels), confidence)

    def confusion_matrix(self):
        """Return counts as a table: true classes in rows, predicted ones in columns."""
        counts = metrics.confusion_matrix(
            self.labels, self.predictions, labels=range(len(self.classes))
        )
        true = pd.Index(self.classes, name="true")
        return pd.DataFrame(counts, true, pd.Index(self.classes, name="predicted"))

    def report(self):
        """Return precision, recall, F1 and support of each class, and their macro averages.

        Where some classes have no test image, the last row is "macro avg (2 of 3 classes)", say:
        the average over the classes that have some. A rate that would divide by zero, such as the
        precision of a class that was never predicted, is NaN and left out of the average.
        """

        def rows(labels):
            report = metrics.classification_report(
                self.labels,
                self.predictions,
                labels=labels,
                target_names=[self.classes[i] for i in labels],
                output_dict=True,
                zero_division=np.nan,
            )
            return pd.DataFrame(report).T

        report = rows(range(len(self.classes))).loc[[*self.classes, "macro avg"]]
        if self.absent:
            report.loc["macro avg"] = rows(self._present).loc["macro avg"]
            title = f"macro avg ({len(self._present)} of {len(self.classes)} classes)"
            report = report.rename(index={"macro avg": title})
        return report

    def remarks(self):
        """Return lines that a reader of the accuracy needs, where classes are unequal or absent."""
        lines = []
        if len({*np.bincount(self.labels)[self._present]}) > 1:
            lines.append(
                f"balanced accuracy {self.balanced_accuracy:.2%}, the mean of the classes' recalls"
            )
        if self.absent:
            lines.append(
                f"no test image of {', '.join(self.absent)}: averages are over the other "
                f"{len(self._present)} of {len(self.classes)} classes"
            )
        present = [self.classes[i] for i in self._present if i not in self.predictions]
        if present:
            lines.append(f"never predicted: {', '.join(present)}, which have no precision")
        return lines

    def confused_pairs(self, top=10):
        """Return the pairs of classes most often taken for each other, both ways together."""
        matrix = self.confusion_matrix().to_numpy()
        both = np.triu(matrix + matrix.T, k=1)
        order = np.argsort(-both, axis=None, kind="stable")[:top]
        rows = [
            (self.classes[i], self.classes[j], both[i, j], matrix[i, j], matrix[j, i])
            for i, j in zip(*np.unravel_index(order, both.shape), strict=True)
            if both[i, j]
        ]
        return pd.DataFrame(rows, columns=["a", "b", "mistakes", "a taken for b", "b taken for a"])

    def table(self):
        """Return all predictions: image, true and predicted class, probability."""
        classes = np.array(self.classes)
        return pd.DataFrame(
            {
                "image": self.names,
                "true": classes[self.labels],
                "predicted": classes[self.predictions],
                "probability": self.probabilities.max(axis=1),
            }
        )

    def write(self, folder):
        """Write predictions.csv, report.csv and confusion_matrix.csv into a folder."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        tables = {
            "predictions": self.table().round(4),
            "report": self.report().rename_axis("class").reset_index(),
            "confusion_matrix": self.confusion_matrix().reset_index(),
        }
        for name, table in tables.items():
            write_csv(Path(folder, f"{name}.csv"), table)

    def mistakes(self, top=10):
        """Return the most confident mistakes: image, true and predicted class, probability."""
        table = self.table()
        wrong = table[table["true"] != table["predicted"]]
        return wrong.sort_values("probability", ascending=False, kind="stable", ignore_index=True)[
            :top
        ]

    def reliability(self, bins=10):
        """Return how often predictions of about the same probability are right.

        Args:
            bins: number of equal parts of the probabilities from 0 to 1; empty ones are left out.

        Returns:
            `pandas.DataFrame`, a row a bin: images, probability (the mean of the largest),
            accuracy, low and high (its 95 % interval).
        """
        table = pd.DataFrame(
            {
                "probability": self.probabilities.max(axis=1).astype(float),
                "accuracy": self.labels == self.predictions,
            }
        )
        bin_of = np.minimum((table["probability"] * bins).astype(int), bins - 1)
        groups = table.groupby(bin_of)
        right, images = groups["accuracy"].sum(), groups.size()
        intervals = [wilson_interval(*pair) for pair in zip(right, images, strict=True)]
        table = groups.mean().reset_index(drop=True)
        table.insert(0, "images", images.to_numpy())
        table[["low", "high"]] = intervals
        return table


def wilson_interval(right, total, confidence=0.95):
    """Return the Wilson score interval of a share, (low, high).

    Args:
        right: number of successes.
        total: number of trials, at least 1.
        confidence: of the interval, between 0 and 1.
    """
    interval = stats.binomtest(right, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def check_views(data, views):
    """Raise InputError for a number of views that the data cannot supply."""
    if views not in AUGMENTATIONS.values() or views > data.views:
        raise InputError(
            "views must be 1, 2 or 8, and no more than the augmentation allows: a network knows "
            "only the flips and rotations that it was trained on. Features must hold as many. "
            f"Received: views={views}, of which {data.views} are at hand (augment="
            f"{data.augment!r}). Use fewer views, or `data.augmented(...)` if it was trained so"
        )


def evaluate(model, data, views=1, batch_size=None):
    """Classify images that were not trained on.

    Args:
        model: `AlexNet` with its top, or of `readout_model`, whose own views are inside it.
        data: `Images` or features of them.
        views: 1, or the mean of the probabilities over 2, with the mirror image, or 8, all flips
            and rotations. Images allow as many as their augmentation, which should be that of
            training; features must have been computed for as many.
        batch_size: images in a batch; by default 64, or 8 for a readout, which makes many squares
            of each.

    Returns:
        `Evaluation`.

    Raises:
        InputError: for a number of views that the data cannot supply.
    """
    import tensorflow as tf

    from alexnet_lib.finetuning.trainer import submodel
    from alexnet_lib.port.compilation import compiled

    check_views(data, views)
    network = submodel(model, data.layer)

    @compiled
    def predict(x):
        return tf.nn.softmax(network(x, training=False))

    size = model.input_shape[1]
    batch_size = batch_size or (64 if data.layer or size == INPUT_SIZE else 8)
    probabilities = [
        np.mean([predict(tf.constant(view)) for view in batch], axis=0)
        for batch in data.view_batches(batch_size, views, size)
    ]
    return Evaluation(data.labels, np.concatenate(probabilities), data.classes, data.names)


def evaluate_files(weights, images, views=1):
    """Do as `evaluate` without TensorFlow: sooner for some hundred images, later for thousands.

    Args:
        weights: of `read_classifier`.
        images: `Images`.
        views: as for `evaluate`.

    Returns:
        `Evaluation`.

    Raises:
        InputError: for a number of views that the data cannot supply, or an image that cannot be
            read.
    """
    from alexnet_lib.finetuning.prediction import classify

    check_views(images, views)
    probabilities = []
    for _, result in classify(weights, images.files, views=views, read=images.read):
        if isinstance(result, Exception):
            raise result
        probabilities.append(result)
    return Evaluation(images.labels, np.stack(probabilities), images.classes, images.names)
