"""A classifier in closed form: linear discriminant analysis of an image's statistics.

Nothing is iterated, so nothing can diverge. The only setting, the shrinkage, is chosen by
leave-one-out on the training images, which costs no second fit.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky, eigh, solve_triangular
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from alexnet_lib.errors import InputError

__all__ = ["SHRINKAGES", "Readout", "fit_readout"]

#: Candidates for the shrinkage.
SHRINKAGES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.97)


class Readout(NamedTuple):
    """One linear layer with softmax; standardization and temperature are folded into it.

    Attributes:
        kernel: float32 (features, classes).
        bias: float32 (classes,).
        shrinkage: that the fit used.
        accuracy: leave-one-out accuracy on the training images; NaN if no class has two.
    """

    kernel: np.ndarray
    bias: np.ndarray
    shrinkage: float
    accuracy: float

    def predict_proba(self, features):
        """Return probabilities, float32 (images, classes), of float features (images, features)."""
        features = np.asarray(features, np.float32)
        if features.ndim != 2 or features.shape[1] != len(self.kernel):
            raise InputError(
                f"expected features of (images, {len(self.kernel)}). Received: {features.shape}"
            )
        return softmax(features @ self.kernel + self.bias, axis=1)


def fit_readout(features, labels, shrinkages=SHRINKAGES):
    """Fit linear discriminant analysis with a shrunk covariance (Friedman, 1989).

    Features are standardized. Their covariance within the classes, S, becomes
    (1 - a) S + a (tr S / features) I with the shrinkage a. Classes count alike, however many images
    each has. Of `shrinkages` the one with the lowest leave-one-out loss is taken. Its temperature,
    which makes the probabilities fit the leave-one-out hits, is fitted too.

    Args:
        features: float (images, features), finite; there may be more features than images.
        labels: int (images,), from 0; every class needs an image.
        shrinkages: candidates, above 0 and at most 1.

    Returns:
        `Readout`.

    Raises:
        InputError: for other shapes, labels or shrinkages, or numbers that are not finite.
    """
    features, labels = np.asarray(features, np.float32), np.asarray(labels)
    _check(features, labels, shrinkages)
    center, spread = features.mean(axis=0), features.std(axis=0)
    told = spread > 1e-5 * np.abs(center)  # the others are constant up to rounding
    center, spread = center[told], spread[told]
    z = (features[:, told] - center) / spread
    images, size = z.shape
    if size > images:  # as many dimensions as images say the same
        products = np.zeros((images, images))  # in double precision, or it may not be definite
        for start in range(0, size, 4096):
            block = z[:, start : start + 4096].astype(float)
            products += block @ block.T
        products.flat[:: images + 1] += 1e-6 * products.trace() / images
        points = cholesky(products, lower=True)
    else:
        points = z.astype(float)
    counts = np.bincount(labels)
    means = (np.eye(len(counts))[labels].T @ points) / counts[:, None]
    within = points - means[labels]
    variance, axes = np.zeros(within.shape[1]), np.eye(within.shape[1])
    if within.any():
        variance, axes = eigh(within.T @ within / images)
    variance = np.maximum(variance, 0)
    average = variance.sum() / max(size, 1) or 1.0  # 1 if the images of every class are alike
    turned, means = points @ axes, means @ axes
    tested = counts[labels] > 1
    best = (np.inf, max(shrinkages), float(max(size, 1)), np.nan)
    for shrinkage in shrinkages if tested.any() else ():
        width = (1 - shrinkage) * variance + shrinkage * average
        scale = np.sqrt(width)
        distances = _left_out(turned / scale, means / scale, labels, counts, 1 - shrinkage)[tested]
        loss, temperature = _temperature(distances, labels[tested])
        hits = np.mean(distances.argmin(axis=1) == labels[tested])
        best = min(best, (loss, shrinkage, temperature, float(hits)))
    _, shrinkage, temperature, accuracy = best
    width = (1 - shrinkage) * variance + shrinkage * average
    kernel = axes @ (means / width).T / temperature
    bias = -0.5 * (means**2 / width).sum(axis=1) / temperature
    if size > images:
        kernel = z.T @ solve_triangular(points, kernel, trans="T", lower=True).astype(np.float32)
    whole = np.zeros((len(told), kernel.shape[1]), np.float32)
    whole[told] = kernel / spread[:, None]
    bias -= center @ whole[told]
    return Readout(whole, bias.astype(np.float32), shrinkage, accuracy)


def _check(features, labels, shrinkages):
    """Raise InputError for what cannot be fitted."""
    if features.ndim != 2 or not features.size or labels.shape != features.shape[:1]:
        raise InputError(
            "expected features of (images, features) and labels of (images,). "
            f"Received: {features.shape} and {labels.shape}"
        )
    if not np.isfinite(features).all():
        raise InputError("expected finite features; some are infinite or not a number")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or (np.bincount(labels) == 0).any():
        raise InputError("expected labels that are integers from 0, with images of every class")
    if not len(shrinkages) or not all(0 < each <= 1 for each in shrinkages):
        raise InputError(f"expected shrinkages above 0, at most 1. Received: {shrinkages}")


def _left_out(points, means, labels, counts, share):
    """Return squared Mahalanobis distances (images, classes), as if each image were left out.

    Leaving out image x of class c with n images moves that mean away from x by the factor
    n / (n - 1) and lowers the covariance by a multiple of (x - mean)(x - mean)', whose inverse
    follows by Sherman and Morrison's formula. Standardization and the identity's weight stay.

    Args:
        points: whitened, (images, dimensions).
        means: of the classes, whitened, (classes, dimensions).
        labels: of the points.
        counts: images of each class.
        share: of the sample covariance in the shrunk one.
    """
    own = np.arange(len(points)), labels
    many = counts[labels]
    away = many / np.maximum(many - 1, 1)
    residual = points - means[labels]
    norm = (residual**2).sum(axis=1)
    distances = (points**2).sum(axis=1)[:, None] - 2 * points @ means.T + (means**2).sum(axis=1)
    along = (residual * points).sum(axis=1)[:, None] - residual @ means.T
    distances[own], along[own] = away**2 * norm, away * norm
    weight = share * away / len(points)
    return distances + along**2 * (weight / np.maximum(1 - weight * norm, 1e-6))[:, None]


def _temperature(distances, labels):
    """Return the least loss of softmax(-distances / 2 / temperature), and that temperature.

    Targets are softened as by Platt (1999), so that a training set without a mistake does not make
    the readout certain.
    """
    count, classes = len(labels), distances.shape[1]
    targets = np.full(distances.shape, 1 / (count + classes))
    targets[np.arange(count), labels] += count / (count + classes)

    def loss(power):
        return -(targets * log_softmax(-0.5 * distances / np.exp(power), axis=1)).sum() / count

    found = minimize_scalar(loss, bounds=(-5, 20), method="bounded")
    return float(found.fun), float(np.exp(found.x))
