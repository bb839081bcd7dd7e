import signal
from itertools import islice

import pytest
import torch

from napari_gem3d.training.loop.samples import Samples, Share, load


@pytest.mark.parametrize("step", [0, 3])
def test_however_a_step_is_divided_its_samples_are_the_same(step):
    wanted = set(range(step * 24, step * 24 + 24))
    for batch, accumulation, processes in ((24, 1, 1), (4, 6, 1), (12, 1, 2), (4, 3, 2), (1, 6, 4)):
        seen = [
            index
            for process in range(processes)
            for micro in range(accumulation)
            for index in Share(batch, accumulation, process, processes).indices(step, micro)
        ]
        assert len(seen) == 24 and set(seen) == wanted


def test_a_smaller_share_does_the_same_samples():
    share = Share(12, 2, 1, 2)
    parts = []
    while share is not None:
        parts.append((share.batch, share.accumulation))
        assert [i for micro in range(share.accumulation) for i in share.indices(5, micro)] == list(range(264, 288))
        share = share.smaller()
    assert parts == [(12, 2), (6, 4), (3, 8), (1, 24)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_go_on_where_a_step_begins_and_move_no_generator(curve, workers):
    samples = Samples(curve().source, 7, "curve")
    torch.manual_seed(0)
    state = torch.get_rng_state()
    whole = [batch.origins for batch in islice(load(samples, Share(2, 2), 0, workers), 8)]
    later = [batch.origins for batch in islice(load(samples, Share(2, 2), 2, workers), 4)]
    assert later == whole[4:]
    assert len({origin for origins in whole for origin in origins}) == 16
    assert torch.equal(torch.get_rng_state(), state)


def test_other_seeds_and_stages_draw_other_samples(curve):
    source = curve().source
    drawn = {Samples(source, seed, name)[3].origins for seed in (0, 1) for name in ("slice", "volume")}
    assert len(drawn) == 4
    assert Samples(source, 0, "slice")[3].origins == Samples(source, 0, "slice")[3].origins


def test_loading_processes_survive_a_stop_wish(curve):
    """Ctrl-C and SIGTERM reach every process of a terminal or job; the step at hand needs its batches."""
    batches = iter(load(Samples(curve().source, 0, "curve"), Share(2), 0, workers=1))
    next(batches)
    worker = batches._workers[0]
    for number in (signal.SIGINT, signal.SIGTERM):
        worker._popen._send_signal(number)
    assert len([next(batches) for _ in range(5)]) == 5
    assert worker.is_alive()
    del batches
    worker.join(timeout=10)
    assert not worker.is_alive()
