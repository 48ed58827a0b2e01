"""Fundus photographs with a grade of diabetic retinopathy: EyePACS (Kaggle 2015) and APTOS 2019.

Both are tables of image names and grades beside folders of images. EyePACS names an eye ``10_left``: the patient is
10. APTOS names no patient, so its unit is the image. Photographs are cropped to their round field before resizing,
since cameras frame it differently.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.catalogue import Catalogue, Info, Item, Problems, SplitName, choose_task
from transfusion_lib.data.reading.filesource import FileSource
from transfusion_lib.data.reading.tables import Table, file_of, read_table, whole_number
from transfusion_lib.spec import DataSpec

TASKS = ("grade", "referable")
GRADES = ("no retinopathy", "mild", "moderate", "severe", "proliferative")
REFERABLE = 2  # moderate or worse on the international scale


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The names of tables, columns and folders of one of the two sets."""

    tables: dict[SplitName, tuple[str, ...]]
    image: str
    grade: str
    folders: dict[SplitName, tuple[str, ...]]
    """Where the images of a table lie, the preferred folder first; Kaggle's re-uploads hold several versions."""
    eyes: bool
    """Images are named after a patient and an eye."""

    def recognise(self, files: Files) -> bool:
        """Tell whether the table of the training images is there, with its columns."""
        name = files.table(*self.tables["train"])
        return name is not None and {self.image, self.grade} <= set(read_table(files, name).columns)

    def read(self, files: Files, spec: DataSpec, problems: Problems) -> Catalogue:
        """Return the catalogue of all tables that hold grades."""
        task = choose_task(spec, TASKS)
        items: list[Item] = []
        tables = {split: files.table(*names) for split, names in self.tables.items()}
        for split, name in tables.items():
            if name is not None:
                table = read_table(files, name)
                if split != "train" and self.grade not in table.columns:  # Kaggle's test.csv has no grades
                    continue
                table.require(self.image, self.grade)
                items += self._items(table, files, problems, split=split, task=task)
        official = len({item.split for item in items}) > 1
        return Catalogue(
            task=task,
            kind="multiclass",
            classes=GRADES if task == "grade" else ("not referable", "referable"),
            items=tuple(items if official else (replace(item, split=None) for item in items)),
            channels=3,
            positive=tuple(range(REFERABLE, len(GRADES))) if task == "grade" else (1,),
            fit="field",
        )

    def _items(self, table: Table, files: Files, problems: Problems, *, split: SplitName, task: str) -> list[Item]:
        folder = _present(files, self.folders[split])
        items = []
        for row in table.rows(problems):
            name = row[self.image]
            grade = whole_number(row, self.grade, below=len(GRADES), problems=problems)
            file = file_of(row, name, files, within=folder, problems=problems)
            if grade is not None and file is not None:
                label = grade if task == "grade" else int(grade >= REFERABLE)
                patient = name.rsplit("_", 1)[0] if self.eyes else name
                items.append(Item(id=name, file=file, label=label, unit=patient, split=split, row=row.where))
        return items


def _present(files: Files, folders: Sequence[str]) -> str:
    """Return the first of ``folders`` that holds an image, or an empty string: look everywhere."""
    parts = {part for name in files.images() for part in name.lower().split("/")[:-1]}
    return next((folder for folder in folders if folder in parts), "")


EYEPACS_LAYOUT = Layout(
    tables={"train": ("trainLabels.csv",), "test": ("testLabels.csv", "retinopathy_solution.csv")},
    image="image",
    grade="level",
    folders={"train": ("train", "resized_train", "resized_train_cropped"), "test": ("test", "resized_test")},
    eyes=True,
)
APTOS_LAYOUT = Layout(
    tables={"train": ("train.csv", "train_1.csv"), "val": ("valid.csv",), "test": ("test.csv",)},
    image="id_code",
    grade="diagnosis",
    folders={"train": ("train_images",), "val": ("val_images",), "test": ("test_images",)},
    eyes=False,
)

EYEPACS = FileSource(
    info=Info(
        what="fundus photographs with diabetic retinopathy (Kaggle 2015)",
        tasks=TASKS,
        licence="the rules of the Kaggle competition: research, no redistribution",
        source="EyePACS; Kaggle diabetic-retinopathy-detection",
        unit="patient (two eyes)",
        splits="drawn by patient; testLabels.csv or retinopathy_solution.csv is the test split where present",
        layout="eyepacs/trainLabels.csv (image, level) and eyepacs/train/*.jpeg, a folder or zip",
    ),
    places=("eyepacs", "diabetic-retinopathy-detection", "diabetic-retinopathy-resized"),
    recognise=EYEPACS_LAYOUT.recognise,
    read=EYEPACS_LAYOUT.read,
)
APTOS = FileSource(
    info=Info(
        what="fundus photographs with diabetic retinopathy (APTOS 2019)",
        tasks=TASKS,
        licence="the rules of the Kaggle competition: research, no redistribution",
        source="APTOS 2019 blindness detection, Aravind Eye Hospital; Kaggle aptos2019-blindness-detection",
        unit="image (no patient is named)",
        splits="drawn by image; valid.csv and test.csv are used where they hold grades",
        layout="aptos/train.csv (id_code, diagnosis) and aptos/train_images/*.png, a folder or zip",
    ),
    places=("aptos", "aptos2019", "aptos2019-blindness-detection"),
    recognise=APTOS_LAYOUT.recognise,
    read=APTOS_LAYOUT.read,
)
