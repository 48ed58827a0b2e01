"""What a stage's features say of the labels: a linear probe and k nearest neighbours on pooled features."""

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfusion_lib.analysis import activations, probe_sets
from transfusion_lib.analysis.activations import Pooled
from transfusion_lib.errors import MeasureError
from transfusion_lib.runs import Run
from transfusion_lib.runs.analyses import stored
from transfusion_lib.training import metrics
from transfusion_lib.training.metrics import Kind

Matrix = NDArray[np.float64]
PENALTY = 1.0
"""Inverse strength of the linear probe's L2 penalty, on standardised features: scikit-learn's default."""


@stored("probes.probe", version=2)
def probe(run: Run, *, train: int = 400, test: int = 300, neighbours: int = 15) -> dict[str, Any]:
    """Return the test AUROC of a linear and of a k-NN probe on each stage, before and after training.

    The probes learn from ``train`` training images of the run's own data and are scored on ``test`` test images,
    drawn; features are averaged over positions and standardised by the training images'. ``rows`` holds a mapping per
    stage: ``when`` ("before", "after"), ``stage``, ``channels``, ``linear``, ``knn``.
    """
    data = probe_sets.dataset(run)
    (train_images, train_labels), (test_images, test_labels) = (
        probe_sets.cases(split, count) for split, count in ((data.train, train), (data.test, test))
    )
    images = torch.cat([train_images, test_images])
    rows = []
    for when, network in (("before", probe_sets.network(run, 0)), ("after", probe_sets.network(run))):
        found = activations.collect(network, images, cut_points=network.stages, rule=Pooled(), batch_size=50)
        for stage, features in found.items():
            x = features.cpu().double().numpy()
            learn, ask = standardised(x[: len(train_images)], x[len(train_images) :])
            row: dict[str, Any] = {"when": when, "stage": stage, "channels": x.shape[1]}
            for name, chances in (
                ("linear", linear(learn, train_labels, ask, kind=data.kind, outputs=data.num_outputs)),
                ("knn", knn(learn, train_labels, ask, kind=data.kind, outputs=data.num_outputs, k=neighbours)),
            ):
                scores = metrics.score(chances, test_labels.numpy(), kind=data.kind, positive=data.positive)
                row[name] = None if np.isnan(scores.auroc) else scores.auroc
            rows.append(row)
    return {"rows": rows}


def standardised(learn: Matrix, ask: Matrix) -> tuple[Matrix, Matrix]:
    """Return both sets of features (n, d) with the mean and deviation of the first; constant features become 0."""
    mean, deviation = learn.mean(0), learn.std(0)
    scale = np.where(deviation > 1e-9 * (np.abs(mean) + 1), deviation, np.inf)
    return (learn - mean) / scale, (ask - mean) / scale


def linear(learn: Matrix, labels: Tensor, ask: Matrix, *, kind: Kind, outputs: int) -> NDArray[np.float32]:
    """Return the probabilities (n, outputs) that logistic regression on ``learn`` (m, d) gives ``ask`` (n, d)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    def fit(x: Matrix, y: NDArray[Any]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # separable features: the scores have converged
            return LogisticRegression(C=PENALTY, max_iter=200).fit(x, y)

    return _chances(learn, labels, ask, kind=kind, outputs=outputs, fit=fit)


def knn(learn: Matrix, labels: Tensor, ask: Matrix, *, kind: Kind, outputs: int, k: int) -> NDArray[np.float32]:
    """Return the shares (n, outputs) of each label among the ``k`` nearest of ``learn`` by cosine, near ones more."""
    from sklearn.neighbors import KNeighborsClassifier

    def fit(x: Matrix, y: NDArray[Any]) -> Any:
        return KNeighborsClassifier(min(k, len(x)), weights="distance").fit(_unit(x), y)

    return _chances(learn, labels, _unit(ask), kind=kind, outputs=outputs, fit=fit)


def _chances(learn: Matrix, labels: Tensor, ask: Matrix, *, kind: Kind, outputs: int, fit: Any) -> NDArray[np.float32]:
    """Return the probabilities of one classifier over classes, or of one for each label on the cases that have it."""
    found = np.zeros((len(ask), outputs), np.float32)
    if kind == "multiclass":
        y = labels.numpy()
        if len(np.unique(y)) < 2:
            raise MeasureError(f"a probe needs images of two classes, and the {len(y)} drawn are of one; give more")
        model = fit(learn, y)
        found[:, model.classes_] = model.predict_proba(ask)
        return found
    for column, y in enumerate(labels.numpy().T):
        known = ~np.isnan(y)
        values = np.unique(y[known])
        if len(values) < 2:  # this label's AUROC says nothing; the others' may
            continue
        found[:, column] = fit(learn[known], y[known].astype(int)).predict_proba(ask)[:, 1]
    return found


def _unit(x: Matrix) -> Matrix:
    norm: Matrix = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.maximum(norm, 1e-12)
