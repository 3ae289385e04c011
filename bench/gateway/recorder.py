"""What LiteLLM's proxy calls when an answer is over: one JSON line each, as its own
loggers to files have it. It is not synced."""

import json
import os

from litellm.integrations.custom_logger import CustomLogger


class Recorder(CustomLogger):
    def __init__(self):
        super().__init__()
        self.file = open(os.environ["RECORDER_FILE"], "a", buffering=1)

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        self.file.write(json.dumps(kwargs.get("standard_logging_object"), default=str) + "\n")


recorder = Recorder()
