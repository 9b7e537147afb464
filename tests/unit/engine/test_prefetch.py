"""Loading ahead: the same order and values, bounded, errors as they were raised, never a hang."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from tests.support import micro
from vidreason.engine.prefetch import AHEAD, WorkerLostError, prefetch
from vidreason.records import OK

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


class OddError(Exception):
    """Cannot be built from its message alone."""

    def __init__(self, status, detail):
        super().__init__(f"{status}: {detail}")


def square(number):
    return torch.full((3,), number * number)


def failing(kind):
    def load(number):
        if number == 2:
            raise kind
        return number

    return load


@pytest.mark.parametrize("workers", [0, 1, 3, 9])
def test_items_come_in_order_whoever_loads_them(workers):
    def slow_at_first(number):
        time.sleep(0.05 * (number == 0))
        return number, square(number), "text", None

    with prefetch(range(7), slow_at_first, workers) as loaded:
        found = list(loaded)
    assert [item for item, _ in found] == list(range(7))
    for item, (number, tensor, *rest) in found:
        assert number == item
        assert torch.equal(tensor, square(item))
        assert rest == ["text", None]


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_to_load(workers):
    with prefetch([], square, workers) as loaded:
        assert list(loaded) == []


def test_workers_are_other_processes_and_none_is_this_one():
    for workers, here in ((0, True), (2, False)):
        with prefetch(range(4), lambda _: os.getpid(), workers) as loaded:
            found = {process for _, process in loaded}
        assert (found == {os.getpid()}) == here
        assert len(found) == max(1, workers)


def test_they_end_with_the_block():
    with prefetch(range(100), lambda _: os.getpid(), 2) as loaded:
        running = {next(loaded)[1], next(loaded)[1]}
        assert all(alive(process) for process in running)
    assert not any(alive(process) for process in running)


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_they_load_a_few_ahead_and_no_more(tmp_path):
    def load(number):
        (tmp_path / str(number)).touch()

    with prefetch(range(20), load, 1) as loaded:
        next(loaded)
        deadline = time.monotonic() + 20
        while len(list(tmp_path.iterdir())) < 1 + AHEAD:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.2)
        assert len(list(tmp_path.iterdir())) == 1 + AHEAD


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with prefetch(range(3), square, 2) as loaded:
        list(loaded)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("error", [ValueError("a.parquet: clip 'x' is not what was stored"), KeyError("clip 'x'")])
def test_an_error_arrives_as_it_was_raised_and_in_its_turn(workers, error):
    items = []
    with pytest.raises(type(error)) as caught, prefetch(range(5), failing(error), workers) as loaded:
        items.extend(item for item, _ in loaded)
    assert items == [0, 1]
    assert str(caught.value) == str(error)
    if workers:
        assert "in load" in caught.value.__notes__[0]


def test_an_error_that_cannot_be_pickled_keeps_its_message():
    error = OddError("truncated", "at 3 s")
    with pytest.raises(RuntimeError, match=r"^OddError: truncated: at 3 s"), prefetch([2], failing(error), 1) as loaded:
        next(loaded)


def test_an_error_of_the_caller_passes_unchanged():
    with pytest.raises(ZeroDivisionError), prefetch(range(5), square, 1) as loaded:
        [1 // item for item, _ in loaded]


@pytest.mark.parametrize("busy", [False, True])
def test_a_killed_worker_is_an_error_and_no_hang(busy):
    """Also while the caller computes and asks for nothing."""

    def load(number):
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    def use(loaded):
        for _ in loaded:
            while busy and time.monotonic() < began + 30:
                time.sleep(0.01)

    began = time.monotonic()
    message = r"loads ahead was lost \(DataLoader worker .*more memory, or its rule fewer threads"
    with pytest.raises(WorkerLostError, match=message), prefetch(range(5), load, 1) as loaded:
        use(loaded)
    assert time.monotonic() - began < 20


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match="workers is -1; allowed: 0"), prefetch([1], square, -1):
        pass


def test_frames_can_be_read_in_forks_of_a_process_that_used_the_libraries_threads(tmp_path):
    """Threads of PyTorch and Arrow do not survive a fork; neither library may wait for them there."""
    tables = [micro.write_frames(tmp_path / "shard0.parquet", dict.fromkeys("abcdef", OK))]
    script = textwrap.dedent(
        f"""
        import torch, pyarrow as pa
        torch.set_num_threads(2)
        pa.set_cpu_count(2)
        from vidreason.media.frame_store import FrameStore
        from vidreason.engine.prefetch import prefetch
        store = FrameStore({[str(table) for table in tables]!r})
        clips = [f"{{name}}.mp4" for name in "abcdef"]
        here = [store.pixels(clip) for clip in clips]
        torch.randn(600, 600) @ torch.randn(600, 600)
        opened = {{}}
        def load(clip):
            if not opened:
                opened["store"] = FrameStore({[str(table) for table in tables]!r})
            pixels = torch.from_numpy(opened["store"].pixels(clip).copy())
            (pixels.float().reshape(-1, 8) @ torch.randn(8, 2000)).sum()
            return pixels
        with prefetch(clips * 5, load, 2) as loaded:
            for number, (clip, pixels) in enumerate(loaded):
                assert (pixels.numpy() == here[number % 6]).all(), clip
        print("all equal")
        """
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert done.stdout == "all equal\n", done.stderr
