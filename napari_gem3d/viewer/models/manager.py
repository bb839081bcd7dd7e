"""Which models there are, and how more come in; all of it in the background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.core import LoadedModel
from napari_gem3d.viewer.preferences import Preferences
from napari_gem3d.viewer.signals import Saying


class ModelsState(Saying):
    """What the model manager shows.

    Attributes
    ----------
    models
        Everything in the library, of `napari_gem3d.bundle.library.ModelInfo`.
    chosen
        The name of the one that is looked at.
    busy
        Whether one is being added.
    """

    models: tuple[Any, ...] = ()
    chosen: str = ""
    busy: bool = False


class Models:
    """Loads the model that is chosen, and keeps the library of models as the window shows it.

    Parameters
    ----------
    preferences
        Say which one the panel begins with.

    Attributes
    ----------
    state
        What there is and what is looked at.
    """

    def __init__(self, context: Context, preferences: Preferences) -> None:
        self._context, self._panel, self._preferences = context, context.state, preferences
        self.state = ModelsState()
        self._closed = False
        self._panel.events.model.connect(self.load)

    @property
    def shown(self) -> Any:
        """The `ModelInfo` that is looked at, or None."""
        return next((info for info in self.state.models if info.name == self.state.chosen), None)

    def close(self) -> None:
        """What is being added is finished, and nothing is shown of it."""
        self._closed = True

    def load(self) -> None:
        """Load the bundle `state.model` in the background; its label table and default steps become the state's."""
        name = self._panel.model
        self._panel.loaded = None
        self._context.worker.submit(
            lambda: self._context.engine.load(name), partial(self._on_loaded, name), self._panel.say_error
        )

    def _on_loaded(self, name: str, model: LoadedModel) -> None:
        panel = self._panel
        if name != panel.model:
            return  # another one was chosen while this was loading
        panel.say("")
        panel.devices, panel.models, panel.table = model.devices, model.models, model.table
        if panel.device not in model.devices:
            panel.device = "auto"
        panel.loaded = model
        panel.steps = model.steps

    def look(self, chosen: str = "") -> None:
        """Find the models again, and look at one: by default at that of step 4."""

        def find() -> tuple[Any, ...]:
            from napari_gem3d.bundle.library import list_models

            return tuple(list_models())

        self._context.files.submit(find, partial(self._show, chosen), self._fail)

    def use(self, name: str) -> None:
        """Generate with a model from now on."""
        self._panel.model = name

    def begin_with(self, name: str) -> None:
        """Generate with a model from now on, and whenever the panel is opened."""
        self._preferences.model = name
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
        self._context.files.submit(work, self._added, self._fail)

    def _added(self, result: tuple[Path, tuple[str, ...]]) -> None:
        folder, warnings = result
        self.state.busy = False
        self._panel.models = tuple(dict.fromkeys([*self._panel.models, folder.name]))
        self.state.say(" ".join([f"{folder.name} was added.", *warnings]))
        self.look(folder.name)

    def _show(self, chosen: str, models: tuple[Any, ...]) -> None:
        if self._closed:
            return
        names = [info.name for info in models]
        wanted = (chosen, self.state.chosen, self._panel.model)
        self.state.models = models
        self.state.chosen = next((name for name in wanted if name in names), names[0] if names else "")

    def _fail(self, error: BaseException) -> None:
        self.state.busy = False
        self.state.say_error(error)
