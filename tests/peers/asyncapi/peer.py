"""AsyncAPI's own parser takes schemas/asyncapi.yaml without an error or a warning."""

from kit.contract import ask_generator

# Spectral's degrees: 0 is an error, 1 a warning. Advice, such as to name a newer version than the generator reads, is 2.
WARNING = 1


def check(_world):
    told = ask_generator()["diagnostics"]
    problems = [f"{one['message']} at {'.'.join(map(str, one['path']))}" for one in told if one["severity"] <= WARNING]
    assert not problems, "\n".join(problems)
