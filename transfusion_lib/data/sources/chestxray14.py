"""NIH ChestX-ray14 (Wang et al. 2017): chest x-rays with fourteen findings, mined from reports.

``Data_Entry_2017.csv`` names the image, its findings with ``|`` between them, and the patient; ``test_list.txt`` is the
official test split. The first task is the five findings of CheXpert, so that the paper's chapters read both sets alike.
Kaggle's sample of 5,606 images is read too; it has no official split.
"""

from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.catalogue import Catalogue, Info, Item, Problems, SplitName, choose_task
from transfusion_lib.data.reading.filesource import FileSource
from transfusion_lib.data.reading.tables import Row, file_of, read_table
from transfusion_lib.errors import did_you_mean
from transfusion_lib.spec import DataSpec

FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion")
OTHERS = (
    *("Emphysema", "Fibrosis", "Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening"),
    *("Pneumonia", "Pneumothorax"),
)
NOTHING = "No Finding"
TASKS = {"five_pathologies": FIVE, "pathologies": tuple(sorted((*FIVE, *OTHERS)))}
TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv", "sample_labels.csv")
IMAGE, FINDINGS, PATIENT = "image index", "finding labels", "patient id"


def recognise(files: Files) -> bool:
    """Tell whether the table of findings is there, with its columns."""
    name = files.table(*TABLES)
    return name is not None and {IMAGE, FINDINGS, PATIENT} <= set(read_table(files, name).columns)


def read(files: Files, spec: DataSpec, problems: Problems) -> Catalogue:
    """Return the catalogue; an image of the official test list is in test, every other in train."""
    task = choose_task(spec, tuple(TASKS))
    name = files.table(*TABLES)
    listed = files.table("test_list.txt")
    tested = set(files.read(listed).decode(errors="replace").split()) if listed is not None else None
    items = []
    table = read_table(files, name) if name is not None else None
    if table is not None:
        table.require(IMAGE, FINDINGS, PATIENT)
        for row in table.rows(problems):
            file = file_of(row, row[IMAGE], files, problems=problems)
            label = _label(row, TASKS[task], problems)
            if file is not None and label is not None:
                split: SplitName | None = None if tested is None else "test" if row[IMAGE] in tested else "train"
                items.append(Item(id=row[IMAGE], file=file, label=label, unit=row[PATIENT], split=split, row=row.where))
    return Catalogue(task=task, kind="multilabel", classes=TASKS[task], items=tuple(items), channels=1)


def _label(row: Row, classes: tuple[str, ...], problems: Problems) -> tuple[float, ...] | None:
    """Return 0 or 1 for each of ``classes``; None, and a problem, for a finding that the set does not have."""
    found = row[FINDINGS].split("|")
    known = (*TASKS["pathologies"], NOTHING)
    for finding in found:
        if finding not in known:
            what = f'"{finding}"' if finding else "blank"
            problems.add(f"{row.where}: finding {what} is none of the set's{did_you_mean(finding, known)}; correct it")
            return None
    return tuple(float(name in found) for name in classes)


SOURCE = FileSource(
    info=Info(
        what="chest x-rays with fourteen findings, several at once",
        tasks=tuple(TASKS),
        licence="public, by the NIH Clinical Center's terms: cite the paper and the source",
        source="Wang et al., CVPR 2017, arXiv 1705.02315; nihcc.app.box.com; Kaggle nih-chest-xrays",
        unit="patient",
        splits="test_list.txt is test where present; val, and otherwise test, is drawn by patient",
        layout="chestxray14/Data_Entry_2017.csv, test_list.txt and images_0*/images/*.png, a folder or zip",
    ),
    places=("chestxray14", "nih-chest-xrays", "NIH"),
    recognise=recognise,
    read=read,
)
