"""Which folder says what: splits, folds, classes, patients, masks, in the orders in which people nest them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from transfusion_lib.data.reading import unread
from transfusion_lib.data.reading.archive import Files, normal
from transfusion_lib.data.reading.catalogue import Problems, SplitName
from transfusion_lib.errors import DataError, printable

SPLITS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "holdout": "test",
}
AROUND = re.compile(r"[ _\-.]*(?:set|data|dataset|images?|imgs?|split|folder|files?)$")
"""What may follow a split's name: training_set, test data, trainset."""
FOLD = re.compile(r"(?:cv|k?fold|part|batch|subset|chunk|shard)[ _\-]?\d+")
IMAGES = re.compile(r"(?:raw |original )?(?:images?|imgs?|photos?|pictures?|scans?|slices?|originals?|raw)")
MASKS = re.compile(r"(?:\w+[ _])?(?:masks?|segmentations?|annotations?|labels?|ground[ _]?truths?|gt|contours?)")
MASK_NAME = re.compile(
    r"(?P<stem>.+?)[ _\-.]+(?:mask|masks|seg|segmentation|gt|groundtruth)(?:[ _\-]*\d+)?", re.IGNORECASE
)
VIEWS = re.compile(
    r"images?|imgs?|photos?|pictures?|raw|originals?|left|right|[lr]|cc|mlo|ap|pa|lateral|frontal|\d+x|x\d+|jpe?g|png"
    r"|od|os|axial|coronal|sagittal|t1|t2|flair|flash"
)
"""Folders that hold kinds of pictures, not patients or classes."""
CLASS = re.compile(
    r"benign|malignant|normal|abnormal|healthy|positive|negative|pos|neg|yes|no|0|1|true|false|tumou?r|cancer|pneumonia"
    r"|cases?|controls?|infected|uninfected|covid|disease|diseased"
)
COPIES = re.compile(r"augment|copy|copies|backup|duplicate|original|resized|preprocessed|cropped|(^|\W)old(\W|$)")
ABOVE, BELOW = "folder above the class", "folder below the class"
FEWEST = 5  # names of folders that may be patients where several levels could be


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An image in a class folder."""

    file: str
    path: str
    """From the split or class folder on."""
    split: SplitName | None
    label: str
    """The class folder."""
    family: str | None = None
    """The folder of its patient."""
    unit: str | None = None
    """The same, with the class in front where the folder lies below it."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the images lie."""

    images: tuple[Placed, ...]
    aside: frozenset[str]
    """Images that are known to be none: masks, second copies."""
    unit: str
    """What a unit is, in words."""
    depth: int
    """Folders in front of the class folders."""


Folders = tuple[str, ...]


def split_of(name: str) -> SplitName | None:
    """Return the split that a folder's name says: train, Training_set, test data; None for any other."""
    plain = normal(name).lower().removesuffix(".zip")
    return SPLITS.get(plain) or SPLITS.get(AROUND.sub("", plain))


def place(files: Files, problems: Problems) -> Layout:
    """Return the images in class folders; a folder that is read under another name or split is remarked on.

    Raises ``DataError`` for folders that cannot be told from classes.
    """
    paths = {name: tuple(normal(part) for part in name.split("/")) for name in files.images()}
    aside = {name for rule in (_second_zips, _masks) for name in rule(files, paths, problems)}
    folders = {name: parts[:-1] for name, parts in paths.items() if name not in aside}
    top, splits = _splits(folders.values(), problems)
    inner = {name: each[len(top) :] for name, each in folders.items() if each[: len(top)] == top}
    parted: dict[str, SplitName | None] = {}
    classed: dict[str, Folders] = {}
    for name, each in inner.items():
        split = split_of(each[splits]) if splits is not None and len(each) > splits else None
        if splits is None:
            rest = each
        elif split is None:
            continue
        elif splits == 0:
            rest = each[1:]
        else:  # the splits lie below the classes
            rest = (each[splits - 1], *each[splits + 1 :])
        if rest:
            parted[name], classed[name] = split, rest
    classed, folds = _without_folds(classed, problems)
    copies = _copies(files, classed, problems)
    aside |= copies
    classed = {name: each for name, each in classed.items() if name not in copies}
    level = _class_level(list(classed.values()), problems)
    families, told = _families(classed, level, problems)
    above = told == ABOVE
    images = [
        Placed(
            file=name,
            path="/".join(paths[name][len(top) :]),
            split=parted[name],
            label=(label := each[level].removesuffix(".zip")),
            family=(family := families.get(name)),
            unit=f"{label}/{family}" if family and not above else family,
        )
        for name, each in classed.items()
        if len(each) > level
    ]
    depth = len(top) + (0 if splits is None else splits + 1 if splits == 0 else splits - 1) + folds + level
    return Layout(images=tuple(images), aside=frozenset(aside), unit=told, depth=depth)


def unread_classes(files: Files, placed: Layout) -> dict[str, tuple[str, list[str]]]:
    """Return the folders at the place of classes with pictures that are not read, by name: what they are, and names."""
    found: dict[str, tuple[str, list[str]]] = {}
    for what, names in unread.by_kind(files).items():
        if what in unread.PICTURES:
            for name in names:
                parts = [normal(part) for part in name.split("/")]
                if len(parts) > placed.depth + 1:
                    found.setdefault(parts[placed.depth], (what, []))[1].append(name)
    return found


def _second_zips(files: Files, paths: Mapping[str, Folders], problems: Problems) -> set[str]:
    """Return the images in zips that lie beside class folders; one that no folder holds too is a problem."""
    zipped = {name for name in paths if name.split("/")[0] in files.opened}
    loose = [name for name in paths if name not in zipped]
    if not zipped or len({paths[name][:-1] for name in loose if len(paths[name]) > 1}) < 2:
        return set()
    sizes = {files.sizes[name] for name in zipped}
    known = {files.digest(name) for name in loose if files.sizes[name] in sizes}
    for archive in sorted({name.split("/")[0] for name in zipped}):
        members = [name for name in zipped if name.startswith(f"{archive}/")]
        new = [name for name in members if files.digest(name) not in known]
        if new:
            problems.add(
                f"{files.location(archive)}: {len(new):,} of its {len(members):,} images are in no folder beside it; "
                "unpack it there, or move it away"
            )
        else:
            problems.remark(f"{archive} holds {len(members):,} images that lie beside it too: they are read once")
    return zipped


def _masks(files: Files, paths: Mapping[str, Folders], problems: Problems) -> set[str]:
    """Return the images that are masks: NAME_mask beside NAME, or in a folder of masks beside one of images."""
    stems = {(parts[:-1], parts[-1].rpartition(".")[0].lower()) for parts in paths.values()}
    folders = {parts[:depth] for parts in paths.values() for depth in range(1, len(parts))}
    pictured = {each[:-1] for each in folders if IMAGES.fullmatch(each[-1].lower())}
    found = set()
    for name, parts in paths.items():
        named = MASK_NAME.fullmatch(parts[-1].rpartition(".")[0])
        beside = named is not None and (parts[:-1], named["stem"].lower()) in stems
        within = any(MASKS.fullmatch(parts[d].lower()) and parts[:d] in pictured for d in range(len(parts) - 1))
        if beside or within:
            found.add(name)
            problems.remark("mask(s) beside the images, not read", name)
    return found


def _splits(folders: Iterable[Folders], problems: Problems) -> tuple[Folders, int | None]:
    """Return the folder around everything, and how far below it the split folders lie; None without any."""
    every = list(folders)
    tops = {
        each[:depth]
        for each in every
        for depth, part in enumerate(each)
        if split_of(part) == "train" and depth < len(each) - 1
    }
    first = {each for each in tops if len(each) == min(map(len, tops))}
    if len(first) == 1:
        return first.pop(), 0
    top: Folders = ()
    while len({each[: len(top) + 1] for each in every}) == 1 and all(len(each) > len(top) + 1 for each in every):
        top = next(iter(every))[: len(top) + 1]  # folders around everything: a zip of one, images/ below a title
    depth = len(top) + 1
    below = [each for each in every if len(each) > depth]
    if below and len(below) == len(every) and all(split_of(each[depth]) for each in below):
        within = {each[depth + 1] for each in below if len(each) > depth + 1}
        outer = sorted({each[depth - 1] for each in below})
        if len(outer) > 1 and any(split_of(each[depth]) == "train" for each in below):
            recurring = [name for name in within if len({e[depth - 1] for e in below if name in e[depth + 1 :]}) > 1]
            if len(within) > 1 and len(recurring) == len(within):
                raise DataError(
                    f"folders {_some(outer)} each hold folders train and test with the same classes ({_some(within)}); "
                    "give one of them, or put train/<class> and test/<class> on top"
                )
            return top, 1
    return top, None


def _without_folds(classed: dict[str, Folders], problems: Problems) -> tuple[dict[str, Folders], int]:
    """Return the folders without a level of folds above the classes, which are read together; and 1 if there was."""
    names = {each[0] for each in classed.values()}
    folds = len(names) > 1 and all(FOLD.fullmatch(name.lower()) for name in names)
    if folds and all(len(each) > 1 for each in classed.values()):
        problems.remark(f"folders {_some(names)} are read together: splits are drawn here")
        return {name: each[1:] for name, each in classed.items()}, 1
    return classed, 0


def _copies(files: Files, classed: Mapping[str, Folders], problems: Problems) -> set[str]:
    """Return the images in a folder beside the classes that holds folders called like them; remarked on if copies.

    Raises ``DataError`` where they are no copies by content or by the folder's name.
    """
    names = {each[0].casefold() for each in classed.values()}
    inside: dict[str, set[str]] = defaultdict(set)
    for each in classed.values():
        inside[each[0]].add(each[1].casefold() if len(each) > 1 else "")
    found = set()
    for outer, below in inside.items():
        if "" in below or len(below) < 2 or not below <= names - {outer.casefold()}:
            continue
        members = [name for name, each in classed.items() if each[0] == outer]
        others = {files.digest(name) for name, each in classed.items() if each[0] != outer}
        copied = sum(files.digest(name) in others for name in members)
        if copied < len(members) and not COPIES.search(outer.lower()):
            raise DataError(
                f"{files.location(outer)}: holds folders called like the classes beside it ({_some(below)}); "
                "move it away, or its images into them"
            )
        problems.remark(
            f'folder "{printable(outer)}" is no class: it holds folders called like the classes beside it; '
            f"its {len(members):,} images, {copied:,} of them copies, are not read"
        )
        found.update(members)
    return found


def _class_level(folders: Sequence[Folders], problems: Problems) -> int:
    """Return at which level the classes lie: the first, unless names recur below folders of patients or places."""
    for level in (1, 2):
        if not folders or min(map(len, folders)) <= level:
            break
        above: dict[str, set[Folders]] = defaultdict(set)
        for each in folders:
            above[each[level]].add(each[:level])
        if len(above) < 2 or any(len(each) == 1 for each in above.values()):
            continue
        if all(VIEWS.fullmatch(name.lower()) for name in above):
            continue
        outer = {each[level - 1] for each in folders}
        if len(outer) < 2:
            continue
        known = all(CLASS.fullmatch(name.lower()) for name in above)
        if known or (_numbered(outer) and len(above) < len(outer)):
            problems.remark(
                f"the classes are the folders {_some(above)}, which recur below {len(outer):,} folders ({_some(outer)})"
            )
            return level
        if not _numbered(above):
            problems.remark(
                f"folders {_some(above)} lie below every class and are read as part of it; "
                "if they are the classes, move them to the top"
            )
    return 0


def _families(classed: Mapping[str, Folders], level: int, problems: Problems) -> tuple[dict[str, str], str]:
    """Return the patient's folder of each image, if folders above or below the classes are patients; and in words."""
    if level and _numbered({each[level - 1] for each in classed.values()}):
        return {name: each[level - 1] for name, each in classed.items()}, ABOVE
    names: dict[int, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for each in classed.values():
        for depth, part in enumerate(each[level + 1 :], start=level + 1):
            names[depth][each[level]].add(part)
    several: dict[int, set[str]] = {
        depth: set().union(*of.values()) for depth, of in names.items() if any(len(n) > 1 for n in of.values())
    }
    several = {depth: each for depth, each in several.items() if not all(VIEWS.fullmatch(n.lower()) for n in each)}
    patients = {depth: each for depth, each in several.items() if _numbered(each) or len(each) >= 2 * FEWEST}
    for depth, below in several.items():
        if depth not in patients:
            problems.remark(f"folders {_some(below)} below the classes are read as part of them, not as patients")
    if not patients:
        return {}, "image"
    many = [depth for depth, below in sorted(patients.items()) if len(below) >= FEWEST]
    chosen = many[0] if many else max(patients, key=lambda depth: (len(several[depth]), -depth))
    if len(patients) > 1:
        problems.remark(f"folders {_some(patients[chosen])} below the classes are taken for patients")
    of = names[chosen]
    found = {name: each[chosen] for name, each in classed.items() if len(each) > chosen and len(of[each[level]]) > 1}
    return found, BELOW


def _numbered(names: Iterable[str]) -> bool:
    """Tell whether most names hold a number, as those of patients do."""
    every = list(names)
    return sum(any(c.isdigit() for c in name) for name in every) >= 0.8 * len(every)


def _some(names: Iterable[str]) -> str:
    """Return up to three names, sorted."""
    every = sorted(map(printable, names))
    return ", ".join(every[:3]) + (" ..." if len(every) > 3 else "")
