"""What TensorBoard's HParams and Images tabs show, as summaries for `EventWriter.add`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2


def hparams_start(name: str, config: Mapping[str, Any], metrics: Iterable[str]) -> Summary:
    """The hyper-parameters of a run and the tags of its results.

    Args:
        name: The run's; the tab groups sessions by it.
        config: Dotted keys and values; None has no place there and is left out.
        metrics: Scalar tags, such as `test/accuracy`.
    """
    start: Any = plugin_data_pb2.SessionStartInfo(group_name=name, start_time_secs=time.time())
    experiment: Any = api_pb2.Experiment()
    for key, value in config.items():
        if value is None:
            continue
        info = experiment.hparam_infos.add(name=key)
        if isinstance(value, bool):
            start.hparams[key].bool_value, info.type = value, api_pb2.DATA_TYPE_BOOL
        elif isinstance(value, int | float):
            start.hparams[key].number_value, info.type = value, api_pb2.DATA_TYPE_FLOAT64
        else:
            start.hparams[key].string_value, info.type = str(value), api_pb2.DATA_TYPE_STRING
    for tag in metrics:
        experiment.metric_infos.add(name=api_pb2.MetricName(tag=tag))
    return Summary(
        value=[
            _value(metadata.EXPERIMENT_TAG, experiment=experiment),
            _value(metadata.SESSION_START_INFO_TAG, session_start_info=start),
        ]
    )


def hparams_end() -> Summary:
    """The run has its results."""
    end: Any = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
    return Summary(value=[_value(metadata.SESSION_END_INFO_TAG, session_end_info=end)])


def image(tag: str, png: bytes) -> Summary:
    """A picture for the Images tab."""
    return Summary(value=[Summary.Value(tag=tag, image=Summary.Image(encoded_image_string=png, colorspace=3))])


def _value(tag: str, **content: Any) -> Summary.Value:
    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
    return Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))
