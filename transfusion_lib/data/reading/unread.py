"""Files beside the images that are not read: counted by kind and said, so that nothing is left out in silence."""

from collections.abc import Collection

from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.catalogue import Problems, counted
from transfusion_lib.data.reading.tables import is_table

KINDS: dict[str, tuple[str, ...]] = {
    "DICOM file(s), not read: convert them to PNG, for example with dcmj2pnm": (".dcm", ".dicom", ".ima"),
    "volume(s), not read: save their slices as PNG": (
        *(".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".img", ".hdr"),
    ),
    "array(s), not read: save the images as PNG": (
        *(".npy", ".npz", ".mat", ".h5", ".hdf5", ".pt", ".pkl", ".tfrecord", ".tfrecords", ".parquet"),
    ),
    "picture(s) of a kind that is not read: save them as PNG": (
        *(".heic", ".heif", ".avif", ".tga", ".psd", ".svg", ".raw", ".cr2", ".nef", ".arw", ".dng", ".exr", ".jxl"),
        *(".svs", ".ndpi", ".czi", ".mrxs", ".scn", ".vsi", ".pcx", ".ico", ".eps", ".mp4", ".avi", ".mov"),
    ),
    "archive(s), not opened: unpack them": (*(".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst"),),
    "spreadsheet(s), not read: save them as csv": (".xlsx", ".xls", ".xlsm", ".ods", ".numbers"),
}
DICOM, VOLUMES, ARRAYS, OTHER_PICTURES, *_ = KINDS
MISNAMED = "image(s) by their content whose names do not end like one, not read: rename them to .png or .jpg"
OTHER = "file(s) of other kinds, not read"
PICTURES = (DICOM, VOLUMES, ARRAYS, OTHER_PICTURES, MISNAMED)
"""Kinds that may be all that a class has."""
STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")
DOCUMENTS = (".md", ".rst", ".pdf", ".html", ".htm", ".docx", ".doc", ".url", ".bib", ".cff", ".rtf", ".log")
ABOUT = ("readme", "license", "licence", "copying", "citation", "changelog", "attribution", "notice", "sha256sums")


def kind(files: Files, name: str) -> str | None:
    """Return in words what a file is that is no image and no table, with the repair; None for a document."""
    base = name.lower().rpartition("/")[2]
    for what, endings in KINDS.items():
        if base.endswith(endings):
            return what
    if base.endswith(DOCUMENTS) or base.startswith(ABOUT):
        return None
    head = files.head(name)
    return DICOM if head[128:132] == b"DICM" else MISNAMED if head.startswith(STARTS) else OTHER


def by_kind(files: Files, *, used: Collection[str] = ()) -> dict[str, list[str]]:
    """Return the files that are neither images nor tables nor documents, nor ``used``, by what they are."""
    found: dict[str, list[str]] = {}
    images = {*files.images(), *used}
    for name in sorted(files.sizes):
        if name not in images and name not in files.opened and not is_table(name):
            what = kind(files, name)
            if what is not None:
                found.setdefault(what, []).append(name)
    return found


def remark_unread(files: Files, problems: Problems, *, used: Collection[str]) -> None:
    """Remark on every file that is no image, no table in ``used`` and no document, by kind."""
    for what, names in by_kind(files, used=used).items():
        problems.remark(what, *names)
    for name in sorted(files.sizes):
        if is_table(name) and name not in used:
            problems.remark("table(s), not used", name)


def remark_unnamed(files: Files, problems: Problems, *, used: Collection[str]) -> None:
    """Remark on the images that no row names; copies of images that a row names are counted apart."""
    sizes = {files.sizes[name] for name in used}
    rest = [name for name in files.images() if name not in used]
    known = {files.digest(name) for name in used if files.sizes[name] in {files.sizes[each] for each in rest}}
    for name in rest:
        copied = files.sizes[name] in sizes and files.digest(name) in known
        what = "second copies of images, not read" if copied else "image(s) that no row names, not read"
        problems.remark(what, name)


def lines(files: Files) -> list[str]:
    """Return a line for each kind of file that is not read, for the error that says what was found."""
    return [counted(what, names) for what, names in by_kind(files).items()]
