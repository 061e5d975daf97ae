"""A functional Keras model whose `predict` and `fit` are as fast as compiled calls.

Keras makes its own functions for `predict`, `evaluate` and `fit`. Here they run local response
normalization and the optimizer's update as one loop each (see `compilation`), and `predict` hands
arrays to the network without a `tf.data` pipeline, which takes longer to start than an image.
"""

import warnings

import numpy as np
import tensorflow as tf

from alexnet_lib.errors import InputError
from alexnet_lib.port.backend import keras
from alexnet_lib.port.compilation import fused, one_loop
from alexnet_lib.port.layers import FullyConnected

__all__ = ["Network"]


@keras.saving.register_keras_serializable(package="alexnet_lib")
class Network(keras.Model):
    """`keras.Model` of inputs and outputs, with quicker functions and the same results."""

    def make_predict_function(self, force=False):
        """Make what `predict` and `predict_on_batch` call for each batch."""
        old = self.predict_function
        super().make_predict_function(force)
        if self.predict_function is not old:
            self.predict_function = fused(self.predict_function)
        return self.predict_function

    def make_test_function(self, force=False):
        """Make what `evaluate` calls for each batch."""
        old = self.test_function
        super().make_test_function(force)
        if self.test_function is not old:
            self.test_function = fused(self.test_function)
        return self.test_function

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """Compute outputs in batches; as `keras.Model.predict`.

        Raises:
            InputError: for an array whose shape is not the input's.
        """
        self._check(x)
        array = isinstance(x, np.ndarray | tf.Tensor) and len(x.shape) > 0 and len(x) > 0
        plain = steps is None and not callbacks and self.steps_per_execution == 1
        alone = len(self.outputs) == self.distribute_strategy.num_replicas_in_sync == 1
        if not (array and plain and alone):
            return super().predict(x, batch_size, verbose, steps, callbacks)
        size = batch_size or 32
        starts = range(0, len(x), size)
        bar = keras.utils.Progbar(len(starts), verbose=1 if verbose == "auto" else verbose)
        result = None
        for number, start in enumerate(starts, 1):
            part = self.predict_on_batch(x[start : start + size])
            if result is None:
                result = np.empty((len(x), *part.shape[1:]), part.dtype)
            result[start : start + size] = part
            if verbose:
                bar.update(number)
        return result

    def _check(self, x):
        """Refuse arrays of another shape, and warn of integers: they have no mean subtracted."""
        if len(self.inputs) > 1 or not hasattr(x, "shape") or not hasattr(x, "dtype"):
            return
        expected, got = self.inputs[0].shape[1:], tuple(x.shape[1:])
        fits = len(expected) == len(got) and all(
            a in (None, b) for a, b in zip(expected, got, strict=True)
        )
        if not fits:
            raise InputError(
                f"network {self.name!r}: expected inputs of (batch, "
                f"{', '.join(map(str, expected))}), got {tuple(x.shape)}. For images, "
                "preprocess_input makes the batch, the size and the values"
            )
        if "int" in str(x.dtype):
            warnings.warn(
                f"network {self.name!r}: integers are taken as they are, without a mean "
                "subtracted; preprocess_input makes of pixels what AlexNet was trained on",
                stacklevel=3,
            )

    def train_step(self, data):
        """Take one step of training; the optimizer's update is one loop."""
        if self.run_eagerly or self.jit_compile or tf.distribute.has_strategy():
            return super().train_step(data)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        weights, optimizer = self.trainable_variables, self.optimizer
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
            scaled = optimizer.scale_loss(loss)
        count = tf.shape(tf.nest.flatten(x)[0])[0]
        next(metric for metric in self.metrics if metric.name == "loss").update_state(loss, count)
        if weights:
            gradients = tape.gradient(scaled, weights)
            if not optimizer.built:
                optimizer.build(weights)
            one_loop(lambda *each: optimizer.apply(each, weights))(*gradients)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def quantize(self, mode=None, config=None, filters=None, **kwargs):
        """Quantize the fully connected layers, which hold most of the weights; as `keras.Model`."""
        if filters is None:

            def filters(layer):
                return isinstance(layer, FullyConnected)

        return super().quantize(mode, config, filters, **kwargs)
