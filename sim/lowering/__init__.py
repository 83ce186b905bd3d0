"""Model x Plan x Step -> Kernels (what must be done) and Footprint (what must be held). Knows no chip and no domain size."""

from .check import check, resolved
from .footprint import Footprint, serving_footprint, training_footprint
from .kernels import DTYPE_IDS, ELEMENT_BYTES, EMBEDDING, HEAD, SEND, STEP, Kernels, concatenate
from .kinds import KIND_IDS, KINDS, PART_IDS, PARTS, PHASE_IDS, PHASES
from .parameters import active_parameters, parameters
from .passes import kernels, layers_on_stages, model_flops, units
from .sharding import Step, columns

__all__ = [
    "DTYPE_IDS",
    "ELEMENT_BYTES",
    "EMBEDDING",
    "HEAD",
    "KINDS",
    "KIND_IDS",
    "PARTS",
    "PART_IDS",
    "PHASES",
    "PHASE_IDS",
    "SEND",
    "STEP",
    "Footprint",
    "Kernels",
    "Step",
    "active_parameters",
    "check",
    "columns",
    "concatenate",
    "kernels",
    "layers_on_stages",
    "model_flops",
    "parameters",
    "resolved",
    "serving_footprint",
    "training_footprint",
    "units",
]
