"""What every test starts from."""

import signal


def pytest_configure() -> None:
    """Ctrl-C reaches what tests start, also where a script runs them in the background: such a
    shell lets all below it ignore the signal."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
