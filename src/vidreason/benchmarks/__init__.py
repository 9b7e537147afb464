"""The four benchmarks, a module each: `TITLE`, `CITATION`, `annotation_files`, `parse_record`, `read` and `prompt`.

A video that is not there does not keep its question out: the question is listed, and the frames say what is wrong.
"""

from collections.abc import Mapping
from typing import Any

from vidreason.benchmarks import mlvu, mmvu, mvbench, video_mme

BENCHMARKS: Mapping[str, Any] = {"video_mme": video_mme, "mvbench": mvbench, "mlvu": mlvu, "mmvu": mmvu}
"""Name in the configuration -> module."""
