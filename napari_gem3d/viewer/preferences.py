"""The plugin's page of napari's Preferences: read when the panel opens, and followed while it is open."""

from __future__ import annotations

from typing import Any

from napari.settings import get_plugin_settings
from psygnal import Signal

from napari_gem3d.viewer import pace
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.core import LoadedModel
from napari_gem3d.viewer.session import KEPT_DAYS

_PLUGIN = "napari-gem3d"


class Preferences:
    """Puts what the user prefers into the panel's state; the manifest's `configurations` say what there is.

    What is changed in the panel stays the panel's: the page has the defaults.
    """

    changed = Signal(str)

    def __init__(self, context: Context) -> None:
        self._state, self._planes = context.state, context.planes.state
        self._settings = _settings()
        self._device_taken = False
        if self._settings is None:
            return
        self._state.model = self.model
        self._state.follow = self._settings.generating.follow
        self._state.precision = self._settings.generating.precision
        self._planes.layout = "three" if self._settings.panel.three_planes else "one"
        pace.set_refreshes(self._settings.generating.refreshes)
        self._settings.events.changed.connect(self._on_changed)
        self._state.events.loaded.connect(self._on_loaded)

    def close(self) -> None:
        """Follow the page no more."""
        if self._settings is not None:
            self._settings.events.changed.disconnect(self._on_changed)

    @property
    def model(self) -> str:
        """The model that the panel begins with."""
        return str(self._settings.generating.model) if self._settings is not None else self._state.model

    @model.setter
    def model(self, name: str) -> None:
        if self._settings is not None:
            self._settings.generating.model = name

    @property
    def hint(self) -> bool:
        """Whether the hint on how to begin is still shown."""
        return self._settings is None or bool(self._settings.panel.hint)

    @hint.setter
    def hint(self, on: bool) -> None:
        if self._settings is not None:
            self._settings.panel.hint = on

    @property
    def session_days(self) -> int:
        """How long the files of a session are kept."""
        return int(self._settings.panel.session_days) if self._settings is not None else KEPT_DAYS

    def _on_changed(self, event: Any) -> None:
        """Let what was changed on the page act at once, and nothing else."""
        generating = self._settings.generating
        match event.key:
            case "generating.follow":
                self._state.follow = generating.follow
            case "generating.precision":
                self._state.precision = generating.precision
            case "generating.device":
                self._take_device()
            case "generating.refreshes":
                pace.set_refreshes(generating.refreshes)
            case "panel.three_planes":
                self._planes.layout = "three" if self._settings.panel.three_planes else "one"
        self.changed.emit(event.key)

    def _on_loaded(self, model: LoadedModel | None) -> None:
        """With the first model PyTorch was loaded: now it is known which devices there are."""
        if model is not None and not self._device_taken:
            self._device_taken = True
            self._take_device()

    def _take_device(self) -> None:
        """Choose the preferred device; "auto" where this machine has none of that kind."""
        wanted = self._settings.generating.device
        self._state.device = wanted if wanted in self._state.devices else "auto"
        if self._state.device != wanted:
            self._state.say(f"This machine has no device {wanted}, which the Preferences ask for; auto is taken.")


def _settings() -> Any:
    """The plugin's settings, None where napari does not know the plugin: a panel that a script has made."""
    try:
        return get_plugin_settings(_PLUGIN)
    except KeyError:
        return None
