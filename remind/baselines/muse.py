"""MUSE: patients and modalities are a graph, and two views of it must agree.

    e_bm  = the mean token of modality m of patient b: an edge where m is observed, else none
    x_b   = 1,   x_m learned                                         before the first layer
    a_i   = mean over neighbours j of ReLU(W [x_j; e_ij])            of patients and of modalities
    x_i   = ReLU(U [a_i; x_i])
    e_bm  = ReLU(V [x_b; x_m; e_bm])                                 between two layers
    y     = MLP(x_b)
    penalty = a * InfoNCE(u, u') + b * (BCE(u, u) + BCE(u, u')) / 2  in training

u_b = tanh(P x_b) / |tanh(P x_b)|, u' of a second view of the graph that drops edges. With s = u_b
. u'_c / t, InfoNCE is the cross-entropy of c = b given s, both ways round; BCE is the binary
cross-entropy of "b and c have the same label" given s, over all pairs.

Wu et al. 2024 (ICLR), section 3. Left open there and filled here:

- *One patient at a time.* The source makes the graph of whoever is in the batch, so a prediction
  depends on the company. Ours does so in training only: there every layer keeps the running mean
  of a_m over training patients, and prediction takes that, as batch normalization does. The mean
  is over patients, not batches, so a modality that few have is not noisier than need be.
- The second view leaves half of the patients as they are; each of the others keeps one to all but
  one of its edges, any number equally likely. A patient of one edge keeps it.
- A modality may have several tokens; they are averaged. A patient observed in nothing has a_b = 0.

B patients, M modalities, X edges, N nodes, D width, L layers, C classes.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remind.baselines.parts import PeerConfig, make_encoder
from remind.cohort import Batch, Encoding
from remind.fusion import FusionModel, Represented, mean_slots
from remind.objectives.checks import check_number, check_whole
from remind.training import NeuralMethod, TrainConfig
from remind.training.search import NEURAL, Choice, Range

MEMORY = 0.99  # decay per batch of the running means


@dataclass(frozen=True, kw_only=True)
class MuseConfig(PeerConfig):
    """Options of MUSE.

    Attributes:
        layers: of the graph network, L.
        between_views: weight of the agreement of a patient's two views, a.
        by_label: weight of the agreement of patients of one label, b.
        contrast_temperature: of similarities, t.
    """

    dropout: float = 0.2
    layers: int = 2
    between_views: float = 0.2
    by_label: float = 0.2
    contrast_temperature: float = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("layers", self.layers, at_least=1)
        check_number("between_views", self.between_views, at_least=0)
        check_number("by_label", self.by_label, at_least=0)
        check_number("contrast_temperature", self.contrast_temperature, above=0)


class Edges(NamedTuple):
    """The edges of a graph, patient by patient.

    Attributes:
        x_XD: what each knows.
        patient_X, modality_X: what each joins, int64.
    """

    x_XD: Tensor
    patient_X: Tensor
    modality_X: Tensor


class Messages(nn.Module):
    """What edges carry from the nodes on one side to those on the other, ReLU(W [x; e]).

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width, width)

    def forward(self, x_ND: Tensor, node_X: Tensor, e_XD: Tensor) -> Tensor:
        """Return the messages (X, D).

        Args:
            x_ND: nodes on the sending side.
            node_X: sender of every edge, int64.
            e_XD: edges.
        """
        node_DD, edge_DD = self.linear.weight.chunk(2, dim=1)
        from_node_ND = F.linear(x_ND, node_DD)  # once per node, not per edge
        from_edge_XD = F.linear(e_XD, edge_DD, self.linear.bias)
        return (from_node_ND.index_select(0, node_X) + from_edge_XD).relu()


class Update(nn.Module):
    """What something becomes that gets to know more, ReLU(U [x; ...]).

    Args:
        inputs: width of all that it is made of.
        width: D.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width)

    def forward(self, *x_ND: Tensor) -> Tensor:
        """Return what becomes of parts side by side (N, D)."""
        return self.linear(torch.cat(x_ND, dim=1)).relu()


class Muse(FusionModel):
    """Encoders, the graph network, and a small network on the patient's node.

    Args:
        encoding: of the training rows.
        num_classes: C.
        config: options.
    """

    sum_LMD: Tensor
    num_LM: Tensor

    def __init__(self, encoding: Encoding, num_classes: int, config: MuseConfig) -> None:
        super().__init__()
        num_modalities, width = len(encoding.modalities), config.width
        self.config = config
        self.encoder = make_encoder(encoding, config)
        self.node_MD = nn.Parameter(torch.randn(num_modalities, width))
        self.messages = nn.ModuleList(Messages(width) for _ in range(config.layers))
        self.updates = nn.ModuleList(Update(2 * width, width) for _ in range(config.layers))
        self.edge_updates = nn.ModuleList(
            Update(3 * width, width) for _ in range(config.layers - 1)
        )
        size = (config.layers - 1, num_modalities)
        self.register_buffer("sum_LMD", torch.zeros(*size, width))
        self.register_buffer("num_LM", torch.zeros(size))
        self.projection = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(width, width)
        self.head = nn.Linear(width, num_classes)

    def represent(self, batch: Batch) -> Represented:
        """Return the nodes of the patients (B, 1, D)."""
        present_BM = batch.present_BM
        z_BMD = self.dropout(mean_slots(self.encoder(batch), present_BM))
        x_BD = self.graph(z_BMD, present_BM, remember=self.training)
        penalty = x_BD.new_zeros(())
        if self.training:
            other_BD = self.graph(z_BMD, thinned(present_BM), remember=False)
            penalty = self._agreement(x_BD, other_BD, batch.label_B)
        return Represented(x_BD.unsqueeze(1), penalty)

    def classify(self, x_BKD: Tensor) -> Tensor:
        """Return the logits (B, 1, C)."""
        return self.head(self.dropout(self.hidden(x_BKD).relu()))

    def graph(self, z_BMD: Tensor, present_BM: Tensor, *, remember: bool) -> Tensor:
        """Return the patients' nodes (B, D) after all layers.

        Args:
            z_BMD: mean tokens.
            present_BM: which edges there are.
            remember: whether the running means learn from this graph.
        """
        edges = Edges(z_BMD[present_BM], *present_BM.nonzero(as_tuple=True))
        x_BD, x_MD = torch.ones_like(z_BMD[:, 0]), self.node_MD
        for l, update_edges in enumerate(self.edge_updates):
            a_MD = self._modality_means(l, x_BD, edges, remember=remember)
            new_BD, new_MD = self._patients(l, x_BD, x_MD, edges), self.updates[l](a_MD, x_MD)
            x_BD, x_MD = self.dropout(new_BD), self.dropout(new_MD)
            e_XD = update_edges(x_BD[edges.patient_X], x_MD[edges.modality_X], edges.x_XD)
            edges = edges._replace(x_XD=e_XD)
        return self._patients(len(self.edge_updates), x_BD, x_MD, edges)

    def _patients(self, l: int, x_BD: Tensor, x_MD: Tensor, edges: Edges) -> Tensor:
        """The patients' nodes after layer l."""
        message_XD = self.messages[l](x_MD, edges.modality_X, edges.x_XD)
        sum_BD, num_B = sums(message_XD, edges.patient_X, len(x_BD))
        return self.updates[l](sum_BD / num_B.clamp_min(1).unsqueeze(1), x_BD)

    def _modality_means(self, l: int, x_BD: Tensor, edges: Edges, *, remember: bool) -> Tensor:
        """The mean message (M, D) to every modality: of the batch in training, else remembered."""
        if not self.training:
            return self.sum_LMD[l] / self.num_LM[l].clamp_min(1).unsqueeze(1)
        message_XD = self.messages[l](x_BD, edges.patient_X, edges.x_XD)
        sum_MD, num_M = sums(message_XD, edges.modality_X, len(self.node_MD))
        if remember:
            self._remember(l, sum_MD.detach(), num_M)
        return sum_MD / num_M.clamp_min(1).unsqueeze(1)

    @torch.no_grad()
    def _remember(self, l: int, sum_MD: Tensor, num_M: Tensor) -> None:
        """Take sums of messages into the running sums; a modality without any stays as it is."""
        decay_M = torch.where(num_M > 0, MEMORY, 1.0).to(self.num_LM.dtype)
        self.sum_LMD[l] = decay_M.unsqueeze(1) * self.sum_LMD[l] + sum_MD
        self.num_LM[l] = decay_M * self.num_LM[l] + num_M

    def _agreement(self, x_BD: Tensor, other_BD: Tensor, label_B: Tensor) -> Tensor:
        """The weighted contrastive losses of two views."""
        u_BD, other_BD = (F.normalize(self.projection(v).tanh(), dim=1) for v in (x_BD, other_BD))
        temperature = self.config.contrast_temperature
        own_BB, cross_BB = (u_BD @ v.T / temperature for v in (u_BD, other_BD))
        same_BB = (label_B[:, None] == label_B).to(own_BB.dtype)
        by_label = mean_bce(own_BB, same_BB) + mean_bce(cross_BB, same_BB)
        between = info_nce(cross_BB)
        return self.config.between_views * between + self.config.by_label * by_label / 2


def sums(x_XD: Tensor, index_X: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the sum (size, D) and the number (size,) of the rows of every index."""
    sum_ND = x_XD.new_zeros(size, x_XD.shape[1]).index_add(0, index_X, x_XD)
    return sum_ND, index_X.bincount(minlength=size)


def thinned(present_BM: Tensor) -> Tensor:
    """Return the edges of a second view, bool (B, M): of half of the patients only some.

    Args:
        present_BM: the edges, bool.
    """
    num_B, device = present_BM.sum(1), present_BM.device
    some_B = 1 + (torch.rand(len(num_B), device=device) * (num_B - 1)).long()
    kept_B = torch.where(torch.rand(len(num_B), device=device) < 0.5, num_B, some_B)
    order_BM = torch.rand(present_BM.shape, device=device).masked_fill(~present_BM, 2.0)
    return present_BM & (order_BM.argsort(1).argsort(1) < kept_B.unsqueeze(1))


def info_nce(s_BB: Tensor) -> Tensor:
    """Return the mean cross-entropy of finding one's own view, from either view to the other."""
    own_B = torch.arange(len(s_BB), device=s_BB.device)
    both = F.cross_entropy(s_BB, own_B, reduction="sum")
    both = both + F.cross_entropy(s_BB.T, own_B, reduction="sum")
    return both / (2 * max(len(s_BB), 1))


def mean_bce(s_BB: Tensor, same_BB: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of pairs; 0 without any."""
    loss = F.binary_cross_entropy_with_logits(s_BB, same_BB, reduction="sum")
    return loss / max(s_BB.numel(), 1)


MUSE = NeuralMethod(
    name="muse",
    build=Muse,
    model_config=MuseConfig(),
    train_config=TrainConfig(ema=0.99, lr=1e-3, weight_decay=1e-2, selection="mean"),
    is_of_batches=True,
    space={
        **NEURAL,
        "layers": Choice((2, 3)),
        "between_views": Range(low=1e-3, high=1.0, log=True),
        "by_label": Range(low=1e-3, high=1.0, log=True),
    },
)
