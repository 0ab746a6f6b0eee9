"""An interrupt waits while a process is being started."""

import signal

import pytest

from edge_agent.demo.interrupts import SIGNALS, hold_interrupts


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_interrupt_comes_after_the_assignment(number: signal.Signals) -> None:
    """What the block assigns is there when the interrupt arrives, and the handlers are those from before."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, interrupt)
    started = False
    try:
        with pytest.raises(KeyboardInterrupt), hold_interrupts():
            signal.raise_signal(number)
            signal.raise_signal(number)
            started = True
        assert started
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, before)
