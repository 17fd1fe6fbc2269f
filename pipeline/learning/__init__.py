"""Learning: from an archive of log lines to the catalogue of its templates and what is usual of each at each hour of the week.

    units -> reduced -> shards, united by day -> lines -> templates -> catalogue

Each step is a function of plain values (`units.py`, `reduced.py`, `shards.py`, `writer.py`); what runs them on one machine
(`local.py`), on Beam (`beam.py`) or on Spark (`on_spark.py`) only carries work units to `read_unit` and shards to `unite`
(`carried.py` says how). `catalogue.py` says what is in a catalogue, `usual.py` reads one for `take`.
"""
