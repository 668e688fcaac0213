"""Meters: when a loss was."""

from fastlog.server.meters import LossMeter, RecentRate


def test_a_loss_has_the_age_of_its_last_growth():
    meter = LossMeter()
    assert meter.seconds_since(10.0) is None
    meter.tick(10.0, 0)
    assert meter.seconds_since(11.0) is None
    meter.tick(12.0, 3)
    meter.tick(13.0, 3)
    assert meter.seconds_since(14.5) == meter.first_seconds_since(14.5) == 2.5
    meter.tick(15.0, 4)
    assert meter.seconds_since(16.0) == 1.0
    assert meter.first_seconds_since(16.0) == 4.0
    assert meter.grown == 4


def test_gaps_that_open_and_are_filled_again_are_no_new_loss():
    meter = LossMeter()
    for second, gaps in enumerate((0, 5, 4, 5, 3, 5)):
        meter.tick(float(second), gaps)
    assert meter.seconds_since(6.0) == 5.0
    meter.tick(7.0, 6)
    assert meter.seconds_since(7.0) == 0.0


def test_losses_before_the_start_have_no_age():
    meter = LossMeter(before=100)
    meter.tick(1.0, 100)
    assert meter.seconds_since(2.0) is None
    assert meter.grown == 0
    meter.tick(3.0, 101)
    assert meter.grown == 1
    assert meter.seconds_since(3.0) == 0.0


def test_an_unknown_count_is_neither_growth_nor_its_end():
    meter = LossMeter()
    for second, count in enumerate((2, None, 2)):
        meter.tick(float(second), count)
    assert meter.seconds_since(2.0) == 2.0


def test_a_recent_rate_is_that_of_the_last_seconds():
    cpu = RecentRate(10.0, 2.5)
    assert cpu.now == 0.0
    cpu.tick(11.0, 3.0)
    assert cpu.now == 0.5
    for second in range(12, 20):
        cpu.tick(float(second), 3.0)
    assert cpu.now == 0.0
