"""Steps that optimizers counted whose state lies beside the weights."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from kit import save_distributed
from safetensors.torch import save_file

import mother
from mother.checkpoints import open_checkpoint
from mother.evidence.optimizers import COUNT_NEIGHBOURS, Stepped


def save(path: Path, weights: list[torch.Tensor], steps: int) -> None:
    adam = {"state": {0: {"step": steps}}, "param_groups": [{"lr": 1e-3}]}
    model = {f"{k}.weight": w for k, w in enumerate(weights)}
    torch.save({"model": model, "optimizer": adam}, path)


def save_folder(path: Path, weights: list[torch.Tensor], steps: int) -> None:
    """As transformers' Trainer does."""
    path.mkdir()
    save_file({f"{k}.weight": w for k, w in enumerate(weights)}, path / "model.safetensors")
    adam = {"state": {0: {"step": torch.tensor(float(steps))}}, "param_groups": []}
    torch.save(adam, path / "optimizer.pt")


def drawn(scale: float) -> list[torch.Tensor]:
    return [scale * torch.randn(24, 24) for _ in range(4)]


def walk(start: list[torch.Tensor], many: int) -> list[list[torch.Tensor]]:
    """A run whose steps grow and shrink weights in turn: nothing but counts tells its ends."""
    found = [start]
    for _ in range(many):
        found.append([w + 0.05 * torch.randn_like(w) for w in found[-1]])
    return found


@pytest.mark.parametrize(("end", "write"), [(".pt", save), ("", save_folder)])
def test_the_checkpoints_of_a_run_follow_their_counts(tmp_path: Path, end, write) -> None:
    torch.manual_seed(1)
    for k, weights in enumerate(walk(drawn(1.0), 5)):
        # the later, the smaller: as if the run went the other way
        write(tmp_path / f"{9 - k}{end}", [w * 0.97**k for w in weights], 100 * (k + 1))
    graph = mother.recover(tmp_path)
    assert {(e.parent, e.child) for e in graph.edges} == {
        (str(9 - k), str(8 - k)) for k in range(5)
    }
    for edge in graph.edges:
        (said,) = (x for x in edge.evidence if x.kind == "optimizer")
        assert said.log_odds == 3
        assert said.says == "the child's optimizer had made 100 steps more"


def test_fine_tunes_whose_optimizer_began_anew_are_not_told_by_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = drawn(1.0)
    save(tmp_path / "base.pt", base, 90_000)
    for k in range(3):
        tuned = [w + 0.05 * torch.randn_like(w) for w in base]
        save(tmp_path / f"tuned-{k}.pt", tuned, 400 + k)
    graph = mother.recover(tmp_path)
    assert {(e.parent, e.child) for e in graph.edges} == {("base", f"tuned-{k}") for k in range(3)}
    assert not [x for e in graph.edges for x in e.evidence if x.kind == "optimizer"]


def test_steps_in_distributed_checkpoints(tmp_path: Path) -> None:
    """Of PyTorch's, by the names that a state is flattened to, and of DeepSpeed's first rank."""
    weights = torch.randn(6, 4)
    adam = {"state": {"fc": {"step": torch.tensor(7.0), "exp_avg": weights}}, "param_groups": []}
    held = {"model": {"fc.step": torch.ones(1), "fc": weights}, "optim": adam}
    save_distributed(held, tmp_path / "dcp")
    found = open_checkpoint(tmp_path / "dcp")
    assert {name: t.read().tolist() for name, t in found.steps.items()} == {"optim": [7]}
    (tmp_path / "zero").mkdir()
    told = {"module": {}, "param_shapes": [{"fc": weights.shape}]}
    torch.save(told, tmp_path / "zero" / "mp_rank_00_model_states.pt")
    base = {"state": {0: {"step": torch.tensor(9.0)}}, "param_groups": [{}]}
    state = {"zero_stage": 2, "single_partition_of_fp32_groups": [weights.flatten()]}
    rank = {"optimizer_state_dict": state | {"base_optimizer_state": base}}
    torch.save(rank, tmp_path / "zero" / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    steps = open_checkpoint(tmp_path / "zero").steps
    assert [t.read().tolist() for t in steps.values()] == [[9]]


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 1000])
def test_a_damaged_state_beside_the_weights_costs_nothing(tmp_path: Path, content: bytes) -> None:
    save_folder(tmp_path / "a", drawn(1.0), 5)
    assert [t.read().tolist() for t in open_checkpoint(tmp_path / "a").steps.values()] == [[5]]
    (tmp_path / "a" / "optimizer.pt").write_bytes(content)
    whole = open_checkpoint(tmp_path / "a")
    assert (len(whole.tensors), whole.steps) == (4, {})


def test_a_damaged_state_within_the_file_costs_the_count_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for k, weights in enumerate(walk(drawn(1.0), 2)):
        adam = {"state": {0: {"step": torch.tensor(float(k))}}, "param_groups": []}
        model = {str(n): w for n, w in enumerate(weights)}
        torch.save({"model": model, "optimizer": adam}, tmp_path / f"{k}.pt")
    whole = (tmp_path / "1.pt").read_bytes()
    with (
        zipfile.ZipFile(io.BytesIO(whole)) as held,
        zipfile.ZipFile(tmp_path / "1.pt", "w") as out,
    ):
        (count,) = (n for n in held.namelist() if n.endswith("/data/4"))
        for name in held.namelist():
            how = zipfile.ZIP_DEFLATED if name == count else zipfile.ZIP_STORED
            out.writestr(zipfile.ZipInfo(name), held.read(name), how)
        place = out.getinfo(count)
    damaged = bytearray((tmp_path / "1.pt").read_bytes())
    start = place.header_offset + 30 + len(count)
    damaged[start : start + place.compress_size] = b"\xff" * place.compress_size
    (tmp_path / "1.pt").write_bytes(damaged)
    graph = mother.recover(tmp_path, bootstrap=0)
    assert (graph.refused, len(graph.nodes)) == ((), 3)


def told(at: np.ndarray, counts: list[list[float]]) -> np.ndarray:
    """Signs of what is said of all ordered pairs of models at places of a plane."""
    n = len(at)
    i, j = (side.reshape(-1) for side in np.indices((n, n)))
    found = Stepped(np.array(counts), lambda a, b: ((at[a] - at[b]) ** 2).sum(axis=-1))
    return np.sign(found.log_odds(i, j)).reshape(n, n)


def test_two_runs_from_one_start_are_told_each_by_itself() -> None:
    k = np.arange(1.0, 5.0)
    ways = np.array([k, 0 * k]).T, np.array([0 * k, k]).T
    signs = told(np.concatenate(ways), [[10, 20, 30, 40, 11, 21, 31, 41]])
    run = np.sign(np.subtract.outer(-k, -k))
    np.testing.assert_array_equal(signs[:4, :4], run)
    np.testing.assert_array_equal(signs[4:, 4:], run)


@pytest.mark.parametrize(
    "counts",
    [
        [[10.0, 20.0]],  # of two models alone either may have begun anew
        [[np.nan] * 3],
        [[10.0, 30.0, 20.0]],  # not in the order of the way
        [[10.0, 20.0, 30.0], [30.0, 20.0, 10.0]],  # one optimizer further, the other less far
        [[10.0, 10.0, 10.0]],
    ],
)
def test_where_nothing_is_said(counts: list[list[float]]) -> None:
    at = np.arange(float(len(counts[0])))[:, None]
    assert not told(at, counts).any()


def test_a_long_run_among_others_is_told_throughout() -> None:
    n = 3 * COUNT_NEIGHBOURS
    at = np.arange(float(n))[:, None]
    signs = told(at, [list(np.arange(float(n)) ** 2)])
    assert (np.diag(signs, 1) == 1).all()
