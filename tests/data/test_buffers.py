import pickle
import threading

import numpy as np
import pytest
import torch

from sciml.data.buffers import BufferPool


def test_memory_is_used_again_once_nothing_refers_to_it():
    pool = BufferPool()
    first = pool.take((3, 4))
    address = first.data_ptr()
    assert pool.take((3, 4)).data_ptr() != address
    del first
    again = pool.take((2, 5))
    assert again.shape == (2, 5)
    assert again.dtype == torch.float32
    assert again.data_ptr() == address


VIEWS = {
    "slice": lambda t: t[1:],
    "reshaped": lambda t: t.flatten(),
    "numpy": lambda t: t.numpy()[1],
    "numpy and back": lambda t: torch.from_numpy(t.numpy()[1]),
    "detached": lambda t: t.detach(),
    "storage": lambda t: t.untyped_storage(),
    "dlpack": np.from_dlpack,
    "graph": lambda t: (t * torch.ones(3, 4, requires_grad=True)).grad_fn,
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_memory_that_something_shows_is_not_used_again(view):
    pool = BufferPool()
    buffer = pool.take((3, 4))
    address = buffer.data_ptr()
    shown = view(buffer)
    del buffer
    others = [pool.take((3, 4)) for _ in range(3)]
    assert address not in [other.data_ptr() for other in others]
    del shown
    assert pool.take((3, 4)).data_ptr() == address


def test_larger_buffers_replace_smaller_ones():
    pool = BufferPool()
    pool.take((4,)).fill_(1.0)
    large = pool.take((1000,))
    large.fill_(2.0)
    assert len(large) == 1000
    address = large.data_ptr()
    del large
    assert pool.take((1000,)).data_ptr() == address


def test_few_idle_buffers_are_kept():
    pool = BufferPool(capacity=2)
    buffers = [pool.take((5,)) for _ in range(6)]
    addresses = {buffer.data_ptr() for buffer in buffers}
    assert len(addresses) == 6
    buffers.clear()
    assert len(pool._free) == 2


def test_pickled_without_its_buffers():
    pool = BufferPool()
    pool.take((5,)).fill_(1.0)
    copy = pickle.loads(pickle.dumps(pool))
    assert copy._free == []
    assert copy.take((5,)).shape == (5,)


def test_threads_never_share_a_buffer():
    pool = BufferPool()
    wrong = []

    def work(number):
        for _ in range(300):
            buffer = pool.take((64,))
            buffer.fill_(number)
            if not bool((buffer == number).all()):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
