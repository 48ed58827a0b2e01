import pytest
import torch

from transfusion_lib.data.uncertainty import PUBLISHED, Policy, resolve
from transfusion_lib.errors import DataError

NAN = float("nan")
CHEXPERT = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
LABELS = torch.tensor([[-1, -1, -1, -1, -1], [0, 1, -1, 1, 0]])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("published", [[1, 0, 0, 1, 1], [0, 1, 0, 1, 0]]),
        ("ones", [[1, 1, 1, 1, 1], [0, 1, 1, 1, 0]]),
        ("zeros", [[0, 0, 0, 0, 0], [0, 1, 0, 1, 0]]),
        ("ignore", [[NAN] * 5, [0, 1, NAN, 1, 0]]),
    ],
)
def test_each_policy(policy: Policy, expected: list[list[float]]) -> None:
    found = resolve(LABELS, pathologies=CHEXPERT, policy=policy)
    assert found.dtype == torch.float32
    assert torch.equal(found.nan_to_num(9), torch.tensor(expected, dtype=torch.float32).nan_to_num(9))


def test_labels_are_not_changed_in_place() -> None:
    labels = LABELS.float()
    resolve(labels, pathologies=CHEXPERT, policy="ones")
    assert torch.equal(labels, LABELS.float())


def test_a_label_that_is_missing_stays_missing() -> None:
    found = resolve(torch.tensor([[NAN, 1.0]]), pathologies=("Edema", "Atelectasis"), policy="published")
    assert found.isnan().tolist() == [[True, False]]


def test_names_are_known_however_they_are_written() -> None:
    for name in PUBLISHED:
        for written in (name, name.title(), name.replace(" ", "_").upper()):
            assert resolve(torch.tensor([[-1]]), pathologies=(written,), policy="published").item() == PUBLISHED[name]


def test_a_pathology_without_a_published_policy_says_what_to_ask_for() -> None:
    labels, names = torch.tensor([[-1], [1]]), ("Fracture",)
    with pytest.raises(DataError, match=r'"Fracture".*uncertain="ones"'):
        resolve(labels, pathologies=names, policy="published")
    assert resolve(labels, pathologies=names, policy="zeros").tolist() == [[0], [1]]
    assert resolve(labels[1:], pathologies=names, policy="published").tolist() == [[1]]
