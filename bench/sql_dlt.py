# SPDX-License-Identifier: Apache-2.0
"""A table into local files by dlt: sql_dlt.py URL BACKEND FORMAT FOLDER. Run by rows_sql.py in an environment that has it."""
import os
import sys

url, backend, form, folder = sys.argv[1:]
os.environ.update({"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR", "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
                   "DESTINATION__FILESYSTEM__BUCKET_URL": "file://" + folder})

import dlt  # noqa: E402
from dlt.sources.sql_database import sql_table  # noqa: E402

rows = sql_table(credentials=url, table="pgbench_accounts", backend=backend, chunk_size=50000)
pipeline = dlt.pipeline(pipeline_name="accounts", destination="filesystem", dataset_name="d", pipelines_dir=os.path.join(folder, "work"))
pipeline.run(rows, loader_file_format=form, write_disposition="append")
