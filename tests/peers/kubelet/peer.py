"""The kubelet's own code gives two service accounts of a node different logins and a third none, and each question is told."""

from pathlib import Path

from kit.bring import ROOT, go_program, run


def check(_world):
    # It starts a Waybill of its own: whose tokens a worker takes is a setting, and the program is the cluster that signs.
    program = go_program(Path(__file__).parent)
    done = run([program, "-bin", ROOT / "target" / "debug"], timeout=300, check=False)
    assert done.stdout.strip() == "PASS", done.stdout.strip() or done.stderr.strip()[-2000:]
