"""What a study is: a chapter's parameters, validated, and the runs that they ask for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from transfusion_lib.errors import ParameterError, brief, did_you_mean
from transfusion_lib.runs import Run
from transfusion_lib.spec import DataSpec, RunSpec

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
            return validate(value)
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
                faults.append(f"{where}: {what}")
            raise ParameterError(f"chapter {cls.name}: {'; '.join(faults)}") from None

    @classmethod
    def of(cls, names: Mapping[str, Any]) -> Self:
        """Return the study whose parameters ``names`` holds: in a notebook ``Convergence.of(globals())``."""
        return cls(**{name: names[name] for name in cls.model_fields if name in names})

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

    def data(self) -> list[DataSpec]:
        """Return the data sets that the chapter is about."""
        return list(dict.fromkeys(spec.data for spec in self.specs()))
