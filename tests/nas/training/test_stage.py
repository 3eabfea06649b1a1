"""What survives a kill, a full disk and a loss that is not a number."""

import errno
import json
import os
import random
import signal
import time
import traceback
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from nas.cli.main import main
from nas.errors import NonFiniteLoss, SaveError
from nas.training.machine import Machine
from nas.training.stage import Loop, Stage

NUM_EPOCHS, NUM_STEPS = 3, 4
EACH_STEP, EACH_EPOCH = 0.0, 1e9


class Killed(BaseException):
    """The process ends here: no handler of errors sees it."""


@pytest.fixture(scope="module")
def fabric():
    return Machine(device="cpu").fabric()


class Training:
    """A small training whose every step draws from the global generator, in a folder of its own."""

    def __init__(self, folder: Path, fabric: Fabric, minutes: float = EACH_STEP, kind: str = "one") -> None:
        self.stage = Stage(folder, "retrain", kind, Machine(device="cpu", checkpoint_minutes=minutes), fabric)
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 1))
        self.optimiser = torch.optim.Adam(self.net.parameters(), 0.05)
        self.seen: list[tuple[int, int]] = []

    def batches(self, epoch: int, start: int):
        for step in range(start, NUM_STEPS):
            yield step, torch.randn(8, 5, generator=torch.Generator().manual_seed(100 * epoch + step))

    def run(self, kill_at: int | None = None, spoil_at: tuple[int, int] | None = None, spoil: str = "loss") -> Loop:
        loop = self.stage.loop(NUM_EPOCHS, NUM_STEPS, {"net": self.net, "optimiser": self.optimiser})
        for epoch in loop.epochs():
            for step, x in loop.steps(lambda start, epoch=epoch: self.batches(epoch, start)):
                if kill_at == NUM_STEPS * epoch + step:
                    raise Killed
                self.seen.append((epoch, step))
                loss = (self.net(x) - torch.rand(8, 1)).square().mean()
                loss = loss * torch.nan if (epoch, step) == spoil_at and spoil == "loss" else loss
                self.optimiser.zero_grad()
                loss.backward()
                if (epoch, step) == spoil_at and spoil == "gradient":
                    self.net[0].weight.grad[0, 0] = torch.inf
                self.optimiser.step()
                loop.add({"total": loss, "part": loss / 2})
                loop.add({"total": loss.detach()}, "other") if step % 2 else None
            loop.end_epoch(lr=0.05, nothing=None)
        return loop

    def outcome(self, loop: Loop) -> dict:
        """Everything that a resumed training must share with an uninterrupted one."""
        return {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict()["state"],
            "history": loop.history,
            "written": self.history(),
            "next": torch.rand(3),
        }

    def history(self) -> str:
        return (self.stage.folder / "retrain.history.jsonl").read_text()


def assert_same(a, b) -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    else:
        assert a == b


@pytest.fixture(scope="module")
def whole(tmp_path_factory, fabric):
    """The outcome without any interruption."""
    training = Training(tmp_path_factory.mktemp("whole"), fabric, EACH_EPOCH)
    return training.outcome(training.run())


class TestResume:
    @pytest.mark.parametrize("minutes", [EACH_STEP, EACH_EPOCH], ids=["saved each step", "saved each epoch"])
    @pytest.mark.parametrize("kill_at", [0, 1, 3, 4, 6, 11])
    def test_killed_training_ends_as_if_nothing_had_happened(self, tmp_path, fabric, whole, minutes, kill_at):
        with pytest.raises(Killed):
            Training(tmp_path, fabric, minutes).run(kill_at)
        again = Training(tmp_path, fabric, minutes)
        assert_same(again.outcome(again.run()), whole)
        assert again.seen[0] == divmod(kill_at if minutes == EACH_STEP else kill_at // NUM_STEPS * NUM_STEPS, NUM_STEPS)

    def test_killed_at_every_step_one_after_the_other(self, tmp_path, fabric, whole):
        for kill_at in range(1, NUM_EPOCHS * NUM_STEPS):
            with pytest.raises(Killed):
                Training(tmp_path, fabric).run(kill_at)
        last = Training(tmp_path, fabric)
        assert_same(last.outcome(last.run()), whole)

    def test_killed_between_checkpoint_and_history_leaves_no_gap(self, tmp_path, fabric, whole, monkeypatch):
        def die(*_):
            raise Killed

        training = Training(tmp_path, fabric, EACH_EPOCH)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr("nas.training.monitor.write_lines", die)
            training.run()
        again = Training(tmp_path, fabric, EACH_EPOCH)
        assert_same(again.outcome(again.run()), whole)
        assert epochs_in_events(tmp_path) == list(range(NUM_EPOCHS))

    def test_killed_after_the_last_checkpoint_still_writes_its_history(self, tmp_path, fabric, whole):
        Training(tmp_path, fabric).run()
        (tmp_path / "retrain.history.jsonl").unlink()
        again = Training(tmp_path, fabric)
        assert_same(again.outcome(again.run()), whole)
        assert again.seen == []

    def test_a_loop_that_stopped_stays_stopped(self, tmp_path, fabric):
        first = Training(tmp_path, fabric)
        loop = first.stage.loop(NUM_EPOCHS, NUM_STEPS, {"net": first.net})
        for _ in loop.epochs():
            loop.stop("enough")
            loop.end_epoch()
        again = Training(tmp_path, fabric)
        assert list(again.stage.loop(NUM_EPOCHS, NUM_STEPS, {"net": again.net}).epochs()) == []
        assert len(loop.history) == 1

    def test_checkpoint_of_another_recipe_is_refused(self, tmp_path, fabric):
        Training(tmp_path, fabric).run()
        with pytest.raises(ValueError, match=r"retrain\.ckpt belongs to another recipe.*--overwrite"):
            Training(tmp_path, fabric, kind="two")

    def test_time_spent_is_added_up(self, tmp_path, fabric):
        with pytest.raises(Killed):
            Training(tmp_path, fabric).run(6)
        spent = Stage(tmp_path, "retrain", "one", Machine(device="cpu"), fabric).seconds
        again = Training(tmp_path, fabric)
        again.run()
        assert again.stage.seconds > spent > 0


def test_history_is_the_mean_of_what_was_added(tmp_path, fabric):
    stage = Stage(tmp_path, "teach", "", Machine(device="cpu"), fabric)
    loop = stage.loop(1, 3, {})
    for _ in loop.epochs():
        for value in loop.steps(lambda start: [1.0, 2.0, 6.0]):
            loop.add({"total": torch.tensor(value), "part": torch.tensor(-value)})
            assert loop.now == pytest.approx([1.0, 2.0, 6.0].index(value) / 3)
        loop.add({"total": torch.tensor(5.0)}, "alpha")
        loop.end_epoch(temperature=0.5)
    [line] = [json.loads(line) for line in (tmp_path / "teach.history.jsonl").read_text().splitlines()]
    assert line == {"epoch": 0, "loss": {"total": 3.0, "part": -3.0}, "alpha": {"total": 5.0}, "temperature": 0.5}


class TestNotANumber:
    @pytest.mark.parametrize("spoil", ["loss", "gradient"])
    @pytest.mark.parametrize("minutes", [EACH_STEP, EACH_EPOCH])
    def test_stops_and_keeps_the_last_good_checkpoint(self, tmp_path, fabric, minutes, spoil):
        with pytest.raises(NonFiniteLoss, match=r"retrain: .* in epoch 1, by step [34].*retrain\.ckpt.*learning rate"):
            Training(tmp_path, fabric, minutes).run(spoil_at=(1, 3), spoil=spoil)
        good = torch.load(tmp_path / "retrain.ckpt", weights_only=True)
        assert (good["epoch"], good["step"]) == ((1, 3) if minutes == EACH_STEP else (1, 0))
        assert all(t.isfinite().all() for t in good["parts"]["net"].values())

    def test_can_go_on_from_there(self, tmp_path, fabric, whole):
        with pytest.raises(NonFiniteLoss):
            Training(tmp_path, fabric).run(spoil_at=(1, 3))
        again = Training(tmp_path, fabric)
        assert_same(again.outcome(again.run()), whole)


class TestFullDisk:
    @pytest.mark.parametrize("place", ["nas.system.files._create_beside", "os.replace", "os.fsync"])
    def test_says_so_and_keeps_the_old_checkpoint(self, tmp_path, fabric, whole, monkeypatch, place):
        with pytest.raises(Killed):
            Training(tmp_path, fabric).run(6)
        before = (tmp_path / "retrain.ckpt").read_bytes()
        again = Training(tmp_path, fabric)
        loop = again.stage.loop(NUM_EPOCHS, NUM_STEPS, {"net": again.net, "optimiser": again.optimiser})
        with (
            monkeypatch.context() as patch,
            pytest.raises(SaveError, match=r"retrain\.ckpt: the disk is full.*untouched"),
        ):
            patch.setattr(place, full_disk)
            loop.save()
        assert (tmp_path / "retrain.ckpt").read_bytes() == before
        assert not list(tmp_path.glob(".*.tmp"))
        last = Training(tmp_path, fabric)
        assert_same(last.outcome(last.run()), whole)


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder / "tensorboard" / "retrain"))
    found.Reload()
    return found


def epochs_in_events(folder: Path, tag: str = "loss/total") -> list[int]:
    return sorted(event.step for event in events(folder).Scalars(tag))


def test_tensorboard_shows_every_epoch_once_after_a_resume(tmp_path, fabric, whole):
    for kill_at in (5, 9):
        with pytest.raises(Killed):
            Training(tmp_path, fabric, EACH_EPOCH).run(kill_at)
    Training(tmp_path, fabric, EACH_EPOCH).run()
    assert epochs_in_events(tmp_path) == list(range(NUM_EPOCHS)) == epochs_in_events(tmp_path, "lr")
    losses = {event.step: event.value for event in events(tmp_path).Scalars("loss/part")}
    assert losses == pytest.approx({line["epoch"]: line["loss"]["part"] for line in whole["history"]})


def test_a_line_for_each_epoch_where_no_terminal_is(tmp_path, fabric, capfd):
    training = Training(tmp_path, fabric)
    training.run()
    out, err = capfd.readouterr()
    assert out == "" and [line.partition("  ")[0] for line in err.splitlines()] == [f"retrain {n}/3" for n in (1, 2, 3)]


def test_a_bar_on_a_terminal(tmp_path, fabric, capfd, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    Training(tmp_path, fabric).run()
    out, err = capfd.readouterr()
    assert out == "" and "retrain" in err and f"{NUM_EPOCHS * NUM_STEPS}/{NUM_EPOCHS * NUM_STEPS}" in err


class TestMachine:
    def test_cuda_that_is_not_there(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(ValueError, match=r"--machine\.device cuda.*no CUDA device.*--machine\.device cpu"):
            Machine(device="cuda").fabric()

    def test_precision_reaches_autocast(self, tmp_path):
        def dtype(machine: Machine, context) -> torch.dtype:
            with context(Stage(tmp_path, "teach", "", machine)):
                return (torch.ones(1, 2) @ torch.ones(2, 1)).dtype

        lowered = Machine(device="cpu", precision="bf16")
        assert dtype(lowered, Stage.autocast) == torch.bfloat16
        assert dtype(Machine(device="cpu"), Stage.autocast) == torch.float32
        taught = Machine(device="cpu", teacher_precision="bf16")
        assert (dtype(taught, Stage.teacher_autocast), dtype(taught, Stage.autocast)) == (torch.bfloat16, torch.float32)

    @pytest.mark.parametrize(
        ("own", "on_cpu", "on_gpu"), [("auto", "32", "bf16"), ("32", "32", "32"), ("bf16", "bf16", "bf16")]
    )
    def test_the_teachers_precision_is_the_runs_on_a_gpu_alone(self, own, on_cpu, on_gpu):
        machine = Machine(precision="bf16", teacher_precision=own)
        devices = torch.device("cpu"), torch.device("cuda:0")
        assert [machine.teacher_precision_on(device) for device in devices] == [on_cpu, on_gpu]

    def test_determinism_holds_inside_and_not_afterwards(self, tmp_path):
        def is_on() -> tuple[bool, bool]:
            return torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark

        stage = Stage(tmp_path, "retrain", "", Machine(device="cpu", deterministic=True))
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        torch.backends.cudnn.benchmark = True
        try:
            with stage.working():
                assert is_on() == (True, False)
            assert is_on() == (False, True)
            said = "roi_align_backward does not have a deterministic implementation, but you set 'torch.use_...'. You"
            with (
                pytest.raises(ValueError, match="^roi_align_backward does not have a .* implementation: leave --mach"),
                stage.working(),
            ):
                raise RuntimeError(said)
            with Stage(tmp_path, "retrain", "", Machine(device="cpu")).working():
                assert is_on() == (False, True)
        finally:
            torch.backends.cudnn.benchmark = False


TOY = ["--machine.checkpoint-minutes", "0", "--machine.device", "cpu", "--json"]
SMALL = ["--teacher.net.backbone.width", "0.0625", "--baseline.backbone.width", "0.1"]
STAGES = {"teach": "teacher", "search": None, "retrain": "student", "baseline": "baseline"}


def trained(folder: Path) -> int:
    """All that can be killed, in the run's order."""
    commands = [
        ["teach", "toy", "--out", str(folder), *SMALL],
        ["search", "toy", "--out", str(folder), *SMALL],
        ["retrain", str(folder)],
    ]
    return max(main([*command, *TOY]) for command in commands)


def begun(folder: Path) -> int:
    """A process that trains in `folder`, with everything already imported."""
    process = os.fork()
    if process == 0:
        status = 70
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            status = trained(folder)
        except BaseException:  # noqa: BLE001 - whatever it is, the child prints it and ends
            traceback.print_exc()
        finally:
            os._exit(status)
    return process


def killed_until_done(folder: Path, delays: list[float]) -> int:
    """Trains, killed with SIGKILL after each of `delays` seconds, until it ends by itself; the number of kills."""
    for kills, delay in enumerate(delays):
        process = begun(folder)
        time.sleep(delay)
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return kills
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    _, status = os.waitpid(begun(folder), 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return len(delays)


def assert_same_run(one: Path, other: Path) -> None:
    for stage, weights in STAGES.items():
        assert (one / f"{stage}.history.jsonl").read_bytes() == (other / f"{stage}.history.jsonl").read_bytes()
        if weights:
            assert_same(*(load_file(folder / f"{weights}.safetensors") for folder in (one, other)))
    for name in ("architecture.json", "architectures.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A training that nobody kills, and the seconds it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    start = time.monotonic()
    assert trained(folder) == 0
    return folder, time.monotonic() - start


@pytest.mark.medium
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("num_kills", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_kill_minus_9_and_the_same_command_goes_on_to_the_bit(tmp_path, undisturbed, num_kills):
    whole, seconds = undisturbed
    rng = random.Random(0)
    delays = [rng.uniform(0.05, 0.4) * seconds for _ in range(num_kills)]
    assert killed_until_done(tmp_path, delays) > 0
    assert_same_run(tmp_path, whole)
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.medium
def test_killed_between_an_epochs_last_step_and_its_end(tmp_path, undisturbed, monkeypatch):
    end_epoch, killed = Loop.end_epoch, set()

    def die_once(loop: Loop, **record) -> None:
        if loop.stage.name not in killed:
            killed.add(loop.stage.name)
            loop.save()
            raise Killed
        end_epoch(loop, **record)

    monkeypatch.setattr(Loop, "end_epoch", die_once)
    for _ in STAGES:
        with pytest.raises(Killed):
            trained(tmp_path)
    assert trained(tmp_path) == 0
    assert_same_run(tmp_path, undisturbed[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_no_number_is_named_and_nothing_is_saved(tmp_path, fabric, value):
    training = Training(tmp_path, fabric)
    loop = training.stage.loop(NUM_EPOCHS, NUM_STEPS, {"net": training.net, "optimiser": training.optimiser})
    with torch.no_grad():
        training.net[0].weight.fill_(3e38)  # the largest that still is one
    loop.save()
    saved = training.stage.checkpoint.read_bytes()
    with torch.no_grad():
        training.net[3].bias[0] = value
    with pytest.raises(NonFiniteLoss, match=r"net\.3\.bias is no longer finite in epoch 0"):
        loop.save()
    assert training.stage.checkpoint.read_bytes() == saved
