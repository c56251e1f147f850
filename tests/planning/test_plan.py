"""The plan of a run, against numbers worked out by hand."""

from __future__ import annotations

import typing

import pytest

from twhin_hf.commands.cli import main
from twhin_hf.errors import InputError
from twhin_hf.planning.plan import SIZES, plan_run, rates
from twhin_hf.planning.plan_config import PlanConfig


def stage(config: PlanConfig, name: str):
    return next(found for found in plan_run(config) if found.stage == name)


def test_parameters_of_base_and_large_are_bert_s():
    # 12 · 12 · 768² = 84,934,656 and 250,002 · 768 = 192,001,536.
    assert SIZES["base"].parameters == 84_934_656 + 192_001_536
    assert SIZES["large"].layer_parameters == 12 * 24 * 1024**2


def test_flops_of_a_token_by_hand():
    # 6 · 84,934,656 + 12 · 12 · 768 · 20 + 6 · 768 · 250,002 · 0.15
    expected = 509_607_936 + 2_211_840 + 172_801_382.4
    assert SIZES["base"].training_flops(20) == pytest.approx(expected)
    assert SIZES["base"].encoding_flops(20) == pytest.approx((509_607_936 + 2_211_840) / 3)


def test_hours_follow_the_rate_and_the_cores():
    config = PlanConfig(posts=1e6, engagements=36e8, cores=2)
    expected = 36e8 * rates()["log"].value / 3600 / 2
    assert stage(config, "network embed: log").hours == pytest.approx(expected)


def test_training_on_gpus_by_hand():
    config = PlanConfig(posts=1e9, engagements=1e9, gpus=4, peak_tflops=500, utilization=0.5)
    flops = SIZES["base"].training_flops(26.6) * 1e9 * 26.6
    assert stage(config, "pretrain: MLM").hours == pytest.approx(flops / (4 * 250e12) / 3600)
    assert stage(config, "pretrain: MLM").memory_of == "a GPU"


def test_memory_of_the_network_is_its_tables():
    config = PlanConfig(posts=50, engagements=100, users=10, network_posts=20, dimension=256)
    assert stage(config, "network embed").memory == 30 * 1028


@pytest.mark.parametrize(
    ("log", "microseconds"), [("parquet", 5.1), ("csv", 5.9), ("x", 7.6 * 1.5)]
)
def test_an_import_takes_what_its_log_costs(log, microseconds):
    config = PlanConfig(posts=5e5, engagements=1e6, cores=1, log=log)
    assert stage(config, "network import").hours * 3600 == pytest.approx(microseconds)


def test_twice_the_posts_take_twice_the_time_but_in_mining():
    one, two = (
        {
            found.stage: found.hours
            for found in plan_run(
                PlanConfig(posts=n * 1e9, engagements=n * 1e10, network_posts=n * 1e8)
            )
        }
        for n in (1, 2)
    )
    ratios = {name: two[name] / one[name] for name in one}
    assert ratios.pop("network mine") == pytest.approx(2**1.5)
    assert all(ratio == pytest.approx(2) for ratio in ratios.values())


@pytest.mark.parametrize(
    "wrong", [{"posts": 0}, {"cores": -1}, {"utilization": 1.5}, {"gpus": -1}, {"users": 0.0}]
)
def test_numbers_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        PlanConfig(**{"posts": 1e6, "engagements": 1e6} | wrong)


def test_the_command_names_its_rates(capsys):
    assert main(["plan", "--posts", "7e9", "--engagements", "1e11", "--gpus", "64"]) == 0
    shown = capsys.readouterr().out
    assert "200,000,000 users" in shown
    for name in ("import_parquet", "embedding", "utilization"):
        assert rates()[name].source.split(",")[0].split(";")[0] in shown.replace("\n", " ")


def test_every_rate_is_used_and_says_where_it_is_from():
    used = {found.rate for gpus in (0, 1) for found in plan_run(PlanConfig(1e6, 1e6, gpus=gpus))}
    logs = typing.get_args(typing.get_type_hints(PlanConfig)["log"])
    used |= {plan_run(PlanConfig(1e6, 1e6, log=log))[0].rate for log in logs}
    assert set(rates()) - used == {"engagement_bytes", "post_bytes", "id_bytes"}
    assert all(entry.source and entry.value > 0 for entry in rates().values())
