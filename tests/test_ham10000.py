"""HAM10000 as Dataverse, Kaggle and our archive pack it; masks; lesions."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pictures import encoded, gradient, write_files, write_zip
from transfusion_lib import data
from transfusion_lib.data.sources.ham10000 import CODES
from transfusion_lib.errors import DataError
from transfusion_lib.spec import DataSpec

Files = dict[str, bytes | str]


def name_of(k: int) -> str:
    """Return an image id."""
    return f"ISIC_{k:07d}"


def mask(k: int) -> bytes:
    """Return a mask with a square of known size."""
    drawn = np.zeros((30, 40), bool)
    drawn[5:15, 5 : 15 + k % 10] = True
    return encoded(Image.fromarray(drawn))


def made(*, images: int = 140, masks: bool = True) -> Files:
    """Return two images of each lesion, all seven diagnoses."""
    files: Files = {f"HAM10000_images/{name_of(k)}.jpg": encoded(gradient(k), "JPEG") for k in range(images)}
    if masks:
        files |= {
            f"HAM10000_segmentations_lesion_tschandl/{name_of(k)}_segmentation.png": mask(k) for k in range(images)
        }
    rows = [f"HAM_{k // 2:07d},{name_of(k)},{CODES[k // 2 % 7]},histo,50,male,back" for k in range(images)]
    return files | {"HAM10000_metadata.csv": "\n".join(["lesion_id,image_id,dx,dx_type,age,sex,localization", *rows])}


def spec(root: Path, **fields: object) -> DataSpec:
    """Return a spec of the set at ``root``."""
    return DataSpec(name="ham10000", root=str(root), size=16, **fields)  # type: ignore[arg-type]


def test_the_set(tmp_path: Path) -> None:
    """Seven classes, masks beside their images, splits by lesion."""
    loaded = data.load(spec(write_zip(tmp_path / "h.zip", made())), cache=tmp_path / "cache")
    assert len(loaded.classes) == 7
    assert [loaded.classes[k] for k in loaded.positive or ()] == [
        "actinic keratosis",
        "basal cell carcinoma",
        "melanoma",
    ]
    assert loaded.regions == ("lesion",)
    for split in loaded.splits().values():
        assert split.masks is not None
        assert split.masks.shape == (len(split), 1, 16, 16)
        for row in range(len(split)):
            k = int(split.ids[row][5:])
            assert CODES[int(split.labels[row])] == CODES[k // 2 % 7]
            assert split.masks[row].float().mean().item() == pytest.approx(10 * (10 + k % 10) / 1200, abs=0.035)
    units = [set(split.units) for split in loaded.splits().values()]
    assert sum(map(len, units)) == 70
    assert len(units[0] | units[1] | units[2]) == 70


def test_melanoma_against_naevus(tmp_path: Path) -> None:
    """The task keeps two diagnoses and leaves nothing else out as a fault."""
    loaded = data.load(spec(write_zip(tmp_path / "h.zip", made()), task="melanoma"), cache=tmp_path / "cache")
    assert loaded.classes == ("naevus", "melanoma")
    assert sum(len(split) for split in loaded.splits().values()) == 40
    assert not loaded.left_out
    for name, label in zip(loaded.train.ids, loaded.train.labels.tolist(), strict=True):
        assert ("nv", "mel")[label] == CODES[int(name[5:]) // 2 % 7]


def test_every_packing_is_the_same_set(tmp_path: Path) -> None:
    """One zip; Dataverse's zips and tab-separated table in a folder; Kaggle's doubled parts."""
    files = made()
    parts: list[Files] = [{}, {}, {}]
    for name, content in files.items():
        if not name.endswith("csv"):
            part = 2 if "segmentation" in name else int(name[-5]) % 2
            parts[part][name if part == 2 else name.rpartition("/")[2]] = content
    dataverse = write_files(
        tmp_path / "dataverse_files", {"HAM10000_metadata.tab": str(files["HAM10000_metadata.csv"]).replace(",", "\t")}
    )
    for part, name in enumerate(
        ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_segmentations_lesion_tschandl")
    ):
        write_zip(dataverse / f"{name}.zip", parts[part])
    kaggle: Files = {
        "HAM10000_metadata.csv": files["HAM10000_metadata.csv"],
        "hmnist_28_28_L.csv": "pixel0000,label\n1,2\n",
    }
    for part in (0, 1):
        for folder in (f"HAM10000_images_part_{part + 1}", f"ham10000_images_part_{part + 1}"):
            kaggle |= {f"{folder}/{name}": content for name, content in parts[part].items()}
    kaggle |= parts[2]
    (tmp_path / "kaggle").mkdir()
    roots = [
        write_zip(tmp_path / "h.zip", files),
        dataverse,
        tmp_path,
        write_zip(tmp_path / "kaggle" / "skin-cancer.zip", kaggle),
    ]
    assert len({data.fingerprint(spec(root), cache=tmp_path / "cache") for root in roots}) == 1


def test_masks_are_optional_but_then_complete(tmp_path: Path) -> None:
    """Without any mask there are no regions; a single missing one is named with its row."""
    loaded = data.load(spec(write_zip(tmp_path / "n.zip", made(masks=False))), cache=tmp_path / "cache")
    assert loaded.regions == ()
    assert loaded.train.masks is None
    files = made()
    del files[f"HAM10000_segmentations_lesion_tschandl/{name_of(3)}_segmentation.png"]
    root = write_zip(tmp_path / "m.zip", files)
    with pytest.raises(DataError, match=r"HAM10000_metadata.csv row 5: image ISIC_0000003_segmentation is not in"):
        data.load(spec(root), cache=tmp_path / "cache")
    assert len(data.load(spec(root, on_bad="skip"), cache=tmp_path / "cache").left_out) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("HAM_0000001,", ",", r"row 4: lesion_id is blank; give the lesion of ISIC_0000002"),
        ("ISIC_0000002,bcc", "ISIC_0000002,wart", r'row 4: dx is "wart"; it must be one of akiec, bcc, bkl'),
    ],
)
def test_bad_rows(tmp_path: Path, old: str, new: str, message: str) -> None:
    """The row and the repair."""
    files = made()
    files["HAM10000_metadata.csv"] = str(files["HAM10000_metadata.csv"]).replace(old, new, 1)
    with pytest.raises(DataError, match=message):
        data.load(spec(write_zip(tmp_path / "h.zip", files)), cache=tmp_path / "cache")


@pytest.mark.skipif("TRANSFUSION_DATA" not in os.environ, reason="TRANSFUSION_DATA is not set")
def test_real_archive(tmp_path: Path) -> None:
    """10,015 images of 7,470 lesions, the published class counts, no lesion in two splits."""
    sheet = data.show("ham10000", cache=tmp_path)
    assert sum(sheet.images.values()) == 10015
    assert sum(sheet.units.values()) == 7470
    totals = [sum(column) for column in zip(*sheet.counts.values(), strict=True)]
    assert dict(zip(CODES, totals, strict=True)) == {
        "nv": 6705, "mel": 1113, "bkl": 1099, "bcc": 514, "akiec": 327, "vasc": 142, "df": 115
    }  # fmt: skip
