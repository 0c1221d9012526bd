"""Models and layers that are made from one config."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from keras_lm.config.base import Config
from keras_lm.config.transformer import TransformerConfig


class Configured:
    """Mixin of Keras layers and models made from one config: `cls(config, **layer_arguments)`."""

    config_class: ClassVar[type[Config]] = TransformerConfig
    config: Any

    def get_config(self) -> dict[str, Any]:
        """The layer's own arguments and its config, as JSON values."""
        base = super().get_config()  # type: ignore[misc]
        return {**base, "config": self.config.get_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The layer that `get_config` describes."""
        arguments = dict(config)
        own = cls.config_class.from_config(arguments.pop("config"))
        return cls(own, **arguments)  # type: ignore[call-arg]
