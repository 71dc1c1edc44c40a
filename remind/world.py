"""The processes that train together."""

from torch import distributed as dist


def num_ranks() -> int:
    """How many they are; 1 without `torch.distributed`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
