"""A plugin that gives DeepSpeed the number of processes on CPUs.

With --use_cpu, transformers starts torch.distributed itself and does not tell DeepSpeed. DeepSpeed's configuration then
finds its communication module not set up, takes the error for a world of one process, and refuses the batch size.
"""

import os

import deepspeed

if int(os.environ.get("WORLD_SIZE", "1")) > 1:
    deepspeed.init_distributed("gloo", auto_mpi_discovery=False)
