"""Which models there are, and how more come in; all of it in the background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import EventedModel
from pydantic import ConfigDict

from napari_gem3d.errors import InputError

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench


class ModelsState(EventedModel):
    """What the model manager shows.

    Attributes
    ----------
    models
        Everything in the library, of `napari_gem3d.bundle.library.ModelInfo`.
    chosen
        The name of the one that is looked at.
    busy
        Whether one is being added.
    message, failed
        What is going on or went wrong, and whether it did.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    models: tuple[Any, ...] = ()
    chosen: str = ""
    busy: bool = False
    message: str = ""
    failed: bool = False

    def say(self, message: str, *, failed: bool = False) -> None:
        """Put a sentence below the models."""
        self.failed = failed
        self.message = message


class Models:
    """The library of models, as the window shows it.

    Parameters
    ----------
    workbench
        Whose generations use the models, and whose worker for files finds and copies them.

    Attributes
    ----------
    state
        What there is and what is looked at.
    """

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench
        self.state = ModelsState()
        self._closed = False

    @property
    def shown(self) -> Any:
        """The `ModelInfo` that is looked at, or None."""
        return next((info for info in self.state.models if info.name == self.state.chosen), None)

    def close(self) -> None:
        """What is being added is finished, and nothing is shown of it."""
        self._closed = True

    def look(self, chosen: str = "") -> None:
        """Find the models again, and look at one: by default at that of step 4."""

        def find() -> tuple[Any, ...]:
            from napari_gem3d.bundle.library import list_models

            return tuple(list_models())

        self._workbench.files.submit(find, partial(self._show, chosen), self._fail)

    def use(self, name: str) -> None:
        """Generate with a model from now on."""
        self._workbench.state.model = name

    def begin_with(self, name: str) -> None:
        """Generate with a model from now on, and whenever the panel is opened."""
        self._workbench.preferences.model = name
        self.use(name)
        self.state.say(f"The panel begins with {name} from now on (see Preferences).")

    def add(self, folder: Path, name: str = "") -> None:
        """Copy a bundle into the library; see `add_model`."""

        def work() -> tuple[Path, tuple[str, ...]]:
            from napari_gem3d.bundle.library import add_model

            return add_model(folder, name), ()

        self._add(work, f"Copying {folder.name} …")

    def add_published(self, checkpoints: Sequence[Path], name: str = "", **options: Any) -> None:
        """Convert published checkpoints to a bundle in the library; see `add_published`."""
        files = list(checkpoints)

        def work() -> tuple[Path, tuple[str, ...]]:
            from napari_gem3d.bundle.library import add_published

            return add_published(files, name or files[0].stem, **options)

        self._add(work, f"Converting {', '.join(file.name for file in files)} …")

    def _add(self, work: Callable[[], Any], message: str) -> None:
        if self.state.busy:
            self.state.say("A model is being added; wait until it is there.", failed=True)
            return
        self.state.busy = True
        self.state.say(message)
        self._workbench.files.submit(work, self._added, self._fail)

    def _added(self, result: tuple[Path, tuple[str, ...]]) -> None:
        folder, warnings = result
        self.state.busy = False
        choices = self._workbench.generation.choices
        choices.models = tuple(dict.fromkeys([*choices.models, folder.name]))
        self.state.say(" ".join([f"{folder.name} was added.", *warnings]))
        self.look(folder.name)

    def _show(self, chosen: str, models: tuple[Any, ...]) -> None:
        if self._closed:
            return
        names = [info.name for info in models]
        wanted = (chosen, self.state.chosen, self._workbench.state.model)
        self.state.models = models
        self.state.chosen = next((name for name in wanted if name in names), names[0] if names else "")

    def _fail(self, error: BaseException) -> None:
        self.state.busy = False
        if isinstance(error, InputError):
            self.state.say(str(error), failed=True)
        else:
            self.state.say(
                f"Something unexpected happened ({type(error).__name__}: {error}); see the log.", failed=True
            )
