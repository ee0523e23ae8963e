"""Batches in a reproducible order, read ahead by one thread."""

import functools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from sciml.data.dataset import WindowedDataset
from sciml.data.device import Copy, DeviceCopies
from sciml.data.draws import Draw
from sciml.data.epochs import EpochLoader
from sciml.spec import Batch


@final
class BatchLoader(EpochLoader):
    """Iterates over a data set in batches; each pass is one epoch.

    The order is a function of seed and epoch alone, so that a run resumes anywhere with
    ``set_epoch(epoch, position)``. Reading is done by one thread, which copies without holding
    the interpreter's lock; processes would spend more on moving batches than on reading them.

    With several ranks every rank walks through the same global batches and takes every
    `world_size`-th sample of each. So that ranks stay in step, a last batch that does not
    divide evenly loses up to ``world_size - 1`` samples of that epoch.

    Args:
        dataset: The samples.
        batch_size: Samples of a batch, over all ranks together.
        shuffle: Whether each epoch has its own random order; ascending otherwise.
        seed: Seed of the orders.
        drop_last: Whether to leave out a last batch of fewer than `batch_size` samples.
        rank: This process.
        world_size: Number of processes.
        prefetch: Batches read ahead; 0 reads in the calling thread.

    Raises:
        ValueError: If `world_size` does not divide `batch_size`, `rank` is not below it, a
            number is out of range, or there is no batch.
    """

    def __init__(
        self,
        dataset: WindowedDataset,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        prefetch: int = 2,
    ) -> None:
        if batch_size < 1 or prefetch < 0 or not 0 <= rank < world_size:
            raise ValueError(
                "BatchLoader: expected batch_size >= 1, prefetch >= 0 and 0 <= rank < "
                f"world_size, got {batch_size}, {prefetch}, rank {rank} of {world_size}; "
                "correct them"
            )
        if batch_size % world_size:
            raise ValueError(
                f"BatchLoader: expected a batch_size divisible by {world_size} processes, got "
                f"{batch_size}; take a multiple of {world_size}"
            )
        whole, rest = divmod(len(dataset), batch_size)
        last = 0 if drop_last else rest - rest % world_size
        super().__init__(whole * batch_size + last, batch_size)
        if not self.num_samples:
            raise ValueError(
                f"BatchLoader: expected at least {batch_size if drop_last else world_size} "
                f"samples, got {len(dataset)}; lower batch_size or world_size"
            )
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.prefetch = prefetch
        self._started = False

    @property
    def epoch(self) -> int:
        """The epoch under way, or the next one between two passes."""
        return self._epoch

    @override
    def set_epoch(self, epoch: int, position: int = 0) -> None:
        super().set_epoch(epoch, position)
        self._started = False

    def state_dict(self) -> dict[str, int]:
        """Epoch and number of its batches handed out."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue where `state_dict` was taken."""
        self.set_epoch(state["epoch"], state["position"])

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Sample numbers of an epoch in the order of all ranks' batches."""
        if not self.shuffle:
            return np.arange(self.num_samples, dtype=np.int64)
        # Philox is counter-based: neighbouring epochs are as independent as distant ones
        bits = np.random.Philox(np.random.SeedSequence([self.seed, epoch]))
        return self.dataset.shuffled(np.random.Generator(bits))[: self.num_samples]

    @override
    def __iter__(self) -> Iterator[Batch]:
        """One pass: the rest of an epoch that was set, else the next epoch.

        A pass that was left early counts as its epoch: the next one has another order.
        """
        if self._started:
            self._epoch, self._position = self._epoch + 1, 0
        self._started = True
        return self._batches(self.order(self._epoch), self._epoch, self._position)

    def _batches(self, order: NDArray[np.int64], epoch: int, first: int) -> Iterator[Batch]:
        numbers = (self._share(order, number) for number in range(first, len(self)))
        for number, batch in enumerate(self._read_ahead(numbers, epoch), first):
            if number + 1 < len(self):
                self._epoch, self._position = epoch, number + 1
            else:
                self._epoch, self._position, self._started = epoch + 1, 0, False
            yield batch

    def _share(self, order: NDArray[np.int64], number: int) -> NDArray[np.int64]:
        """This rank's samples of a batch."""
        start = number * self.batch_size
        return order[start : start + self.batch_size][self.rank :: self.world_size]

    def _read_ahead(self, numbers: Iterator[NDArray[np.int64]], epoch: int) -> Iterator[Batch]:
        # random strides and augmentations are for the samples that a model learns from
        draw = Draw(self.seed, epoch) if self.shuffle else None
        read = functools.partial(self.dataset.batch, draw=draw, device=self.device)
        copies = DeviceCopies(self.device)
        fetch = functools.partial(copies.start, read)
        if not self.prefetch:
            for indices in numbers:
                yield copies.finish(*fetch(indices))
            return
        pending: deque[Future[Copy]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="sciml-batch-loader") as executor:
            try:
                for indices in numbers:
                    pending.append(executor.submit(fetch, indices))
                    if len(pending) > self.prefetch:
                        yield copies.finish(*pending.popleft().result())
                while pending:
                    yield copies.finish(*pending.popleft().result())
            finally:
                # the consumer left early or reading failed: the thread ends with what it is at
                for future in pending:
                    future.cancel()
