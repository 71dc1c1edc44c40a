"""Events of one modality to a few tokens: what series and codes share.

T tokens, D width, V events, d width of an event, M modalities, B patients of a batch, Q tokens of
a patient, H heads of a token, S patients with the modality.
"""

import torch
from torch import Tensor, nn

from remind.cohort.kinds.event_scales import CountScale
from remind.encoders.items import ItemPlan, ItemPool
from remind.encoders.tokens import Tokens

EVENT_WIDTH = 48
HEADS = 2
POOL_GAIN = 3.0  # a mean over events is small; with it, tokens start on the scale of other kinds


class EventPool(nn.Module):
    """Q tokens per patient, from a set of events of any size.

        event_v = e_v + time(t_v, g_v),   x_v = event_v + W2 gelu(W1 event_v)
        token_q = sum_h pool_qh(x) + c_q log(1 + V)

    The embedding e_v says what happened; time is a network of two layers of the time of the event
    and of the time from there to the patient's last event, both by their place among training
    quantiles (embeddings of time and of what is measured are added as in STraTS, Tipirneni and
    Reddy 2022); pool_qh are attention-weighted means (`ItemPool`). A mean forgets how many events
    there were, so their logarithm, standardised, is added.

    Args:
        modality: index of the modality.
        count: of the training patients' events.
        is_timed: whether events have a time.
        width: D.
        num_tokens: Q.
    """

    def __init__(
        self,
        modality: int,
        count: CountScale,
        *,
        is_timed: bool,
        width: int,
        num_tokens: int,
    ) -> None:
        super().__init__()
        self.num_tokens, self.count = num_tokens, count
        self.time = _two_layers(2, EVENT_WIDTH) if is_timed else None
        self.mix = _two_layers(EVENT_WIDTH, 2 * EVENT_WIDTH)
        self.pool = ItemPool(
            modality,
            item_width=EVENT_WIDTH,
            width=width,
            num_tokens=num_tokens,
            heads=HEADS,
        )
        self.pool.project_QdD.data *= POOL_GAIN
        self.count_QD = nn.Parameter(torch.randn(num_tokens, width) * 0.1)

    def plan(self, owner_V: Tensor, present_BM: Tensor) -> ItemPlan:
        """Find the events of patients for whom the modality is present.

        Args:
            owner_V: patient of each event, int64, on the host.
            present_BM: bool, on the host.
        """
        return self.pool.plan(owner_V, present_BM)

    def forward(self, x_Vd: Tensor, place_V2: Tensor, plan: ItemPlan) -> Tokens:
        """Pool the events that are read, in the order of the plan.

        Args:
            x_Vd: what happened.
            place_V2: when, if events are timed.
            plan: of the batch.
        """
        if self.time is not None:
            x_Vd = x_Vd + self.time(place_V2)
        tokens = self.pool(x_Vd + self.mix(x_Vd), plan)
        x_SQD = tokens.x_TD.unflatten(0, (-1, self.num_tokens))
        count_S = (plan.num_S.to(x_SQD.dtype).log1p() - self.count.mean) / self.count.std
        x_SQD = x_SQD + count_S[:, None, None] * self.count_QD
        return tokens._replace(x_TD=x_SQD.flatten(0, 1))


def _two_layers(num_inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(num_inputs, hidden), nn.GELU(), nn.Linear(hidden, EVENT_WIDTH))
