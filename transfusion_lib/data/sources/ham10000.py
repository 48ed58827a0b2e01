"""Dermoscopy of pigmented lesions: HAM10000 (Tschandl et al. 2018), with lesion masks where they are present.

7,470 lesions have 10,015 images, so splits are drawn by lesion. Dataverse, Kaggle and ISIC pack the same files
differently; images are found by their name wherever they lie, zips inside the folder included.
"""

from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.catalogue import Catalogue, Info, Item, Problems, choose_task
from transfusion_lib.data.reading.filesource import FileSource
from transfusion_lib.data.reading.tables import file_of, one_of, read_table
from transfusion_lib.errors import DataError
from transfusion_lib.spec import DataSpec

TASKS = ("dx", "melanoma", "lesion")
DIAGNOSES = {
    "akiec": "actinic keratosis",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "naevus",
    "vasc": "vascular lesion",
}
CODES = tuple(DIAGNOSES)
MALIGNANT = tuple(CODES.index(code) for code in ("akiec", "bcc", "mel"))
TABLES = ("HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata")


def recognise(files: Files) -> bool:
    """Tell whether the table of HAM10000 is there."""
    return files.table(*TABLES) is not None


def read(files: Files, spec: DataSpec, problems: Problems) -> Catalogue:
    """Return the catalogue; task "melanoma" keeps melanoma and naevus only, "lesion" is where the lesion is."""
    task = choose_task(spec, TASKS)
    classes = ("nv", "mel") if task == "melanoma" else CODES
    name = files.table(*TABLES)
    if name is None:
        return Catalogue(task=task, kind="multiclass", classes=classes, items=(), channels=3)
    table = read_table(files, name)
    table.require("lesion_id", "image_id", "dx")
    masked = any(image.lower().endswith("_segmentation.png") for image in files.images())
    if task == "lesion" and not masked:
        raise DataError(
            f"{files.path}: task lesion needs the lesion masks, ISIC_*_segmentation.png; get "
            "HAM10000_segmentations_lesion_tschandl.zip from doi 10.7910/DVN/DBW86T and put it beside the images"
        )
    items = []
    for row in table.rows(problems):
        code = one_of(row, "dx", CODES, problems=problems)
        if code is None or CODES[code] not in classes:
            continue
        image, lesion = row["image_id"], row["lesion_id"]
        file = file_of(row, image, files, problems=problems)
        mask = file_of(row, f"{image}_segmentation", files, problems=problems) if masked else None
        if not lesion:
            problems.add(f"{row.where}: lesion_id is blank; give the lesion of {image}")
        elif file is not None and (mask is not None or not masked):
            label = classes.index(CODES[code])
            items.append(Item(id=image, file=file, label=label, unit=lesion, row=row.where, mask=mask))
    return Catalogue(
        task=task,
        kind="segmentation" if task == "lesion" else "multiclass",
        classes=("lesion",) if task == "lesion" else tuple(DIAGNOSES[code] for code in classes),
        items=tuple(items),
        channels=3,
        positive={"dx": MALIGNANT, "melanoma": (1,)}.get(task),
        regions=("lesion",) if masked else (),
    )


SOURCE = FileSource(
    info=Info(
        called="skin lesions",
        asks={"dx": "skin lesion diagnosis", "melanoma": "melanoma or naevus", "lesion": "outline of the lesion"},
        what="dermoscopy of pigmented skin lesions",
        tasks=TASKS,
        licence="CC BY-NC 4.0",
        source="Tschandl, Rosendahl, Kittler, Scientific Data 5 (2018) 180161; doi 10.7910/DVN/DBW86T",
        unit="lesion",
        splits="drawn by lesion: 20 % test, 10 % of the rest val",
        layout="ham10000/HAM10000_metadata.csv, the images and, if wanted, *_segmentation.png, a folder or zip",
    ),
    places=("ham10000", "HAM10000", "skin-cancer-mnist-ham10000", "dataverse_files"),
    recognise=recognise,
    read=read,
)
