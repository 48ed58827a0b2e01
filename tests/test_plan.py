"""The study's plan: what it asks for, that nothing in it overlaps, and how rates are chosen."""

from pathlib import Path

import pytest

from transfusion_lib.errors import SpecError
from transfusion_lib.papers.plan import Arm, Plan, best_rate, read_plan, write_rates
from transfusion_lib.spec import RunSpec

BOOK = Path(__file__).parent.parent / "book"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return read_plan(BOOK)


def test_no_run_of_a_cell_uses_a_pilot_seed_or_split(plan: Plan) -> None:
    pilot = {spec for by_rate in plan.trials().values() for specs in by_rate.values() for spec in specs}
    used = {spec for cell in plan.cells for spec in plan.specs(cell)}
    assert not pilot & used
    assert {spec.seed for spec in pilot} == {spec.data.seed for spec in pilot} == set(plan.pilot.seeds)
    assert not {seed for spec in used for seed in (spec.seed, spec.data.seed)} & set(plan.pilot.seeds)


def test_each_arm_of_a_cell_has_its_number_of_runs(plan: Plan) -> None:
    for cell in plan.cells:
        assert len(set(plan.specs(cell))) == cell.runs * len(plan.arms(cell)), cell.id


def test_every_run_of_an_arm_has_a_split_of_its_own_and_search_cells_share_them(plan: Plan) -> None:
    for cell in plan.cells:
        for specs in plan.arms(cell).values():
            assert len({spec.data.seed for spec in specs}) == cell.runs
    (arms,), (search,) = plan.cell("C.arms"), plan.cell("C.search")
    for what, specs in plan.arms(search).items():
        twins = plan.arms(arms)[what]
        assert [spec.data for spec in specs] == [spec.data for spec in twins]
        assert not {spec.seed for spec in specs} & {spec.seed for spec in twins}


def test_validation_is_large_enough_and_the_test_sets_are_as_planned(plan: Plan) -> None:
    for cell in plan.cells:
        for spec in plan.specs(cell) if cell.recipe == "final" else ():
            assert spec.data.val is not None
            assert spec.data.val >= 700
            assert spec.train.schedule == "cosine"


def test_all_claims_of_the_study_have_a_cell(plan: Plan) -> None:
    named = {claim for cell in plan.cells for claim in cell.claims}
    assert named == {*(f"T{k}" for k in range(1, 16)), *(f"R{k}" for k in range(1, 12)), "N1", "N2", "N3"}


def test_a_change_of_the_plan_changes_its_hash(plan: Plan) -> None:
    first = plan.cells[0]
    others = [
        plan.replace(first_seed=2000),
        plan.replace(cells=(first.replace(runs=first.runs + 1), *plan.cells[1:])),
        plan.replace(rates={}) if plan.rates else plan.replace(edition=3),
    ]
    assert len({plan.hash, *(other.hash for other in others)}) == 4
    assert read_plan(BOOK).hash == plan.hash


def test_the_arm_says_what_is_done_to_the_network(plan: Plan) -> None:
    (cell,) = plan.cell("C.arms")
    runs: dict[str, RunSpec] = {
        name: specs[0] for (task, _, name, _), specs in plan.arms(cell).items() if task == "skin"
    }
    assert runs["FE"].train.freeze == "top"
    slim = runs["TF above block3"]
    assert slim.model.slim is not None
    assert (slim.model.slim.above, slim.init.up_to) == ("block3", "block3")
    cut = runs["TTL after block4, unpooled"].model.truncate
    assert cut is not None
    assert (cut.at, cut.pooled) == ("block4", False)
    assert runs["LWFT above block5"].train.body_lr_scale == 0.1


@pytest.mark.parametrize(
    ("arm", "method"),
    [
        (Arm(), "FTL"),
        (Arm(freeze="top"), "FE"),
        (Arm(freeze="block3", body_lr_scale=0.1), "LWFT"),
        (Arm(slim="block3"), "TF"),
        (Arm(truncate="block3"), "TTL"),
        (Arm(start="random"), "random"),
        (Arm(up_to="conv1"), "pretrained"),
    ],
)
def test_methods_have_the_names_of_the_paper(arm: Arm, method: str) -> None:
    assert arm.method == method


def test_the_rate_is_lowest_relative_to_each_tasks_best() -> None:
    """A task with large losses does not outvote one with small ones; a loss without end never wins."""
    assert best_rate({1e-3: (10.0, 0.10), 3e-3: (9.0, 0.20)}) == 1e-3
    assert best_rate({1e-3: (10.0, 0.20), 3e-3: (9.0, 0.19)}) == 3e-3
    assert best_rate({1e-3: (float("inf"), 0.1), 3e-3: (9.0, 9.0)}) == 3e-3


def test_written_rates_are_read_back_and_kept_beside_new_ones(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_bytes((BOOK / "study.toml").read_bytes())
    write_rates(tmp_path, {}, {("cbr_tiny", "FTL"): {3e-4: (0.5, 0.6), 1e-3: (0.4, 0.5)}})
    write_rates(tmp_path, read_plan(tmp_path).rates, {("resnet50", "random"): {3e-4: (0.5, 0.6), 1e-3: (0.6, 0.7)}})
    found = read_plan(tmp_path)
    assert found.rates["cbr_tiny"]["FTL"].losses == {"0.0003": (0.5, 0.6), "0.001": (0.4, 0.5)}
    (cell,) = found.cell("E.resnet50")
    rates = {name: specs[0].train.learning_rate for (_, _, name, _), specs in found.arms(cell).items()}
    assert rates["random"] == rates["random, 2,400 steps"] == 3e-4
    assert found.untuned(cell) == ["resnet50 FTL"]


def test_a_name_that_does_not_exist_is_a_fault_of_the_plan(plan: Plan) -> None:
    first = plan.cells[0]
    for wrong, message in (
        ({"tasks": ("knee",)}, r"cell B.arms: .*task.*knee.*knees"),
        ({"networks": ("resnet5",)}, r"cell B.arms: .*network.*resnet50"),
        ({"arms": {"x": Arm(source="resnet50 at 501")}}, r"cell B.arms: .*source.*resnet50 at 500"),
    ):
        with pytest.raises(SpecError, match=message):
            plan.replace(cells=(first.replace(**wrong), *plan.cells[1:]))
    with pytest.raises(SpecError, match=r"cell.*Q"):
        plan.cell("Q")
