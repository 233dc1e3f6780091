"""The configuration: typed, frozen, and checked as a whole before anything is opened."""

from edged.config.credentials import Secrets, cred_names
from edged.config.faults import config_error
from edged.config.lens import LensConfig, ViewConfig
from edged.config.loader import Config, load_config
from edged.config.models import (
    CameraConfig,
    ControlConfig,
    CurveConfig,
    EdgedConfig,
    EnginesConfig,
    LimitsConfig,
    LogConfig,
    MetricsConfig,
    PublishConfig,
    SchedulerConfig,
)
from edged.config.scalars import NAME, Address, SocketPath, is_local
from edged.config.schema import json_schema
from edged.config.sources import SCHEMES, Source
from edged.config.task import (
    AfterConfig,
    EngineConfig,
    InputConfig,
    ModelConfig,
    SyncConfig,
    TaskConfig,
    WhenConfig,
)
from edged.config.text import hide_passwords

__all__ = [
    "NAME",
    "SCHEMES",
    "Address",
    "AfterConfig",
    "CameraConfig",
    "Config",
    "ControlConfig",
    "CurveConfig",
    "EdgedConfig",
    "EngineConfig",
    "EnginesConfig",
    "InputConfig",
    "LensConfig",
    "LimitsConfig",
    "LogConfig",
    "MetricsConfig",
    "ModelConfig",
    "PublishConfig",
    "SchedulerConfig",
    "Secrets",
    "SocketPath",
    "Source",
    "SyncConfig",
    "TaskConfig",
    "ViewConfig",
    "WhenConfig",
    "config_error",
    "cred_names",
    "hide_passwords",
    "is_local",
    "json_schema",
    "load_config",
]
