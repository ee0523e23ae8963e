"""Where a loader stands: the epoch and the batch of it that come next."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch

from sciml.spec import Batch


class EpochLoader(ABC):
    """Batches of epochs of one length, in an order that is a function of seed and epoch alone.

    So a run resumes anywhere with ``set_epoch(epoch, position)``.

    Args:
        num_samples: Samples of an epoch, over all ranks together.
        batch_size: Samples of a batch, likewise; the last one may hold fewer.
    """

    def __init__(self, num_samples: int, batch_size: int) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.device: torch.device | None = None
        self._epoch = 0
        self._position = 0

    def __len__(self) -> int:
        """Batches of one epoch."""
        return math.ceil(self.num_samples / self.batch_size)

    def to(self, device: torch.device | None) -> "EpochLoader":
        """Hand batches out on a device; None for host memory, as without this call.

        Returns:
            This loader.
        """
        self.device = device
        return self

    def set_epoch(self, epoch: int, position: int = 0) -> None:
        """Let the next pass be this epoch, from this batch on; later passes follow on it.

        Raises:
            ValueError: If `epoch` is negative or `position` is not within the epoch.
        """
        if epoch < 0 or not 0 <= position <= len(self):
            raise ValueError(
                f"{type(self).__name__}.set_epoch: expected epoch >= 0 and position of 0 to "
                f"{len(self)}, got {epoch} and {position}; the run was made with other data or "
                "another size of its epochs or batches"
            )
        at_end = position == len(self)
        self._epoch, self._position = (epoch + 1, 0) if at_end else (epoch, position)

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]:
        """The rest of the epoch that was set, or the next one."""
