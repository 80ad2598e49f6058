"""The plan of a conversion, layer by layer."""

from dataclasses import replace
from typing import Any

import numpy as np

from snnpipe.conversion.layer_settings import LayerSettings
from snnpipe.conversion.rewrite import Rewritten
from snnpipe.frameworks.keras_graph import channels_last, is_op
from snnpipe.values.network import PlannedLayer


def planned(
    node: Any, rewritten: Rewritten, own: LayerSettings | None, *, shared: bool, fallback: bool, from_data: bool
) -> PlannedLayer:
    """Return what a layer will become.

    Parameters
    ----------
    node
        The layer's application.
    rewritten
        The layers in its place.
    own
        Its settings if it becomes neurons; else None.
    shared
        Whether it was applied before.
    fallback
        Whether a layer that Nengo has no objects for may run as a TensorNode.
    from_data
        Whether its scale is still to be taken from data.
    """
    layer, shape = node.layer, tuple(node.outputs.shape[1:])
    plan = PlannedLayer(layer.name, type(layer).__name__, "native", rewritten.becomes, rewritten.note, shape)
    if shared:
        reason = "it is applied more than once: give each application a layer of its own"
        return replace(plan, status="unsupported", becomes="-", reason=reason)
    if rewritten.problem:
        why_not = _no_fallback(node) if fallback else ""
        if fallback and not why_not:
            return replace(plan, status="fallback", becomes="TensorNode", reason=rewritten.problem)
        reason = "; ".join(filter(None, [rewritten.problem, why_not]))
        return replace(plan, status="unsupported", becomes="-", reason=reason)
    if rewritten.folded:
        return replace(plan, status="folded")
    if rewritten.becomes in ("input node", "the same values, reordered"):
        return replace(plan, status="passthrough")
    size = int(np.prod(shape))
    if own is not None:
        return replace(
            plan,
            becomes=own.neuron_name,
            reason=own.why_not_spiking,
            neurons=size,
            rate_units=0 if own.neurons.spiking else size,
            scale_firing_rates=None if from_data else own.scale,
            synapse=own.synapse.plain,
        )
    if rewritten.becomes.startswith("rate neurons"):
        return replace(plan, reason="not spiking: only a ReLU becomes spiking neurons", rate_units=size)
    return plan


def _no_fallback(node: Any) -> str:
    """Return why a layer cannot run as a TensorNode; empty if it can."""
    if is_op(node.layer):
        return "no TensorNode runs it, for it is no layer"
    if not channels_last(node.layer):
        return "no TensorNode runs it on a CPU, for its channels come first"
    if len(node.keras_inputs) != 1:
        return f"no TensorNode runs it, for it takes {len(node.keras_inputs)} inputs"
    return ""
