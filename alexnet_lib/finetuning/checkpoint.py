"""Checkpoints: saved after every epoch, compared with the run that takes them up, resumed."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from alexnet_lib.damaged import reading
from alexnet_lib.errors import InputError
from alexnet_lib.files import atomic_path, write_csv
from alexnet_lib.finetuning.classifier import Classifier, save_classifier
from alexnet_lib.finetuning.settings import check_epochs, checkpoint_facts, differences
from alexnet_lib.port.layouts import open_npz

__all__ = ["Checkpoint"]


class Checkpoint:
    """A run's files: what it takes to go on, its history, and the weights of its epochs.

    Args:
        folder: of the files; None keeps nothing.
        trainer: `Trainer` whose variables are saved and restored.
        images: digest of the images and labels that it trains on and is measured with.
        keep_epochs: keep every epoch's weights, beside the best one's.
        data: `Data` that it trains on; the weights are stored with its classes and augmentation.
    """

    def __init__(self, folder, trainer, images, keep_epochs, data):
        self.folder = None if folder is None else Path(folder)
        self.trainer, self.images, self.keep_epochs = trainer, images, keep_epochs
        self.data = data

    def settings(self):
        """Return what makes two runs the same: all but the values of the weights that train."""
        digest = hashlib.sha256()
        trained = {variable.path for _, group, _ in self.trainer.groups for variable in group}
        for layer in self.trainer.model.layers:
            for variable in layer.weights:
                if variable.path not in trained:
                    digest.update(variable.numpy().tobytes())
        sizes = [list(variable.shape) for variable in self.trainer.state().values()]
        facts = {
            "recipe": self.trainer.recipe._asdict(),
            "seed": self.trainer.seed,
            "images": self.images,
            "augment": self.data.augment,
            "size of the head": sizes,
            "frozen weights": digest.hexdigest(),
        }
        return json.loads(json.dumps(facts))  # as a file gives them back

    def save(self, history, best, improved):
        """Write history, checkpoint and, where it is new, the best epoch's weights.

        Args:
            history: list of dicts, one an epoch.
            best: the best epoch's weights, as `Trainer.snapshot` returns them.
            improved: whether the last epoch is the best one.
        """
        if self.folder is None or not self.trainer.replicas.chief:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        row, paths = history[-1], [self.folder / "best.npz"] if improved else []
        if self.keep_epochs:
            (self.folder / "epochs").mkdir(exist_ok=True)
            paths.append(self.folder / "epochs" / f"{row['epoch']:03d}.npz")
        for path in paths:
            classifier = Classifier(self.trainer.model, self.data.classes)
            save_classifier(path, classifier, augment=self.data.augment, white=self.data.white)
        write_csv(self.folder / "history.csv", pd.DataFrame(history))
        with tf.summary.create_file_writer(str(self.folder / "tensorboard")).as_default():
            for name in row.keys() - {"epoch"}:
                tf.summary.scalar(name, row[name], step=row["epoch"])
        # Last: an epoch that no checkpoint has is trained, and written, again.
        arrays = {name: variable.numpy() for name, variable in self.trainer.state().items()}
        arrays |= {f"best/{name}": array for name, array in best.items()}
        facts = {"settings": self.settings(), "history": history}
        arrays |= {name: np.array(json.dumps(fact)) for name, fact in facts.items()}
        with atomic_path(self.folder / "checkpoint.npz") as partial:
            np.savez(partial, **arrays)

    def restore(self):
        """Set the trainer's variables from the checkpoint, where there is one.

        Returns:
            The history and the best weights that it holds; an empty list and None without one.

        Raises:
            InputError: where the checkpoint is damaged, another run's, or of more epochs.
        """
        path = None if self.folder is None else self.folder / "checkpoint.npz"
        if path is None:
            return [], None
        for left in self.folder.glob(f".{32 * '?'}-*.npz") if self.trainer.replicas.chief else ():
            left.unlink()  # `atomic_path`'s, of a run that was killed while it wrote
        if not path.exists():
            return [], None
        with open_npz(path, "a checkpoint of `finetune`") as file:
            arrays = dict(file)
            found, history = checkpoint_facts(file)
        if differ := differences(found, self.settings()):
            raise InputError(
                f"{path}: checkpoint of another run: differs in {'; '.join(differ)}. Choose "
                "another folder, or remove this one to start anew"
            )
        check_epochs(path, len(history), self.trainer.recipe.epochs)
        with reading(path, "a checkpoint of `finetune`"):
            names = [*self.trainer.state(), *(f"best/{name}" for name in self.trainer.snapshot())]
            if lacking := [name for name in names if name not in arrays]:
                raise KeyError(f"it lacks {', '.join(lacking)}")
            self.trainer.assign(arrays)
        best = {name[5:]: array for name, array in arrays.items() if name.startswith("best/")}
        return history, best
