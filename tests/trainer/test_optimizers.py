"""Optimizers, schedules and rates: torch's and transformers' own, by the spec's names."""

import pytest
import torch
from torch import nn
from transformers import get_scheduler
from transformers.optimization import get_polynomial_decay_schedule_with_warmup

from embedtune_api.spec import Training
from embedtune_trainer.embedder.encoders import Encoders
from embedtune_trainer.embedder.pair import TextImagePair
from embedtune_trainer.errors import BadSpec
from embedtune_trainer.training.defaults import default_learning_rate, weight_decay_of
from embedtune_trainer.training.optimizers import KINDS, NAMES, make_optimizer
from embedtune_trainer.training.rates import learning_rate_factors, parameter_groups
from embedtune_trainer.training.schedules import SHAPES, Schedule
from embedtune_trainer.training.step import Stepper
from tests.trainer import stepping, tiny

FINETUNERS = {
    *("Adadelta", "Adagrad", "Adam", "AdamW", "SparseAdam", "Adamax", "ASGD", "LBFGS"),
    *("NAdam", "RAdam", "RMSprop", "Rprop", "SGD"),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny.backbone(tmp_path_factory.mktemp("base") / "tiny")


def stepped(make):
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = make(list(model.parameters()))
    for step in range(4):
        model(torch.ones(2, 4) * (step + 1)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.weight.detach()


@pytest.mark.parametrize("name", NAMES)
def test_each_is_torchs_of_that_name(name):
    ours = stepped(lambda some: make_optimizer(name, [{"params": some}], 0.01, {}))
    torchs = stepped(lambda some: getattr(torch.optim, name)(some, lr=0.01))
    assert torch.allclose(ours, torchs, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "options", "torchs"),
    [
        ("SGD", {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "nesterov": True}),
        ("Adam", {"beta1": 0.5, "amsgrad": True}, {"betas": (0.5, 0.999), "amsgrad": True}),
        ("Rprop", {"etaPlus": 1.5, "stepMax": 2}, {"etas": (0.5, 1.5), "step_sizes": (1e-6, 2)}),
        ("Adagrad", {"lrDecay": 0.1}, {"lr_decay": 0.1}),
    ],
)
def test_options_are_torchs_in_camel_case(name, options, torchs):
    ours = stepped(lambda some: make_optimizer(name, [{"params": some}], 0.01, options))
    wanted = stepped(lambda some: getattr(torch.optim, name)(some, lr=0.01, **torchs))
    without = stepped(lambda some: make_optimizer(name, [{"params": some}], 0.01, {}))
    assert torch.allclose(ours, wanted, atol=1e-7)
    assert not torch.allclose(ours, without, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "SGD",
            {"beta1": 0.9},
            r"Options\.beta1: unknown option; SGD takes momentum \(default 0\)",
        ),
        ("SGD", {"nesterov": 1}, r"Options\.nesterov: must be true or false \(got 1\)"),
        ("AdamW", {"eps": "x"}, r"Options\.eps: must be a number \(got 'x'\)"),
        ("AdamW", {"eps": True}, r"Options\.eps: must be a number \(got True\)"),
        ("SGD", {"momentum": -1.0}, "SGD refuses them: Invalid momentum"),
        ("LBFGS", {}, "LBFGS takes its steps along a line search"),
        ("SparseAdam", {}, "SparseAdam takes sparse gradients only"),
        ("Lion", {}, "there is no Lion; use one of Adadelta, Adagrad"),
    ],
)
def test_what_is_wrong_is_said(name, options, said):
    with pytest.raises(BadSpec, match=said) as caught:
        make_optimizer(name, [{"params": [nn.Parameter(torch.ones(2))]}], 0.1, options, "spec.x")
    assert str(caught.value).startswith("spec.x")


def test_finetuners_names_are_known_and_the_specs_are_these():
    assert FINETUNERS - set(NAMES) == {"LBFGS", "SparseAdam"}
    assert set(Training.model_fields["optimizer"].annotation.__args__) == set(NAMES) == set(KINDS)
    assert set(Training.model_fields["scheduler"].annotation.__args__) == set(SHAPES)


def theirs(name, updates, warmup, **options):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    if name == "polynomial":
        scheduler = get_polynomial_decay_schedule_with_warmup(
            optimizer,
            warmup,
            updates,
            lr_end=options.get("end", 0.0),
            power=options.get("power", 1),
        )
    else:
        own = {"num_cycles": options["cycles"]} if options else {}
        scheduler = get_scheduler(name, optimizer, warmup, updates, scheduler_specific_kwargs=own)
    factors = []
    for _ in range(updates):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in SHAPES),
        ("cosine", {"cycles": 1.5}),
        ("cosine_with_restarts", {"cycles": 3}),
        ("polynomial", {"power": 2, "end": 0.1}),
    ],
)
def test_the_factors_are_transformers(name, options):
    without = Schedule(name, 20, 0.0, options)
    wanted = theirs(name, 20, 0, **options)
    assert [without.factor(i) for i in range(20)] == pytest.approx(wanted, abs=1e-12)
    warm = Schedule(name, 20, 0.2, options)
    if name != "constant":  # theirs has no warm-up
        wanted = theirs(name, 20, 4, **options)
        assert [warm.factor(i) for i in range(4, 20)] == pytest.approx(wanted[4:], abs=1e-12)
        rising = theirs("constant_with_warmup", 20, 5)
        assert [warm.factor(i) for i in range(4)] == pytest.approx(rising[1:5])
    assert warm.factor(0) == pytest.approx(0.2)


def test_constant_has_a_warm_up_too():
    schedule = Schedule("constant", 10, 0.2, {})
    assert [schedule.factor(i) for i in range(3)] == pytest.approx([1 / 3, 2 / 3, 1])


def test_wrong_options_of_a_schedule_are_refused():
    with pytest.raises(BadSpec, match=r"schedulerOptions\.power: unknown option; linear takes no"):
        Schedule("linear", 10, 0.1, {"power": 2})
    with pytest.raises(BadSpec, match="must not be below 0"):
        Schedule("cosine", 10, 0.1, {"cycles": -1})


def test_biases_and_norms_are_not_decayed(plain):
    embedder = stepping.load(plain)
    groups = parameter_groups(embedder, Training(), 0.1)
    decayed, rest = sorted(groups, key=lambda group: -group["weight_decay"])
    names = {id(p): name for name, p in embedder.named_parameters()}
    assert rest["weight_decay"] == 0
    assert all(names[id(p)].endswith("bias") or "LayerNorm" in names[id(p)] for p in rest["params"])
    assert not any("LayerNorm" in names[id(p)] for p in decayed["params"])
    assert len(decayed["params"]) + len(rest["params"]) == len(
        [p for p in embedder.parameters() if p.requires_grad]
    )


def test_rates_fall_from_layer_to_layer(plain):
    embedder = stepping.load(plain, projection={"dim": 8})
    factors = learning_rate_factors(embedder, Training(layer_decay=0.5))
    by_layer = {
        "embeddings.word_embeddings.weight": 0.125,
        "encoder.layer.0.output.dense.weight": 0.25,
        "encoder.layer.1.output.dense.weight": 0.5,
        "head.layers.0.linear.weight": 1.0,
    }
    assert {name: factors[name] for name in by_layer} == by_layer


def test_rates_of_modules_multiply_and_a_wrong_glob_is_refused(plain):
    towers = [stepping.load(plain) for _ in "lr"]
    towers[1].processor.modality = "image"
    pair = TextImagePair(*towers, log_scale=2.0)
    rates = [
        {"modules": ["text.*"], "factor": 0.1},
        {"modules": ["text.embeddings", "temperature"], "factor": 0.5},
    ]
    factors = learning_rate_factors(pair, Training.parse({"rates": rates}))
    assert factors["text.encoder.layer.0.output.dense.weight"] == 0.1
    assert factors["text.embeddings.LayerNorm.bias"] == pytest.approx(0.05)
    assert factors["image.embeddings.LayerNorm.bias"] == 1
    assert factors["temperature.log_scale"] == 0.5
    wrong = Training.parse({"rates": [rates[0], {"modules": ["text.encodr"], "factor": 2.0}]})
    with pytest.raises(
        BadSpec, match=r"rates\[1\]\.modules: 'text.encodr' matches no .*text.encoder"
    ):
        learning_rate_factors(pair, wrong)


def test_the_optimizer_has_the_rates(plain):
    options = Training.parse({"learningRate": 0.01, "layerDecay": 0.5, "warmupRatio": 0.0})
    made = stepping.bench(stepping.load(plain), stepping.labelled(), layerDecay=0.5)
    stepper = Stepper(made.encoders.module, options, 10)
    batch = made.batch(range(24))
    stepper.take(0, batch, made.preparer(batch))
    rates = {group["lr"] for group in stepper._optimizers["optimizer"].param_groups}
    assert sorted(rates) == pytest.approx([0.01 * 0.5**i for i in (3, 2, 1)])


def test_the_default_rate_is_of_what_is_trained(plain):
    assert default_learning_rate(stepping.load(plain)) == 2e-5
    head = stepping.load(plain, freeze=["backbone"], projection={"dim": 8})
    assert default_learning_rate(head) == 1e-3
    assert default_learning_rate(stepping.load(plain, lora={})) == 2e-4
    towers = [stepping.load(plain) for _ in "lr"]
    assert default_learning_rate(TextImagePair(*towers, log_scale=2.0)) == 1e-5


def test_an_optimizer_without_a_default_wants_a_rate(plain):
    embedder = Encoders.single(stepping.load(plain)).module
    with pytest.raises(BadSpec, match=r"learningRate: SGD has no default .* Adam, AdamW"):
        Stepper(embedder, Training(optimizer="SGD"), 10)
    with pytest.raises(BadSpec, match=r"set spec\.training\.weightDecay instead"):
        Stepper(embedder, Training(optimizer_options={"weightDecay": 0.1}), 10)


def test_weight_decay_is_adamws_own_by_default():
    assert weight_decay_of(Training()) == 0.01
    assert weight_decay_of(Training(optimizer="Adam")) == 0
    assert weight_decay_of(Training(optimizer="Adam", weight_decay=0.2)) == 0.2
    with pytest.raises(BadSpec, match="weightDecay: Rprop has none; set it to 0"):
        weight_decay_of(Training(optimizer="Rprop", weight_decay=0.2))
