"""Where the evidence comes from: an outside system a file or folder, each one class of the shape `pipeline.values.Source`.

    bundle          a folder or zip that holds an incident
    elasticsearch   logs and spans of an Elasticsearch cluster
    jaeger          traces by Jaeger's HTTP API
    orders          order events by SQL
    otlp            traces in files
    tempo           traces by Grafana Tempo's HTTP API

A new one needs a file with its `Options` (tagged by `kind`) and its class, a name in `SourceOptions` and a case in
`open_source`. Clients of outside systems are imported by the methods that use them.
"""

from __future__ import annotations

import os
from datetime import tzinfo
from typing import TYPE_CHECKING, assert_never

from pipeline.sources.elasticsearch import Options as ElasticsearchOptions
from pipeline.sources.jaeger import Options as JaegerOptions
from pipeline.sources.orders.options import Options as OrdersOptions
from pipeline.sources.otlp import Options as OtlpOptions
from pipeline.sources.tempo import Options as TempoOptions

if TYPE_CHECKING:
    from pipeline.sources.bundle.source import BundleSource
    from pipeline.values import Source

# What a `[sources.NAME]` table of the configuration is; its `kind` tells which.
SourceOptions = ElasticsearchOptions | JaegerOptions | OrdersOptions | OtlpOptions | TempoOptions


def open_source(name: str, options: SourceOptions) -> Source:
    """The source that `options` describe, under the name it has in the configuration. Connects to nothing yet."""
    match options:
        case ElasticsearchOptions():
            from pipeline.sources.elasticsearch import ElasticsearchSource

            return ElasticsearchSource(name, options)
        case JaegerOptions():
            from pipeline.sources.jaeger import JaegerSource

            return JaegerSource(name, options)
        case OrdersOptions():
            from pipeline.sources.orders.source import OrdersSource

            return OrdersSource(name, options)
        case OtlpOptions():
            from pipeline.sources.otlp import OtlpSource

            return OtlpSource(name, options)
        case TempoOptions():
            from pipeline.sources.tempo import TempoSource

            return TempoSource(name, options)
        case _:
            assert_never(options)


def open_bundle(path: str | os.PathLike[str], *, name: str = "bundle", zone: tzinfo | None = None) -> BundleSource:
    """The bundle at `path`, a folder or zip, as a source. `zone` applies to times that carry no offset."""
    from pipeline.sources.bundle.source import BundleSource

    return BundleSource(name, path, zone=zone)
