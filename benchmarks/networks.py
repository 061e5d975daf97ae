"""AlexNet as others run it: the same weights in four other engines and styles."""

import keras
import numpy as np
import tensorflow as tf

from alexnet_lib.port.architecture import LRN, describe
from alexnet_lib.port.layers import (
    FullyConnected,
    GroupedConv2D,
    LocalResponseNormalization,
    check_caffe_window,
)

# Caffe's parameters in TensorFlow's form.
TF_LRN = {
    "depth_radius": check_caffe_window(LRN["local_size"]),
    "bias": LRN["k"],
    "alpha": LRN["alpha"] / LRN["local_size"],
    "beta": LRN["beta"],
}


def onnx_runtime(blobs):
    """Return a function from images, (batch, 3, 227, 227), to probabilities in ONNX Runtime."""
    import onnxruntime

    from alexnet_lib.port.engines import onnx_model

    session = onnxruntime.InferenceSession(
        onnx_model(blobs).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run(["prob"], {"data": images})[0]


def opencv_dnn(caffemodel, batch):
    """Return a function as `onnx_runtime` does, for OpenCV with all its speed-ups on."""
    import cv2

    from alexnet_lib.port.architecture import prototxt

    text = np.frombuffer(prototxt(batch=batch).encode(), np.uint8)
    net = cv2.dnn.readNetFromCaffe(text, np.fromfile(caffemodel, np.uint8))

    def forward(images):
        net.setInput(images)
        return net.forward("prob")

    return forward


def keras_groups(model):
    """Return a copy of `model` made of Keras' own grouped convolution and `tf.nn.lrn`."""

    def clone(layer):
        if isinstance(layer, GroupedConv2D):
            return keras.layers.Conv2D.from_config(layer.get_config())
        if isinstance(layer, FullyConnected):
            return keras.layers.Dense.from_config(layer.get_config())
        if isinstance(layer, LocalResponseNormalization):
            return keras.layers.Lambda(
                lambda x: tf.nn.lrn(x, **TF_LRN), output_shape=lambda shape: shape, name=layer.name
            )
        return type(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


class OriginalGraph:
    """AlexNet as a graph and a session of TensorFlow 1: split and concat, `tf.nn.lrn`, SGD.

    Args:
        weights: all 16 arrays in TensorFlow's layout.
        train: names of the layers that `step` trains.
        recipe: `Recipe` of a constant or exponential schedule; for its rate, decay and L2.
        epoch_steps: steps in an epoch, over which the rate decays once.
    """

    def __init__(self, weights, train=(), recipe=None, epoch_steps=1):
        v1 = tf.compat.v1
        with tf.Graph().as_default() as graph:
            rows = describe(len(weights["fc8/bias"]))
            self.images = x = v1.placeholder(tf.float32, (None, *rows[0].input_shape))
            self.labels = v1.placeholder(tf.int64, (None,))
            variables = {
                name: v1.get_variable(name, array.shape, initializer=v1.zeros_initializer())
                for name, array in weights.items()
            }
            penalty = 0.0
            for row in rows:
                layer = row.layer
                if row.kernel_shape:
                    kernel = variables[f"{layer.name}/kernel"]
                    bias = variables[f"{layer.name}/bias"]
                if layer.type == "Convolution":
                    x = tf.nn.bias_add(_split_and_concat(x, kernel, layer), bias)
                elif layer.type == "InnerProduct":
                    x = v1.nn.xw_plus_b(tf.reshape(x, [-1, row.kernel_shape[0]]), kernel, bias)
                    penalty += tf.reduce_sum(tf.square(kernel))
                elif layer.type == "ReLU":
                    x = tf.nn.relu(x)
                elif layer.type == "LRN":
                    x = tf.nn.lrn(x, **TF_LRN)
                elif layer.type == "Pooling":
                    x = tf.nn.max_pool2d(x, layer.kernel, layer.stride, "VALID")
                    self.pool5 = x  # the last one stays
            self.probabilities = tf.nn.softmax(x)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(self.labels, x)
            self.loss = tf.reduce_mean(losses)
            self.variables = variables
            trained = [v for name, v in variables.items() if name.split("/")[0] in train]
            if trained:
                step = v1.train.create_global_step()
                decay = recipe.decay if recipe.schedule == "exponential" else 1.0
                rate = v1.train.exponential_decay(recipe.learning_rate, step, epoch_steps, decay)
                descent = v1.train.GradientDescentOptimizer(rate)
                # Not times 0: TensorFlow 1 would pass over all kernels for it.
                total = self.loss + recipe.l2 * penalty if recipe.l2 else self.loss
                self.train = descent.minimize(total, step, var_list=trained)
            self.session = v1.Session(graph=graph)
            if trained:
                self.session.run(step.initializer)
        self.assign(weights)

    def assign(self, weights):
        """Set all weights."""
        for name, variable in self.variables.items():
            initializer = variable.initializer
            self.session.run(initializer, {initializer.inputs[1]: weights[name]})

    def forward(self, images):
        """Return the probabilities of images, float32 (batch, 227, 227, 3)."""
        return self.session.run(self.probabilities, {self.images: images})

    def convolve(self, images):
        """Return pool5 of images."""
        return self.session.run(self.pool5, {self.images: images})

    def step(self, images, labels, pool5=None):
        """Take one step of gradient descent, from images or pool5; return the loss before it."""
        feed = {self.images: images} if pool5 is None else {self.pool5: pool5}
        return self.session.run([self.loss, self.train], feed | {self.labels: labels})[0]

    def weights(self):
        """Return the arrays as they are now."""
        return self.session.run(self.variables)


def _split_and_concat(x, kernel, layer):
    """Convolve group by group, as one had to before kernels took grouped filters."""
    padding = "SAME" if layer.pad else "VALID"
    parts = zip(
        tf.split(x, layer.groups, axis=3), tf.split(kernel, layer.groups, axis=3), strict=True
    )
    results = [tf.nn.conv2d(part, filters, layer.stride, padding) for part, filters in parts]
    return tf.concat(results, axis=3)
