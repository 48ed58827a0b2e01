"""What a study is: a chapter's parameters, validated, and the runs that they ask for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from transfusion_lib import data, networks, runs
from transfusion_lib.chapters.kit import cells
from transfusion_lib.data.reading.catalogue import choose_task
from transfusion_lib.errors import ParameterError, brief, did_you_mean
from transfusion_lib.markup import table
from transfusion_lib.runs import Run, Todo
from transfusion_lib.spec import DataSpec, ModelSpec, RunSpec

Ensure = Callable[[Sequence[RunSpec]], Sequence[Run]]
"""``runs.ensure`` with its options bound, or anything else that gives runs for specs."""


OnBad = Literal["error", "skip"]
"""A file that cannot be read stops the load, or is left out and listed on the page."""


class Study(BaseModel):
    """Base of all studies: frozen and strict; a wrong value is a ``ParameterError`` that says what would be right."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: ClassVar[str]
    """The chapter's name on the command line."""

    @model_validator(mode="wrap")
    @classmethod
    def _explained(cls, value: Any, validate: ModelWrapValidatorHandler["Study"]) -> "Study":
        try:
            study = validate(value)
        except ValidationError as error:
            faults = []
            for fault in error.errors(include_url=False):
                where = ".".join(str(part) for part in fault["loc"])
                what = f"{fault['msg']}, got {brief(fault['input'])}"
                if fault["type"] == "extra_forbidden":
                    known = list(cls.model_fields)
                    what = f"no such parameter{did_you_mean(where, known)}; known: {', '.join(known)}"
                if fault["type"] == "missing":
                    what = "is missing"
                if isinstance(fault["input"], str) and fault["input"].lstrip()[:1] in ("[", "{"):
                    what += f" as text; papermill reads it with -y '{where}: {fault['input']}', not with -p"
                faults.append(f"{where}: {what}")
            raise ParameterError(f"chapter {cls.name}: {'; '.join(faults)}") from None
        for name, listed in study:
            names = [item for item in listed if not isinstance(item, dict)] if isinstance(listed, list) else []
            twice = [item for item in names if names.count(item) > 1]
            if twice:
                raise ParameterError(f"chapter {cls.name}: {name} names {twice[0]!r} twice")
        return study

    @classmethod
    def of(cls, names: Mapping[str, Any]) -> Self:
        """Return the study whose parameters ``names`` holds: in a notebook ``Convergence.of(globals())``.

        A ``ParameterError`` names a parameter that is misspelt or set no more, and what does not exist: a network, a
        data set, a cut point.
        """
        if fault := cells.fault(names, list(cls.model_fields)):
            raise ParameterError(f"chapter {cls.name}: {fault}")
        study = cls(**{name: names[name] for name in cls.model_fields if name in names})
        study._names_exist()
        return study

    def _names_exist(self) -> None:
        """Raise the error that training would meet first: of a data set, a network or a cut point that is none."""
        for images in self.data():
            if images.root is None:  # the tasks of anyone's own table are its columns
                choose_task(images, data.TABLE[images.name].info.tasks)
        cuts: dict[tuple[str, int], set[str]] = {}
        specs = self.specs()
        if not specs and "seeds" in type(self).model_fields:
            raise ParameterError(
                f"chapter {self.name}: nothing to run, since no network has pretrained weights for a start that was "
                "asked for; transfusion models shows which have some"
            )
        for spec in specs:
            model, found = spec.model, cuts.setdefault((spec.model.name, spec.data.size), set())
            slim = model.slim.above if model.slim else None
            cut = model.truncate.at if model.truncate else None
            found.update(end for end in (slim, cut, spec.init.up_to, spec.train.freeze) if end is not None)
        for (name, size), ends in cuts.items():
            if ends or size < networks.architecture(name).minimum_size:
                network = networks.blueprint(ModelSpec(name=name), num_outputs=1, size=size)
                for end in ends:
                    network.position(end)

    def _repr_html_(self) -> str:
        """Show in a notebook every parameter and how many runs they ask for."""
        return f"<b>{type(self).__name__}</b>, {len(self.specs())} runs{table(self.model_dump())}"

    def specs(self) -> list[RunSpec]:
        """Return every run that the chapter reads."""
        raise NotImplementedError

    def then(self, runs: Sequence[Run]) -> list[RunSpec]:
        """Return the runs that only the results of ``runs`` ask for, the second stage of a search: mostly none."""
        return []

    def ensure(self, ensure: Ensure) -> list[Run]:
        """Return every run of the chapter; ``ensure`` is asked again for as long as results ask for more."""
        found = list(ensure(self.specs()))
        while more := self.then(found):
            found += ensure(more)
        return found

    def todo(self) -> list[Todo]:
        """Return how every run stands, as far as runs are known without results that are still missing."""
        plan = runs.todo(self.specs())
        while all(one.state == "done" for one in plan):
            more = self.then([runs.load(one.spec) for one in plan])
            if not more:
                break
            plan += runs.todo(more)
        return plan

    def data(self) -> list[DataSpec]:
        """Return the data sets that the chapter is about."""
        return list(dict.fromkeys(spec.data for spec in self.specs()))
