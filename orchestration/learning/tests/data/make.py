"""Writes the Parquet files beside this one: `pip install pandas pyarrow polars fastparquet`, then run it."""

import pathlib

import pandas
import polars
import pyarrow
import pyarrow.parquet

HERE = pathlib.Path(__file__).parent
ROWS = 40
START = 1_700_000_000


def columns():
    """Two sites, a row each 10 s; some rows have no latency, and some no processors."""
    rows = range(ROWS)
    return {
        "timestamp": [START + 10 * (row // 2) for row in rows],
        "site": [("edge", "cloud")[row % 2] for row in rows],
        "latency_ms": [None if row % 7 == 3 else 50.0 + row / 4 for row in rows],
        "cpu": [None if row % 5 == 1 else 1.5 + row % 3 for row in rows],
        "requests": [row % 9 for row in rows],
        "note": ["not read"] * ROWS,
    }


frame = pandas.DataFrame(columns())
frame.to_csv(HERE / "plain.csv", index=False)

times = frame.assign(timestamp=pandas.to_datetime(frame.timestamp, unit="s").astype("datetime64[ns]"))
times.assign(site=times.site.astype("category")).to_parquet(HERE / "pandas.parquet", engine="pyarrow")
times.assign(latency_ms=times.latency_ms.astype("float64")).to_parquet(
    HERE / "fastparquet.parquet", engine="fastparquet", compression="ZSTD", times="int96"
)

table = pyarrow.Table.from_pydict(columns())
for name, settings in {
    "pages": {"compression": "zstd", "data_page_version": "2.0", "row_group_size": 15, "data_page_size": 8},
    "bare": {"compression": "gzip", "use_dictionary": False},
    "brotli": {"compression": "brotli"},
    "differences": {"use_dictionary": False, "column_encoding": {"timestamp": "DELTA_BINARY_PACKED"}},
}.items():
    pyarrow.parquet.write_table(table, HERE / f"{name}.parquet", **settings)

nested = table.append_column("latencies", pyarrow.array([[1.0, 2.0]] * ROWS))
milli = nested.set_column(
    0, "timestamp", pyarrow.array(columns()["timestamp"], pyarrow.int64()).cast(pyarrow.timestamp("s", "UTC"))
)
pyarrow.parquet.write_table(milli, HERE / "nested.parquet", compression="none", store_schema=False)

narrow = polars.DataFrame(columns(), schema_overrides={"latency_ms": polars.Float32, "requests": polars.UInt32})
narrow.write_parquet(HERE / "polars.parquet")
