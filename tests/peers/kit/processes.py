"""Servers of one run: started with their output in a file, waited for by a condition, stopped at the end."""

import os
import signal
import socket
import subprocess
import time


def free_port():
    """A port of loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def free_ports(number):
    """The first of `number` free ports in a row."""
    for _ in range(100):
        first = free_port()
        if first + number < 65535 and all(map(is_free, range(first, first + number))):
            return first
    raise AssertionError(f"there are no {number} free ports in a row")


def is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Service:
    """A server that runs until `stop`."""

    def __init__(self, argv, log, env=None, cwd=None):
        self.log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=cwd,
                start_new_session=True,
            )

    def last_lines(self):
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-15:])

    def stop(self):
        """Asks it to end, and ends what is left of its session after ten seconds."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def until(condition, what, service=None, seconds=60):
    """What `condition` returns, once that is true; connections that are refused meanwhile are no answer yet."""
    end, problem = time.monotonic() + seconds, None
    while time.monotonic() < end:
        if service and service.process.poll() is not None:
            raise AssertionError(f"{what}: its process ended\n{service.last_lines()}")
        try:
            answer = condition()
            if answer:
                return answer
        except (OSError, ValueError, KeyError, AssertionError) as error:
            problem = error
        time.sleep(0.1)
    last = service.last_lines() if service else ""
    raise AssertionError(f"{what} is not there after {seconds} s ({problem})\n{last}")
