"""The engine under the loop: one process, DDP, or FSDP2, all through lightning-fabric.

One process     the model as it is.
DDP             every rank holds the whole model; gradients are averaged.
FSDP2           every rank holds a part of the rows of each parameter, of its gradient, of AdamW's
                moments and of the average; parameters are whole only while a step or a prediction
                needs them. The caller's model gets the result at the end.

Whatever the engine, the step is the one that a single process would take with the global batch: a
parameter without a gradient on every rank stands still, as it does there.
"""

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from lightning_fabric.wrappers import _FabricOptimizer
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from remind.errors import InputError
from remind.training.config import TrainConfig
from remind.training.optimizer import copy_marks, make_optimizer
from remind.training.predict import pick_device
from remind.training.ranks import environment, num_local_ranks
from remind.world import num_ranks

T = TypeVar("T")


class Within(nn.Module):
    """Calls a function of the model in its own forward, where DDP and FSDP have their hooks.

    The function holds the batch: what Fabric is given it takes apart, and a batch is frozen.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[nn.Module], T]) -> T:
        """Return what `work` makes of the model."""
        return work(self.model)


class Engine:
    """A model and its optimizer.

    Args:
        model: as the caller has it; it is moved to the device, but stays where it is under FSDP.
        config: options.

    Attributes:
        model: that is trained: the caller's, or a sharded copy.
        optimizer: of its parameters.
        device: of this rank.

    Raises:
        InputError: the strategy needs something that is not there.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self.fabric = make_fabric(config)
        self.device = self.fabric.device
        self.is_sharded = num_ranks() > 1 and config.strategy == "fsdp"
        self.target = model if self.is_sharded else model.to(self.device)
        if num_ranks() > 1:
            start_alike(model)
        self.model = copy.deepcopy(model).to(self.device) if self.is_sharded else model
        self.whole = [p for p in self.model.parameters() if p.dim() == 0 and self.is_sharded]
        self.within = Within(self.model)
        with warnings.catch_warnings():  # its new name is too new
            warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")
            self.wrapped = self.fabric.setup_module(self.within)
        copy_marks(model, self.model)
        self.optimizer = make_optimizer(self.model, config)
        stepper = self.fabric.setup_optimizers(self.optimizer)
        assert isinstance(stepper, _FabricOptimizer)
        self.stepper = stepper
        self.parameters = list(self.model.parameters())
        self.used: set[int] | None = None  # places of parameters with a gradient on this rank

    def train(self, work: Callable[[nn.Module], T]) -> T:
        """What `work` makes of the model, in the precision of training; a gradient may follow."""
        return self.wrapped(self._watched(work))

    def predict(self, work: Callable[[nn.Module], T]) -> T:
        """What `work` makes of the model, in 32 bits and without gradients."""
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                return self.within(work)
        finally:
            self.model.train(was_training)

    def step(self, loss: Tensor, clip: float) -> None:
        """One step of the optimizer; the mean over ranks of the losses is what falls.

        Args:
            loss: of this rank.
            clip: largest norm of the gradient; 0 does not clip.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        if self.is_sharded:
            self._finish_gradients()
        if clip and self.is_sharded:
            clip_shards(self.parameters, clip)
        elif clip:
            self.fabric.clip_gradients(
                self.wrapped, self.stepper, max_norm=clip, error_if_nonfinite=False
            )
        self.stepper.step()

    def finish(self, weights: Mapping[str, Tensor]) -> None:
        """Give the caller's model these weights, each whole."""
        self.target.load_state_dict({name: whole(tensor) for name, tensor in weights.items()})

    def _watched(self, work: Callable[[nn.Module], T]) -> Callable[[nn.Module], T]:
        """Under FSDP the parameters of a step are others: note which of them get a gradient."""
        if not self.is_sharded:
            return work
        if self.used is not None:
            self.used.clear()
            return work

        def watched(model: nn.Module) -> T:
            self.used = set()
            for place, parameter in enumerate(model.parameters()):
                if parameter.requires_grad:
                    parameter.register_post_accumulate_grad_hook(
                        lambda _, place=place: self.used.add(place)  # pyright: ignore
                    )
            return work(model)

        return watched

    def _finish_gradients(self) -> None:
        """Average what FSDP leaves alone; forget the zeros of what no rank has a gradient for."""
        assert self.used is not None
        is_used_P = torch.zeros(len(self.parameters), device=self.device)
        is_used_P[list(self.used)] = 1
        dist.all_reduce(is_used_P)
        for parameter in self.whole:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= num_ranks()
        for parameter, is_used in zip(self.parameters, is_used_P.tolist(), strict=True):
            if not is_used:
                parameter.grad = None


def make_fabric(config: TrainConfig) -> Fabric:
    """Fabric for the device and the strategy, and for the ranks that have joined.

    Raises:
        InputError: the strategy needs a newer torch.
    """
    device = pick_device(config.device)
    precision = "bf16-mixed" if config.precision == "bf16-mixed" else "32-true"
    place = environment()
    if num_ranks() == 1 or place is None:
        return Fabric(
            accelerator=device.type,
            devices=1,
            precision=precision,
            plugins=[LightningEnvironment()],  # not the tasks that SLURM would start
        )
    fabric = Fabric(
        accelerator=device.type,
        devices=num_local_ranks(),
        num_nodes=num_ranks() // num_local_ranks(),
        strategy=_strategy(config.strategy),
        precision=precision,
        plugins=[place],
    )
    fabric.launch()
    return fabric


def check_devices(config: TrainConfig) -> None:
    """Refuse more ranks on this host than devices that it has.

    Raises:
        InputError: of GPUs.
    """
    if num_ranks() == 1 or pick_device(config.device).type != "cuda":
        return
    num, most = num_local_ranks(), torch.cuda.device_count()
    if num > most:
        raise InputError(
            f"{num} ranks on a host of which each sees {most} GPUs: start as many as there are "
            "GPUs and let each see them all, or set device=cpu"
        )


def start_alike(model: nn.Module) -> None:
    """Give all ranks the weights of the first."""
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.data, src=0)


def share_buffers(model: nn.Module) -> None:
    """Give all ranks the running statistics of the first: each saw its own patients only."""
    if num_ranks() > 1:
        for tensor in model.buffers():
            dist.broadcast(tensor, src=0)


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all rows, on the CPU if it was sharded; every rank must ask for it."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def clip_shards(parameters: list[nn.Parameter], max_norm: float) -> None:
    """Scale gradients, of which this rank has some rows, to a norm of at most `max_norm`."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    shards = [grad.to_local() for grad in gradients if isinstance(grad, DTensor)]
    wholes = [grad for grad in gradients if not isinstance(grad, DTensor)]
    square = torch.stack([shard.square().sum() for shard in shards]).sum()
    dist.all_reduce(square)
    norm = (square + sum(grad.square() for grad in wholes)).sqrt()
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for tensor in (*shards, *wholes):
        tensor.mul_(factor)


def _strategy(name: str) -> DDPStrategy | ModelParallelStrategy:
    if name == "ddp":
        return DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
    return ModelParallelStrategy(_shard, data_parallel_size=num_ranks(), tensor_parallel_size=1)


def _shard(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Shard the rows of all parameters but numbers, which have none."""
    sharded = fully_shard(
        module,
        mesh=mesh["data_parallel"],
        reshard_after_forward=True,
        ignored_params={p for p in module.parameters() if p.dim() == 0},
    )
    if not hasattr(sharded, "set_reduce_scatter_unused_params"):
        raise InputError(
            f"strategy=fsdp needs torch 2.13 or newer, here is {torch.__version__}: "
            "install it, or set strategy=ddp"
        )
    sharded.set_reduce_scatter_unused_params(True)
    return module
