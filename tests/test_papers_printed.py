"""Every rule tried on the paper's own printed numbers: it says what the paper says, where the numbers allow."""

import pytest

from transfusion_lib import papers
from transfusion_lib.papers import CLAIMS, judge, printed
from transfusion_lib.papers.numbers import chexpert, small_retina


@pytest.mark.parametrize(
    ("claim", "parts"),
    [
        ("T1", {"no change with large data": 6}),
        ("T2", {"difference": 4}),
        ("T3", {"slope": 1}),
        ("T4", {"interaction": 2}),
        ("T8", {"conv1 of the large": 2, "the rest": 6}),
        ("T11", {"speed": 2}),
        ("T13", {"lowest": 1, "conv1": 4}),
        ("T14", {"speed": 1}),
        ("T15", {"speed": 1}),
        ("R2", {"smaller": 3, "faster": 3}),
    ],
)
def test_the_paper_s_own_numbers_support_its_claim(claim: str, parts: dict[str, int]) -> None:
    """Every printed case counts, and the sentence names what the paper does not print."""
    found = judge(claim, printed(claim))
    assert found.outcome == "supported", found.sentence
    counted = {name: sum(one.part == name for one in found.findings) for name in parts}
    assert counted == parts
    assert {one.state for one in found.findings} == {"inside"}
    left = [name for name in CLAIMS[claim].asked if name not in parts]
    assert all(name in found.sentence for name in left)


def test_table_1_gives_the_numbers_that_it_prints() -> None:
    """T1 rests on differences of 0 to 0.3 points; T3 on a slope of 0.004, far from the rank correlation of 0.93."""
    t1 = judge("T1", printed("T1"))
    assert max(one.estimate for one in t1.findings) == pytest.approx(0.003)
    t3 = judge("T3", printed("T3"))
    assert t3.findings[0].estimate == pytest.approx(0.004, abs=0.0005)
    assert t3.findings[0].high < 0.01


def test_figure_7_gives_conv1_the_greatest_margin() -> None:
    """conv1 saves 38,038 steps, block1 15,816 more: the nearest of four comparisons, 22,222 apart."""
    found = judge("T13", printed("T13"))
    assert min(one.estimate for one in found.findings if one.part == "conv1") == 38_038 - 15_816
    assert "+22,222 steps" in found.sentence
    assert "no deviations" in found.sentence


def test_table_2_is_too_noisy_for_either_verdict() -> None:
    """Five pathologies of CheXpert, three repetitions with deviations of a point: undecided, never contradicted."""
    found = judge("T1", chexpert())
    assert found.outcome == "undecided"
    assert len(found.findings) == 25
    assert not any(one.state == "outside" for one in found.findings)


def test_table_3_shrinks_and_exceeds_our_margin_for_resnet_alone() -> None:
    """With 5,000 images transfer adds 2.4 points to ResNet-50, as section 3.3 says: outside 0.02; the CBRs inside."""
    found = judge("T1", small_retina())
    assert {one.part: one.outcome for one in found.parts} == {
        "no change": "partly",
        "shrinks with images": "supported",
        "no change with large data": "not tested here",
    }
    outside = [one for one in found.findings if one.state == "outside"]
    assert [(one.part, one.case) for one in outside] == [("no change", "ResNet-50 on RETINA")]


@pytest.mark.parametrize("claim", ["R1", "R3"])
def test_accuracies_that_are_pictures_support_nothing(claim: str) -> None:
    """TruncatedTL's AUROCs are pictures in the text that we have, so no rule reads them and no verdict is given."""
    assert printed(claim) is None
    assert judge(claim, None).outcome == "not tested here"
    assert "pictures" in CLAIMS[claim].printed


def test_a_reversed_table_is_never_supported() -> None:
    """The rules can fail: the same tables with arms exchanged contradict the superiority claims."""
    own = printed("T13")
    assert own is not None
    case = own.parts["conv1"][0]
    assert isinstance(case.measure, papers.Counts)
    steps = case.measure.values
    exchanged = {"conv1": steps["random"] - 1000, "block1": steps["conv1"]}
    worse = papers.Case(network="ResNet-50", measure=papers.Counts(values={**steps, **exchanged}))
    found = judge("T13", papers.Evidence(parts={"gain": [worse], "lowest": [worse], "conv1": [worse]}, printed=True))
    assert found.outcome == "partly"
    assert next(one for one in found.parts if one.part == "conv1").outcome == "partly"
    swapped = {"random": steps["pretrained"], "pretrained": steps["random"]}
    slower = papers.Case(network="ResNet-50", measure=papers.Counts(values=swapped))
    assert judge("T11", papers.Evidence(parts={"speed": [slower]}, printed=True)).outcome == "contradicted"
