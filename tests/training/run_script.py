"""Run by `test_killed_process`: one case, slowly enough to be killed, or resumed."""

import sys
import time
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback

from tests.training.test_resume import CASES, run


class Slowly(Callback):
    """Write one character a batch and take one's time."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        with (folder / "steps").open("a") as file:
            file.write(".")
        time.sleep(0.2)


name, folder, what = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
if what == "resume":
    run(folder, resume=folder, **CASES[name])
else:
    run(folder, callbacks=[Slowly()], **CASES[name])
