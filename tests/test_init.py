"""Each way to fill a network: what comes from the source, what does not, and that nothing else does."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.networks import NETWORKS, images, network, seeded, size, source, step
from transfusion_lib import networks
from transfusion_lib.errors import SpecError, WeightsError
from transfusion_lib.networks import Network, State, init
from transfusion_lib.networks.stages import BatchNorm
from transfusion_lib.spec import DataSpec, Gabor, InitSpec, ModelSpec, RunSpec, Slim, TrainSpec, Truncate

PRETRAINED = InitSpec(method="pretrained", weights="imagenet")


def made(model: ModelSpec | str, spec: InitSpec, *, state: State | None = None, num_outputs: int = 3) -> Network:
    model = ModelSpec(name=model) if isinstance(model, str) else model
    state = source(model.name) if state is None and spec.weights is not None else state
    return init.network_for(
        model, spec, num_outputs=num_outputs, size=size(model.name), source=state, generator=seeded()
    )


def run_of(model: ModelSpec) -> RunSpec:
    """Return the spec of some finished run of ``model``, to name as a source."""
    return RunSpec(data=DataSpec(name="any"), model=model, train=TrainSpec(steps=1, eval_every=1))


def norm_names(of: Network) -> set[str]:
    return {f"{path}.{k}" for path, m in of.named_modules() if isinstance(m, BatchNorm) for k in m.state_dict()}


def drawn(of: Network, state: State) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the name, the new and the source's values of every sampled tensor: no batch norm, no head."""
    norms = norm_names(of)
    for name, value in of.state_dict().items():
        if name.startswith("body.") and name not in norms:
            yield name, value.flatten(), state[name].flatten()


# --- transfusion --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_transfusion_equals_the_source_below_and_the_random_network_above(name: str) -> None:
    start, target = network(name), network(name)
    random = {key: value.clone() for key, value in start.state_dict().items()}
    names = target.names()
    for cut in (*target.stages, *target.cut_points):
        target.load_state_dict(random)
        spec = PRETRAINED.replace(up_to=cut)
        init.initialise(target, spec, source=source(name), generator=seeded(9))
        state = target.state_dict()
        for number, part in enumerate((*target.cut_points, "head"), start=1):
            expected = source(name) if number <= target.position(cut) else random
            for key in names[part]:
                assert torch.equal(state[key], expected[key]), f"{key} at {cut}"


@pytest.mark.parametrize("name", NETWORKS)
def test_transfusion_of_nothing_is_random_and_of_all_is_pretrained(name: str) -> None:
    random, pretrained, built = made(name, InitSpec()), made(name, PRETRAINED), network(name)
    whole = made(name, PRETRAINED.replace(up_to=built.stages[-1]))
    made_random, made_pretrained, made_whole = (each.state_dict() for each in (random, pretrained, whole))
    for key, value in built.state_dict().items():
        assert torch.equal(made_random[key], value)
        assert torch.equal(made_pretrained[key], value if key.startswith("head.") else source(name)[key])
        assert torch.equal(made_pretrained[key], made_whole[key])
        assert not torch.equal(value, source(name)[key])  # so that "equal" above means something


def test_what_comes_after_the_cut_is_the_same_for_every_cut() -> None:
    """Two networks that differ in ``up_to`` alone share the random weights that both have."""
    low, high = (
        made("resnet18", PRETRAINED.replace(up_to="conv1")),
        made("resnet18", PRETRAINED.replace(up_to="block2")),
    )
    for key in low.names()["block4.1"] + low.names()["head"]:
        assert torch.equal(low.state_dict()[key], high.state_dict()[key])


# --- statistics without features ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_mean_var_keeps_mean_and_deviation(name: str) -> None:
    """Within five standard errors of each tensor's own sampling."""
    new = made(name, InitSpec(method="mean_var", weights="imagenet"))
    for key, value, was in drawn(new, source(name)):
        deviation = was.std(correction=0).item()
        assert abs(value.mean() - was.mean()) <= 5 * deviation / math.sqrt(len(was)) + 1e-7, key
        if len(was) > 30:
            assert value.std().item() == pytest.approx(deviation, rel=5 / math.sqrt(2 * len(was))), key


@pytest.mark.parametrize("method", ["mean_var", "bootstrap", "permutation"])
@pytest.mark.parametrize("name", NETWORKS)
def test_sampled_weights_keep_no_order(name: str, method: str) -> None:
    """A permutation test on the correlation with the source cannot tell the order from chance; it can for a copy."""
    spec = InitSpec.model_validate({"method": method, "weights": "imagenet"})
    generator = seeded(3)
    tensors = [(value, was) for _, value, was in drawn(made(name, spec), source(name)) if was.unique().numel() > 1]
    found = torch.tensor([permutation_p(value, was, generator) for value, was in tensors])
    assert permutation_p(tensors[-1][1].clone(), tensors[-1][1], generator) == 1 / 100
    assert len(found) >= 4
    uniform = (found.sort().values - torch.linspace(0, 1, len(found))).abs().max()
    assert uniform < 1.95 / math.sqrt(len(found))  # Kolmogorov-Smirnov, one per thousand


def permutation_p(value: Tensor, was: Tensor, generator: torch.Generator, *, rounds: int = 99) -> float:
    value, was = value[:2000] - value[:2000].mean(), was[:2000] - was[:2000].mean()
    observed = (value @ was).abs()
    shuffled = torch.stack([value[torch.randperm(len(value), generator=generator)] @ was for _ in range(rounds)])
    return (1 + int((shuffled.abs() >= observed).sum())) / (rounds + 1)


def test_covariance_keeps_how_neighbours_in_a_filter_vary_together() -> None:
    """Smooth filters stay smooth: mean and covariance over space within sampling error, which Mean Var loses."""
    steps = torch.randn(256, 64, 5, 5, generator=seeded()).cumsum(2).cumsum(3) + 2.0
    drawn = init.covariance(steps, seeded(1))
    before, after, iid = (
        torch.cov(each.flatten(2).flatten(0, 1).T) for each in (steps, drawn, init.mean_var(steps, seeded(1)))
    )
    assert drawn.shape == steps.shape
    assert float((after - before).norm() / before.norm()) < 0.05
    assert float((iid - before).norm() / before.norm()) > 0.5
    torch.testing.assert_close(drawn.mean((0, 1)), steps.mean((0, 1)), rtol=0, atol=0.15)
    assert not torch.equal(drawn, init.covariance(steps, seeded(2)))


def test_covariance_of_single_numbers_is_mean_var_and_equal_filters_stay_equal() -> None:
    for single in (torch.randn(8, 4, 1, 1, generator=seeded()), torch.randn(8, 4, generator=seeded())):
        assert torch.equal(init.covariance(single, seeded(1)), init.mean_var(single, seeded(1)))
    same = torch.randn(3, 3, generator=seeded()).expand(6, 2, 3, 3)
    torch.testing.assert_close(init.covariance(same, seeded(1)), same, rtol=0, atol=1e-5)


def test_mean_var_is_normal_whatever_the_source_was() -> None:
    coins = torch.where(torch.rand(20_000, generator=seeded()) < 0.5, -1.0, 3.0)
    values = init.mean_var(coins, seeded(1))
    z = ((values - 1) / 2).sort().values
    gap = (torch.special.ndtr(z) - torch.linspace(0, 1, len(z))).abs().max()
    assert gap < 1.63 / math.sqrt(len(z))


def test_bootstrap_takes_only_the_sources_values_and_permutation_takes_each_once() -> None:
    was = torch.arange(600.0).reshape(10, 5, 3, 4)
    again = init.bootstrap(was, seeded())
    assert again.shape == was.shape
    assert set(again.flatten().tolist()) < set(was.flatten().tolist())
    assert 350 < len(set(again.flatten().tolist())) < 410  # 600 (1 - 1/e) = 379
    shuffled = init.permutation(was, seeded())
    assert torch.equal(shuffled.flatten().sort().values, was.flatten())
    assert (shuffled == was).sum() < 10


@pytest.mark.parametrize("method", ["mean_var", "bootstrap", "permutation"])
def test_batch_norm_is_treated_as_the_spec_says(method: str) -> None:
    name = "cbr_tiny"
    for treatment in ("reset", "keep", "sample"):
        new = made(name, InitSpec.model_validate({"method": method, "weights": "imagenet", "batch_norm": treatment}))
        state, was, fresh = new.state_dict(), source(name), network(name).state_dict()
        for key in norm_names(new):
            sampled = treatment == "sample" and key.endswith((".weight", ".bias"))
            assert torch.equal(state[key], was[key]) == (treatment == "keep"), key
            assert torch.equal(state[key], fresh[key]) == (treatment != "keep" and not sampled), key
            if key.endswith("running_var"):
                assert (state[key] > 0).all()
        assert new.eval()(images(name)).isfinite().all()


def test_a_constant_tensor_stays_constant() -> None:
    assert torch.equal(init.mean_var(torch.full((3, 2), 2.0), seeded()), torch.full((3, 2), 2.0))


def test_weight_statistics_transfer_copies_below_and_samples_above() -> None:
    """WT-ST-n of Matsoukas et al.: weights up to block n, statistics above."""
    new = made("resnet18", PRETRAINED.replace(up_to="block2", above="mean_var"))
    state, was, fresh = new.state_dict(), source("resnet18"), network("resnet18").state_dict()
    assert torch.equal(state["body.block2.2.conv2.weight"], was["body.block2.2.conv2.weight"])
    above = "body.block4.1.conv2.weight"
    assert not torch.equal(state[above], was[above])
    assert not torch.equal(state[above], fresh[above])
    assert torch.equal(state["head.linear.weight"], fresh["head.linear.weight"])


# --- Gabor --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_gabor_replaces_the_first_convolution_and_nothing_else(name: str, in_channels: int) -> None:
    model = ModelSpec.model_validate({"name": name, "in_channels": in_channels})
    new, random = made(model, InitSpec(gabor=Gabor())), network(model)
    changed = [k for k, value in new.state_dict().items() if not torch.equal(value, random.state_dict()[k])]
    assert len(changed) == 1
    filters = networks.first_convolution(new).weight
    assert filters is dict(new.named_parameters())[changed[0]]
    assert filters.shape == networks.first_convolution(random).weight.shape
    torch.testing.assert_close(filters.mean((2, 3)), torch.zeros(filters.shape[:2]), atol=1e-6, rtol=0)
    norms = filters.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, math.sqrt(2 * in_channels / len(filters))))
    assert torch.equal(filters[:, 0], filters[:, -1])


def test_gabor_filters_answer_to_their_own_orientation_and_wavelength() -> None:
    spec = Gabor(orientations=4, wavelengths=(5.0,), phases=2, bandwidth=1.0, aspect=0.5)
    filters = init.gabor_filters(spec, (8, 1, 15, 15), generator=seeded())[:, 0]
    y, x = torch.meshgrid(torch.arange(15.0) - 7, torch.arange(15.0) - 7, indexing="ij")
    best = []
    for filter_ in filters:
        energy = {}
        for number in range(16):
            for wavelength in (2.5, 5.0, 10.0):
                theta = math.pi * number / 16
                phase = 2 * math.pi * (x * math.cos(theta) + y * math.sin(theta)) / wavelength
                energy[number, wavelength] = (
                    (filter_ * phase.cos()).sum() ** 2 + (filter_ * phase.sin()).sum() ** 2
                ).item()
        best.append(max(energy, key=lambda key: energy[key]))
    assert sorted(best) == [(number, 5.0) for number in (0, 0, 4, 4, 8, 8, 12, 12)]  # each in two phases


def test_gabor_banks_are_used_evenly_and_the_choice_is_drawn() -> None:
    spec = Gabor()
    many = init.gabor_filters(spec, (96, 3, 7, 7), generator=seeded())[:, 0].flatten(1)
    _, counts = torch.unique((many * 1e4).round(), dim=0, return_counts=True)
    assert counts.tolist() == [2] * 48
    one, other = (init.gabor_filters(spec, (32, 1, 7, 7), generator=seeded(n)) for n in (0, 1))
    assert not torch.equal(one, other)


def test_gabor_for_volumes_is_refused() -> None:
    with pytest.raises(SpecError, match="Gabor filters are for images"):
        init.gabor_filters(Gabor(), (8, 1, 3, 3, 3), generator=seeded())


# --- with surgery -------------------------------------------------------------------------------------------------


def test_slim_and_transfusion_in_one_spec() -> None:
    """Transfusion, section 5: pretrained up to block2, the rest at half width and random."""
    model = ModelSpec(name="resnet18", slim=Slim(above="block2"))
    new = made(model, PRETRAINED.replace(up_to="block2"))
    fresh = network(model).state_dict()
    for part, keys in new.names().items():
        below = part != "head" and new.position(part) <= new.position("block2")
        for key in keys:
            assert torch.equal(new.state_dict()[key], source("resnet18")[key] if below else fresh[key]), key
    step(new, images(model))


@pytest.mark.parametrize("method", ["pretrained", "mean_var", "bootstrap", "permutation"])
def test_above_a_slim_cut_every_method_leaves_random_weights(method: str) -> None:
    model = ModelSpec(name="efficientnet_lite0", slim=Slim(above="block3.1"))
    new = made(model, InitSpec.model_validate({"method": method, "weights": "imagenet"}))
    state, fresh = new.state_dict(), network(model).state_dict()
    for part, keys in new.names().items():
        if part == "head" or new.position(part) > new.position("block3.1"):
            assert all(torch.equal(state[key], fresh[key]) for key in keys), part
    assert not torch.equal(state["body.block3.1.conv_pw.weight"], fresh["body.block3.1.conv_pw.weight"])


def test_asking_for_more_than_a_slim_network_can_take_is_an_error() -> None:
    model = ModelSpec(name="resnet18", slim=Slim(above="block2"))
    with pytest.raises(SpecError, match=r'up_to "block3" lies above "block2\.2"'):
        made(model, PRETRAINED.replace(up_to="block3"))


def test_a_run_of_the_same_slim_network_is_a_whole_source() -> None:
    model = ModelSpec(name="cbr_tiny", slim=Slim(above="pool2"))
    state = network(model, seed=5).state_dict()
    new = made(model, InitSpec(method="pretrained", weights=run_of(model)), state=state)
    assert all(torch.equal(value, state[k]) for k, value in new.state_dict().items() if k.startswith("body."))
    other = ModelSpec(name="cbr_tiny", slim=Slim(above="pool2", factor=4))
    new = made(other, InitSpec(method="pretrained", weights=run_of(model)), state=state)
    assert torch.equal(new.state_dict()["body.pool2.1.conv.weight"], state["body.pool2.1.conv.weight"])
    assert torch.equal(
        new.state_dict()["body.pool3.1.conv.weight"], network(other).state_dict()["body.pool3.1.conv.weight"]
    )


def test_a_truncated_network_takes_what_it_has() -> None:
    model = ModelSpec(name="resnet18", truncate=Truncate(at="block2.1", pooled=False))
    new = made(model, PRETRAINED)
    assert all(torch.equal(v, source("resnet18")[k]) for k, v in new.state_dict().items() if k.startswith("body."))


def test_a_truncated_source_needs_a_lower_cut() -> None:
    short = ModelSpec(name="cbr_tiny", truncate=Truncate(at="pool3"))
    state = network(short, seed=5).state_dict()
    whole = InitSpec(method="pretrained", weights=run_of(short))
    with pytest.raises(WeightsError, match=r'no "body\.pool4\.1\.conv\.weight"; name as up_to the last stage'):
        made("cbr_tiny", whole, state=state)
    new = made("cbr_tiny", whole.replace(up_to="pool3"), state=state)
    assert torch.equal(new.state_dict()["body.pool3.1.bn.weight"], state["body.pool3.1.bn.weight"])


# --- what does not fit --------------------------------------------------------------------------------------------


def test_a_tensor_that_does_not_fit_is_named() -> None:
    with pytest.raises(
        WeightsError, match=r'"body\.pool1\.1\.conv\.weight" is \(32, 3, 7, 7\) in the source and \(32, 3, 5, 5\)'
    ):
        made("cbr_tiny", PRETRAINED, state=source("cbr_small"))


def test_a_source_that_was_not_given_is_an_error() -> None:
    with pytest.raises(WeightsError, match="not given"):
        made("cbr_tiny", PRETRAINED, state={})


def test_a_head_is_kept_whole_or_not_at_all() -> None:
    keep = PRETRAINED.replace(keep_head=True)
    new = made("cbr_tiny", keep)
    assert torch.equal(new.head.linear.bias, source("cbr_tiny")["head.linear.bias"])
    assert torch.equal(new.head.linear.weight, source("cbr_tiny")["head.linear.weight"])
    with pytest.raises(
        WeightsError, match=r'"head\.linear\.weight" is \(3, 256\).* and \(5, 256\).*leave keep_head out'
    ):
        made("cbr_tiny", keep, num_outputs=5)
    assert made("cbr_tiny", PRETRAINED, num_outputs=5).head.linear.out_features == 5


def test_grey_and_colour_sources_fit_each_other() -> None:
    grey = ModelSpec(name="cbr_tiny", in_channels=1)
    key = "body.pool1.1.conv.weight"
    summed = made(grey, PRETRAINED).state_dict()[key]
    torch.testing.assert_close(summed, source("cbr_tiny")[key].sum(1, keepdim=True))
    state = network(grey, seed=5).state_dict()
    spread = made("cbr_tiny", InitSpec(method="pretrained", weights=run_of(grey)), state=state).state_dict()[key]
    torch.testing.assert_close(spread, (state[key] / 3).expand(-1, 3, -1, -1))


def test_the_source_is_left_as_it_was() -> None:
    state = network("cbr_tiny", seed=5).state_dict()
    before = {key: value.clone() for key, value in state.items()}
    for method in ("pretrained", "mean_var", "bootstrap", "permutation"):
        spec = InitSpec.model_validate({"method": method, "weights": "imagenet", "keep_head": True})
        step(made(ModelSpec(name="cbr_tiny", in_channels=1), spec, state=state), images("cbr_tiny")[:, :1])
    assert all(torch.equal(value, before[key]) for key, value in state.items())


def test_every_draw_comes_from_the_generator() -> None:
    before = torch.get_rng_state()
    spec = PRETRAINED.replace(up_to="pool2", above="mean_var", gabor=Gabor())
    one, two = made("cbr_tiny", spec), made("cbr_tiny", spec)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), before)
