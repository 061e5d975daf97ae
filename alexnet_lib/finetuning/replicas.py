"""More than one device: data-parallel training with `tf.distribute`.

Every replica holds the whole network and takes its rows of each batch; the sum of all replicas'
gradients updates every copy in the same way. A row's replica, and everything random about the row,
follow from its place in the batch. So the result equals that of one device, except that sums are
taken in another order.
"""

import contextlib
import hashlib
import json

import tensorflow as tf

from alexnet_lib.errors import AlexNetError, InputError
from alexnet_lib.finetuning.launch import check_tf_config
from alexnet_lib.port.backend import keras
from alexnet_lib.port.compilation import compiled, fused

__all__ = ["Replicas", "WorkerLost", "default_strategy"]

# Seconds after which a worker that others wait for counts as lost: more than the longest step, and
# than the chief's longest write of a checkpoint.
TIMEOUT = 600
LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


class WorkerLost(AlexNetError, ConnectionError):
    """Another worker has ended or no longer answers; the run can go on from its checkpoint."""


def default_strategy(timeout=TIMEOUT):
    """Return the strategy that fits this process. Call it before using TensorFlow otherwise.

    Args:
        timeout: seconds to wait for another worker.

    Returns:
        `MultiWorkerMirroredStrategy` where TF_CONFIG makes this process one of several workers,
        `MirroredStrategy` for more than one GPU, else None: one device needs no strategy.

    Raises:
        InputError: where TF_CONFIG is not as TensorFlow documents it.
        WorkerLost: where the other workers cannot be reached.
    """
    if check_tf_config():
        options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout)
        with _translate_lost_worker():
            return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return None


class Replicas:
    """The devices that train together; without a strategy, the one that TensorFlow chooses.

    Row i of a batch is read by worker i % workers, and row j of what a worker has read goes to its
    replica j % (replicas of a worker).

    Attributes:
        strategy: `tf.distribute.Strategy` or None.
        count: number of replicas, over all workers.
        shard: this process's number among the workers and how many they are, (0, 1) for one.
    """

    def __init__(self, strategy=None):
        self.strategy, self.count, self.shard = strategy, 1, (0, 1)
        if strategy is not None:
            self.count = strategy.num_replicas_in_sync
            ids = strategy.experimental_local_results(
                strategy.experimental_distribute_values_from_function(
                    lambda context: tf.constant(context.replica_id_in_sync_group)
                )
            )
            self.local = len(ids)
            self.shard = int(ids[0]) // self.local, self.count // self.local

    @property
    def chief(self):
        """Whether this process writes the files."""
        return self.shard[0] == 0

    @contextlib.contextmanager
    def scope(self):
        """Create variables on every replica; as `watch` where a worker is lost meanwhile."""
        with self.watch(), self.strategy.scope() if self.strategy else contextlib.nullcontext():
            yield

    def watch(self):
        """Return a context that raises `WorkerLost` where TensorFlow's errors mean just that."""
        return _translate_lost_worker() if self.shard[1] > 1 else contextlib.nullcontext()

    def check(self, model, batch_size):
        """Raise InputError for a model that is not the strategy's, or too small a batch."""
        if self.strategy is None:
            return
        created = self.strategy.extended.variable_created_in_scope
        if not all(created(variable.value) for variable in model.weights):
            raise InputError("build the model inside `with strategy.scope():`")
        if batch_size < self.count:
            raise InputError(
                f"recipe.batch_size is that of all {self.count} replicas together and must give "
                f"each an image. Received: {batch_size}"
            )

    def check_workers_match(self, facts):
        """Raise InputError, on every worker, if workers differ in `facts`, a dict for JSON."""
        encoded = [json.dumps(fact).encode() for fact in facts.values()]
        digests = [hashlib.sha256(fact).digest()[:8] for fact in encoded]
        mine = tf.constant([[int.from_bytes(d, "big", signed=True) for d in digests]], tf.int64)
        everyone = self.strategy.gather(
            self.strategy.experimental_distribute_values_from_function(lambda _: mine), axis=0
        ).numpy()
        if differ := [name for name, x in zip(facts, everyone.T, strict=True) if len({*x}) > 1]:
            raise InputError(
                f"the workers differ in {', '.join(differ)}. Give all of them the same files and "
                "arguments, and a results folder on a file system that they share"
            )

    def function(self, step):
        """Compile a function of tensors to run on every replica; its results are summed up."""
        if self.strategy is None:
            return compiled(step)

        @tf.function(reduce_retracing=True, autograph=False)
        def everywhere(*arguments):
            results = self.strategy.run(fused(step), arguments)
            return tuple(self.strategy.reduce("SUM", value, axis=None) for value in results)

        return everywhere

    def scatter(self, rows, least=0):
        """Give each of this worker's replicas its rows of the worker's part of a batch.

        Args:
            rows: tensor, the worker's rows of a batch.
            least: a replica with fewer rows gets this many rows of zeros instead.

        Returns:
            An argument for a compiled `function`.
        """
        if self.strategy is None:
            return rows

        def part(context):
            mine = rows[context.replica_id_in_sync_group % self.local :: self.local]
            return mine if len(mine) >= least else tf.zeros((least, *rows.shape[1:]), rows.dtype)

        return self.strategy.experimental_distribute_values_from_function(part)

    def train(self, network, x, total, step):
        """Apply a chain of layers to a replica's rows as one device would apply it to all of them.

        Keras draws a dropout mask for the rows that it is given, and its generators cannot move on
        inside a replica. So every replica draws the mask of the whole batch, from the generator's
        state at the start of the epoch, and takes its rows of it.

        Args:
            network: `keras.Model`, in which each layer feeds the next.
            x: the replica's rows of the batch.
            total: int32, number of images in the whole batch.
            step: int32, the number of the step in the epoch.

        Returns:
            The network's output.
        """
        if self.strategy is None:
            return network(x, training=True)
        place = tf.distribute.get_replica_context().replica_id_in_sync_group
        worker, replica = place // self.local, place % self.local
        first = worker + self.shard[1] * replica
        for layer in network.layers[1:]:  # the first is the input
            if isinstance(layer, keras.layers.Dropout) and layer.rate:
                seed = tf.cast(layer.seed_generator.state.value, tf.int32) + tf.stack([0, step])
                mask = tf.nn.experimental.stateless_dropout(
                    tf.ones([total, *x.shape[1:]], x.dtype), layer.rate, seed
                )
                x = x * mask[first :: self.count]
            else:
                x = layer(x, training=True)
        return x


@contextlib.contextmanager
def _translate_lost_worker():
    try:
        yield
    except LOST as error:
        lines = str(error).strip().splitlines()
        reason = next((line for line in lines if "aborted by" in line), lines[-1])
        raise WorkerLost(
            "another worker has ended or no longer answers. Start all workers again with the same "
            f"results folder: the run goes on from its last epoch. TensorFlow says: {reason}"
        ) from error
